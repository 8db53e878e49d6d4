"""A task is cancelled: it never begins, or is told to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Case, F, Q, Value, When

from cloudtask.results.columns.fields import AnyCharField
from cloudtask.results.columns.moments import Now
from cloudtask.results.database.connections import ask
from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from django.db.models import QuerySet

Status = TaskRecord.Status


def select_cancellable(rows: QuerySet[TaskRecord]) -> QuerySet[TaskRecord]:
    """Select those that are not over and were not told to end."""
    return rows.filter(
        Q(status=Status.READY) | Q(status=Status.RUNNING, cancelled_at=None)
    )


def cancel_rows(rows: QuerySet[TaskRecord]) -> int:
    """
    Cancel those of some tasks that can be.

    Returns:
        How many.
    """
    # One statement: between two, a task that waits may begin, or end.
    waits = {"status": Status.READY}
    cancellable = select_cancellable(rows)
    failed = Value(Status.FAILED, AnyCharField())
    return ask(
        lambda: cancellable.update(
            cancelled_at=Now(),
            finished_at=Case(When(**waits, then=Now()), default=F("finished_at")),
            # A running task has neither. One that is over needs neither.
            send_at=None,
            look_at=None,
            # Last: on some databases an UPDATE sees what it has set before.
            status=Case(When(**waits, then=failed), default=F("status")),
        )
    )
