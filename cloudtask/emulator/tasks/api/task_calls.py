"""Calls about tasks, except for running them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2
from google.protobuf import empty_pb2

from cloudtask.emulator.tasks.api import batches
from cloudtask.emulator.tasks.model import tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.tasks.engine.engine import Engine

_ListTasksResponse = tasks_v2.ListTasksResponse.pb()
_Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined]


def _batch_create_tasks(engine: Engine, request: Any, now: int) -> Any:
    return batches.create_tasks(engine, request, now)


def _batch_delete_tasks(engine: Engine, request: Any, now: int) -> Any:
    return batches.delete_tasks(engine, request, now)


def _create_task(engine: Engine, request: Any, now: int) -> Any:
    task = engine.tasks.create(request.parent, request.task, now)
    return tasks.view(task, request.response_view)


def _delete_task(engine: Engine, request: Any, now: int) -> Any:
    engine.tasks.delete(request.name, now)
    return _Empty()


def _get_operation(engine: Engine, request: Any, now: int) -> Any:
    return batches.get(engine.store, request.name)


def _get_task(engine: Engine, request: Any, now: int) -> Any:
    task = engine.tasks.get(request.name, now)
    return tasks.view(task, request.response_view)


def _list_tasks(engine: Engine, request: Any, now: int) -> Any:
    page, token = engine.tasks.list(
        request.parent, now, size=request.page_size, token=request.page_token
    )
    shown = [tasks.view(task, request.response_view) for task in page]
    return _ListTasksResponse(tasks=shown, next_page_token=token)


#: What carries out each method: given the engine, the request and `now`.
CALLS: dict[str, Callable[[Engine, Any, int], Any]] = {
    "BatchCreateTasks": _batch_create_tasks,
    "BatchDeleteTasks": _batch_delete_tasks,
    "CreateTask": _create_task,
    "DeleteTask": _delete_task,
    "GetOperation": _get_operation,
    "GetTask": _get_task,
    "ListTasks": _list_tasks,
}
