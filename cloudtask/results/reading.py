"""What is known of a task, as the core has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.exceptions import DecodeError, ResultNotFound
from cloudtask.results.loaded import payload_of
from cloudtask.results.missing import advise
from cloudtask.results.models import TaskRecord
from cloudtask.results.values import restored
from cloudtask.stores import Progress, StoredError, StoredResult
from cloudtask.wire.payload import as_id, decode

if TYPE_CHECKING:
    from uuid import UUID

    from cloudtask.wire.payload import Payload


def found(task_id: str | UUID) -> StoredResult:
    """
    What is known of a task.

    Raises:
        ResultNotFound: Nothing is.
    """
    result = find(task_id)
    if result is None:
        raise ResultNotFound(str(task_id))
    return result


def find(task_id: str | UUID) -> StoredResult | None:
    """What is known of a task; None if nothing is."""
    with advise():
        row = TaskRecord.objects.filter(pk=as_id(task_id)).first()
        return None if row is None else stored_result(row)


def stored_result(row: TaskRecord) -> StoredResult:
    """What a row says, without arguments or a value that cannot be read."""
    value, is_dropped = _value_of(row)
    return StoredResult(
        payload=_payload_of(row),
        queue=row.queue,
        name=row.name or None,
        status=row.status,
        attempt=row.attempt,
        worker_id=row.worker_id,
        trace_id=row.trace_id or None,
        enqueued_at=row.enqueued_at,
        started_at=row.started_at,
        last_attempted_at=row.last_attempted_at,
        finished_at=row.finished_at,
        cancelled_at=row.cancelled_at,
        value=value,
        is_value_dropped=is_dropped,
        progress=_progress_of(row),
        errors=tuple(
            StoredError(
                attempt=error.attempt,
                type=error.type,
                message=error.message,
                traceback=error.traceback,
            )
            for error in row.errors.all()
        ),
    )


def _payload_of(row: TaskRecord) -> Payload:
    try:
        return decode(row.body.encode())
    except DecodeError:
        return payload_of(row)


def _value_of(row: TaskRecord) -> tuple[Any, bool]:
    """The value, and whether it is none for want of one that can be read."""
    try:
        return restored(row.return_value), row.is_value_dropped
    except Exception:
        return None, True


def _progress_of(row: TaskRecord) -> Progress | None:
    if row.progress_done is None:
        return None
    return Progress(
        done=row.progress_done, total=row.progress_total, message=row.progress_message
    )
