"""Calls about queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2
from google.protobuf import empty_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.tasks.engine.engine import Engine

_ListQueuesResponse = tasks_v2.ListQueuesResponse.pb()
_Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined]


def _create_queue(engine: Engine, request: Any, now: int) -> Any:
    return engine.queues.create(request.parent, request.queue, now)


def _delete_queue(engine: Engine, request: Any, now: int) -> Any:
    engine.queues.delete(request.name, now)
    return _Empty()


def _get_queue(engine: Engine, request: Any, now: int) -> Any:
    return engine.queues.get(request.name)


def _list_queues(engine: Engine, request: Any, now: int) -> Any:
    page, token = engine.queues.list(
        request.parent,
        now,
        expression=request.filter,
        size=request.page_size,
        token=request.page_token,
    )
    return _ListQueuesResponse(queues=page, next_page_token=token)


def _pause_queue(engine: Engine, request: Any, now: int) -> Any:
    return engine.queues.pause(request.name, now)


def _purge_queue(engine: Engine, request: Any, now: int) -> Any:
    return engine.queues.purge(request.name, now)


def _resume_queue(engine: Engine, request: Any, now: int) -> Any:
    return engine.queues.resume(request.name, now)


def _update_queue(engine: Engine, request: Any, now: int) -> Any:
    return engine.queues.update(request.queue, request.update_mask.paths, now)


#: What carries out each method: given the engine, the request and `now`.
CALLS: dict[str, Callable[[Engine, Any, int], Any]] = {
    "CreateQueue": _create_queue,
    "DeleteQueue": _delete_queue,
    "GetQueue": _get_queue,
    "ListQueues": _list_queues,
    "PauseQueue": _pause_queue,
    "PurgeQueue": _purge_queue,
    "ResumeQueue": _resume_queue,
    "UpdateQueue": _update_queue,
}
