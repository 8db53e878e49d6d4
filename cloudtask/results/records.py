"""Rows and payloads: how each is made from the other, and how they match."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cloudtask.dispatch.workers import worker_id
from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.models import TaskRecord
from cloudtask.wire.limits import MAX_SCHEDULE
from cloudtask.wire.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.request import CloudTaskRequest

#: After this time the sweeper sends a task that was not sent.
SEND_AFTER = timedelta(minutes=1)
#: How far ahead a Cloud Task is scheduled at the most. What is due later is
#: re-armed then. Cloud Tasks' clock may be behind this one.
HOP = MAX_SCHEDULE - timedelta(hours=1)


def select_rows(ids: Collection[str]) -> QuerySet[TaskRecord]:
    """Select the rows of tasks by their ids."""
    return TaskRecord.objects.filter(pk__in=ids)


def select_row_of(payload: Payload) -> QuerySet[TaskRecord]:
    """Select the row of a payload's task; none if its id is another task's."""
    return TaskRecord.objects.filter(pk=payload.id, **identify(payload))


def identify(payload: Payload) -> dict[str, str]:
    """Tell what a payload and a row have in common if they are one task's."""
    return {
        "path": payload.task,
        "kind": payload.kind,
        "backend": payload.backend or "",
    }


def make_row(payload: Payload, task: OutgoingTask) -> TaskRecord:
    """Make the row of a task that is enqueued."""
    return TaskRecord(
        id=payload.id,
        **identify(payload),
        queue=task.route.queue,
        body=task.body.decode(),
        url=task.route.url,
        task_id=task.task_id or "",
        schedule_time=task.schedule_time,
        enqueued_at=payload.enqueued_at,
        send_at=payload.enqueued_at + SEND_AFTER,
    )


def make_dispatched_row(payload: Payload, request: CloudTaskRequest) -> TaskRecord:
    """Make the row of a task that is known only by its dispatch."""
    return TaskRecord(
        id=payload.id,
        **identify(payload),
        queue=request.queue or "",
        name=request.task_name or "",
        body=payload.received_body().decode(),
        enqueued_at=payload.enqueued_at,
        sent_at=payload.enqueued_at,
        schedule_time=request.arming.due,
        arming=request.arming.number,
        attempts_before=request.arming.attempts,
        **describe_attempt(request),
    )


def make_send_time() -> Any:
    """Make the moment at which the sweeper sends what is to be sent now."""
    return shift(Now(), SEND_AFTER)


def describe_attempt(request: CloudTaskRequest) -> dict[str, Any]:
    """Tell what a row says of its latest attempt."""
    return {
        "attempt": request.attempt,
        "worker_id": worker_id(),
        "trace_id": request.trace_id or "",
    }


def make_bare_payload(row: TaskRecord) -> Payload:
    """Make a row's payload without its arguments, which may be unreadable."""
    return Payload(
        id=row.pk,
        task=row.path,
        kwargs={},
        enqueued_at=row.enqueued_at,
        kind=row.kind,
        backend=row.backend or None,
    )
