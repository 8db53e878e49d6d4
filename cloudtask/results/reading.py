"""What is known of a task, as the core has it."""

from __future__ import annotations

from cloudtask.exceptions import ResultNotFound
from cloudtask.payload import decode
from cloudtask.results.models import TaskRecord
from cloudtask.results.values import restored
from cloudtask.stores import Progress, StoredError, StoredResult


def found(task_id: str) -> StoredResult:
    """
    What is known of a task.

    Raises:
        ResultNotFound: Nothing is.
    """
    result = find(task_id)
    if result is None:
        raise ResultNotFound(task_id)
    return result


def find(task_id: str) -> StoredResult | None:
    """What is known of a task; None if nothing is."""
    row = TaskRecord.objects.filter(pk=task_id).first()
    return None if row is None else stored_result(row)


def stored_result(row: TaskRecord) -> StoredResult:
    """
    What a row says.

    Raises:
        DecodeError: Its payload cannot be read.
    """
    return StoredResult(
        payload=decode(row.body.encode()),
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
        value=restored(row.return_value),
        is_value_dropped=row.is_value_dropped,
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


def _progress_of(row: TaskRecord) -> Progress | None:
    if row.progress_done is None:
        return None
    return Progress(
        done=row.progress_done, total=row.progress_total, message=row.progress_message
    )
