"""Calls about locations: which ones there are, and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2

from cloudtask.emulator.api import places
from cloudtask.emulator.values import locations

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.tasks.engine.engine import Engine

_CmekConfig = tasks_v2.CmekConfig.pb()


def _get_cmek_config(engine: Engine, request: Any, now: int) -> Any:
    location = locations.read_location(request.name, "/cmekConfig")
    key = engine.store.facts.get(f"kms_key {location}") or b""
    return _CmekConfig(name=request.name, kms_key=key.decode())


def _get_location(engine: Engine, request: Any, now: int) -> Any:
    return places.get_location(request)


def _list_locations(engine: Engine, request: Any, now: int) -> Any:
    return places.list_locations(request, (queue.path for queue in engine.live_queues))


def _update_cmek_config(engine: Engine, request: Any, now: int) -> Any:
    config = request.cmek_config
    location = locations.read_location(config.name, "/cmekConfig")
    engine.store.facts.keep(f"kms_key {location}", config.kms_key.encode())
    return config


#: What carries out each method: given the engine, the request and `now`.
CALLS: dict[str, Callable[[Engine, Any, int], Any]] = {
    "GetCmekConfig": _get_cmek_config,
    "GetLocation": _get_location,
    "ListLocations": _list_locations,
    "UpdateCmekConfig": _update_cmek_config,
}
