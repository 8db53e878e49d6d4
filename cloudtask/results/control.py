"""What people do with tasks: cancel, redrive and prune them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from cloudtask.exceptions import CloudTaskError
from cloudtask.results.clock import Now
from cloudtask.results.models import TaskRecord
from cloudtask.results.sending import delete

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from django.db.models import QuerySet

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: Rows that are deleted at once.
CHUNK = 1000


def cancel(id: str) -> bool:  # noqa: A002
    """
    Cancel a task.

    One that waits never runs, and leaves the queue. One that runs is told, by
    `request.cancelled`. One that is over stays as it is.

    Args:
        id: Its id, as `delay()` and `enqueue()` return it.

    Returns:
        Whether there was anything to cancel.
    """
    row = TaskRecord.objects.filter(pk=id)
    if row.filter(status=Status.READY).update(
        status=Status.FAILED, cancelled_at=Now(), finished_at=Now(), send_at=None
    ):
        _leave_queue(row.get())
        return True
    running = row.filter(status=Status.RUNNING, cancelled_at=None)
    return bool(running.update(cancelled_at=Now()))


async def acancel(id: str) -> bool:  # noqa: A002
    """See cancel()."""
    return await sync_to_async(cancel)(id)


def _leave_queue(row: TaskRecord) -> None:
    try:
        delete(row)
    except CloudTaskError as error:
        # It is dispatched once, and answered as the finished task it is.
        logger.warning(
            "task=%s id=%s is in the queue still: %s", row.path, row.pk, error
        )


def redrive(rows: QuerySet[TaskRecord]) -> int:
    """
    Have failed tasks run again, as new ones in the queue.

    They are sent by the sweeper. Those that were cancelled stay so.

    Returns:
        How many.
    """
    failed = rows.filter(status=Status.FAILED, cancelled_at=None).exclude(body="")
    return failed.update(
        status=Status.READY,
        attempt=0,
        interruptions=0,
        started_at=None,
        finished_at=None,
        name="",
        # A name that was used stays blocked for a day.
        task_id="",
        sent_at=None,
        send_at=Now(),
    )


def prunable(before: datetime, failed_before: datetime) -> QuerySet[TaskRecord]:
    """The tasks that finished before a time, failed ones before another."""
    successful = TaskRecord.objects.filter(
        status=Status.SUCCESSFUL, finished_at__lt=before
    )
    failed = TaskRecord.objects.filter(
        status=Status.FAILED, finished_at__lt=failed_before
    )
    return successful | failed


def prune(rows: QuerySet[TaskRecord]) -> Iterator[int]:
    """Delete rows, in chunks. Gives the size of each."""
    while ids := list(
        rows.order_by("finished_at").values_list("pk", flat=True)[:CHUNK]
    ):
        rows.filter(pk__in=ids).delete()
        yield len(ids)
