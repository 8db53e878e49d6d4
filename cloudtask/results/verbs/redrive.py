"""A task that failed is enqueued once more, with its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F

from cloudtask.results.columns.moments import Now
from cloudtask.results.database.connections import ask
from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from django.db.models import QuerySet

Status = TaskRecord.Status


def select_redrivable(rows: QuerySet[TaskRecord]) -> QuerySet[TaskRecord]:
    """Select those that failed, were not cancelled, and can be sent again."""
    return rows.filter(status=Status.FAILED, cancelled_at=None).exclude(body="")


def redrive_rows(rows: QuerySet[TaskRecord]) -> int:
    """
    Have those of some tasks that failed sent again, with all their attempts.

    Returns:
        How many.
    """
    failed = select_redrivable(rows)
    return ask(
        lambda: failed.update(
            status=Status.READY,
            attempt=0,
            attempts_before=0,
            # Whatever dispatches it still is of its former life.
            arming=F("arming") + 1,
            interruptions=0,
            started_at=None,
            finished_at=None,
            name="",
            # A name that was used stays blocked for a day.
            task_id="",
            sent_at=None,
            send_at=Now(),
        )
    )
