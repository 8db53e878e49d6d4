"""What is known of a task, in the words of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.exceptions import DecodeError, ResultNotFound
from cloudtask.results.columns.values import load_value
from cloudtask.results.database.errors import explain_missing_tables
from cloudtask.results.models import TaskRecord
from cloudtask.results.records import make_bare_payload
from cloudtask.stores import Progress, StoredError, StoredResult
from cloudtask.wire.payload import as_id, decode

if TYPE_CHECKING:
    from uuid import UUID

    from cloudtask.wire.payload import Payload


def get_result(task_id: str | UUID) -> StoredResult:
    """
    Get what is known of a task.

    Raises:
        ResultNotFound: Nothing is known of it.
    """
    result = find_result(task_id)
    if result is None:
        raise ResultNotFound(str(task_id))
    return result


def find_result(task_id: str | UUID) -> StoredResult | None:
    """Find what is known of a task; None if nothing is."""
    with explain_missing_tables():
        row = TaskRecord.objects.filter(pk=as_id(task_id)).first()
        return None if row is None else _read_row(row)


def _read_row(row: TaskRecord) -> StoredResult:
    """Read a row. Arguments or a value that cannot be read are left out."""
    value, is_dropped = _read_value(row)
    return StoredResult(
        payload=_read_payload(row),
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
        progress=_read_progress(row),
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


def _read_payload(row: TaskRecord) -> Payload:
    try:
        return decode(row.body.encode())
    except DecodeError:
        return make_bare_payload(row)


def _read_value(row: TaskRecord) -> tuple[Any, bool]:
    """Read the value, and whether there is none because it cannot be read."""
    try:
        return load_value(row.return_value), row.is_value_dropped
    except Exception:
        return None, True


def _read_progress(row: TaskRecord) -> Progress | None:
    if row.progress_done is None:
        return None
    return Progress(
        done=row.progress_done, total=row.progress_total, message=row.progress_message
    )
