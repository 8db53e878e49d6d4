"""What the settings of a project say to the emulator."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudtask.conf import Settings
    from cloudtask.conf.queues import QueueConfig


def get_emulator_defaults(
    settings: Settings, backends: Iterable[tuple[Settings, Iterable[str]]] = ()
) -> dict[str, Any]:
    """
    The emulator's options that a project's settings imply.

    Args:
        settings: CLOUDTASK.
        backends: The settings of each task backend, and its QUEUES.
    """
    declared: dict[str, str] = {}
    for each, names in ((settings, ()), *backends):
        for text in iterate_declarations(each, names):
            declared.setdefault(text.partition(":")[0], text)
    host, _, port = (settings.emulator_host or "").rpartition(":")
    http_port = (settings.emulator_http_host or "").rpartition(":")[2]
    implied = {
        "host": host,
        "port": int(port or 0),
        "http_port": int(http_port or 0),
        "project": settings.project,
        "location": settings.location,
        "queues": list(declared.values()),
    }
    return {name: value for name, value in implied.items() if value}


def iterate_declarations(
    settings: Settings, names: Iterable[str] = ()
) -> Iterator[str]:
    """
    Every queue that the settings name, as `NAME:option=value,...`.

    Args:
        settings: Where queues are named.
        names: Further queues, or aliases of queues.
    """
    named = {
        settings.queue_aliases.get(name, name)
        for name in (settings.queue, *settings.priority_queues.values(), *names)
        if name
    }
    for name in sorted({*named, *settings.queue_aliases.values(), *settings.queues}):
        config = settings.queues.get(name)
        options = ",".join(_iterate_options(config)) if config else ""
        yield f"{name}:{options}" if options else name


def _iterate_options(config: QueueConfig) -> Iterator[str]:
    fields = asdict(config)
    for field, value in {**fields, **(fields.pop("retry") or {})}.items():
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if value is not None and field != "retry":
            yield f"{field}={value}"
