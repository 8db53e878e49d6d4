"""Batch calls: their long-running operations, which end at once."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from google.cloud import tasks_v2
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from cloudtask.emulator.tasks import names, refusals
from cloudtask.emulator.tasks.limits import MAX_CREATED, MAX_DELETED
from cloudtask.emulator.tasks.model import tasks
from cloudtask.emulator.values import errors, instants
from cloudtask.emulator.values.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.tables.store import Store


Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined]
_CreateMetadata = tasks_v2.BatchCreateTasksMetadata.pb()
_CreateResponse = tasks_v2.BatchCreateTasksResponse.pb()
_DeleteMetadata = tasks_v2.BatchDeleteTasksMetadata.pb()


class _Failures(NamedTuple):
    by_index: dict[int, Any]  # google.rpc.Status
    are_all: bool


def create_tasks(engine: Engine, request: Any, now: int) -> Any:
    """Return the google.longrunning.Operation of a BatchCreateTasks."""
    engine.tasks.queue_for(request.parent, now)
    parents = [each.parent for each in request.requests]
    _check(request.parent, "requests", parents, MAX_CREATED)
    created = []

    def create(each: Any) -> None:
        task = engine.tasks.create(request.parent, each.task, now)
        created.append(tasks.view(task, each.response_view))

    def run() -> Any:
        failed = _attempt_each(create, request.requests)
        return _make_operation(
            _CreateMetadata(), _CreateResponse(tasks=created), failed, now
        )

    return _run_once(engine, request, now, run)


def get(store: Store, name: str) -> Any:
    """Return an operation by its name, or raise ApiError."""
    operation = store.operations.get(name)
    if operation is None:
        raise errors.entity_not_found()
    return operations_pb2.Operation.FromString(operation)


def delete_tasks(engine: Engine, request: Any, now: int) -> Any:
    """Return the google.longrunning.Operation of a BatchDeleteTasks."""
    engine.queues.get(request.parent)
    parents = [names.split_task_name(name)[0] for name in request.names]
    _check(request.parent, "names", parents, MAX_DELETED)

    def run() -> Any:
        failed = _attempt_each(
            lambda name: engine.tasks.delete(name, now), request.names
        )
        return _make_operation(_DeleteMetadata(), Empty(), failed, now)

    return _run_once(engine, request, now, run)


def _check(parent: str, field: str, parents: Sequence[str], maximum: int) -> None:
    if not 1 <= len(parents) <= maximum:
        raise refusals.bad_batch_size(field, maximum)
    for each in parents:
        if each != parent:
            raise refusals.batch_mismatch(parent, each)


def _run_once(engine: Engine, request: Any, now: int, run: Callable[[], Any]) -> Any:
    """Run a batch, or return what became of it if it ran before."""
    location = request.parent.partition("/queues/")[0]
    request_id = request.request_id or str(uuid.uuid4())
    identity = f"{type(request).__name__} {request.parent} {request_id}"
    known = engine.store.operations.find(identity)
    if known is not None:
        return operations_pb2.Operation.FromString(known)
    operation = run()
    operation.name = f"{location}/operations/{uuid.uuid4().int}"
    serialized = cast("Any", operation).SerializeToString()
    engine.store.operations.add(operation.name, identity, now, serialized)
    return operation


def _attempt_each(attempt: Callable[[Any], None], items: Sequence[Any]) -> _Failures:
    failed = {}
    for index, item in enumerate(items):
        try:
            attempt(item)
        except ApiError as error:
            failed[index] = error.status()
    return _Failures(failed, are_all=len(failed) == len(items))


def _make_operation(metadata: Any, response: Any, failures: _Failures, now: int) -> Any:
    instants.write(metadata.start_time, now)
    instants.write(metadata.end_time, now)
    for index, status in failures.by_index.items():
        metadata.failed_requests[index].CopyFrom(status)
    operation = operations_pb2.Operation(done=True)
    if failures.are_all:
        # Unconfirmed which state goes with it.
        metadata.state = metadata.FAILED
        operation.error.CopyFrom(
            refusals.batch_failed(metadata.DESCRIPTOR.name).status()
        )
    else:
        metadata.state = (
            metadata.PARTIALLY_SUCCEEDED if failures.by_index else metadata.SUCCEEDED
        )
        operation.response.Pack(response)
    operation.metadata.Pack(metadata)
    return operation
