"""What people do with tasks: cancel, retry, redrive, and copy them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction

from cloudtask.conf import clock
from cloudtask.results import sending
from cloudtask.results.database.connections import get_alias
from cloudtask.results.models import TaskRecord
from cloudtask.results.records import select_rows
from cloudtask.results.verbs.add_copies import add_copies
from cloudtask.results.verbs.cancel import cancel_rows, select_cancellable
from cloudtask.results.verbs.rearm import bring_forward
from cloudtask.results.verbs.redrive import redrive_rows
from cloudtask.wire.payload import as_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from cloudtask.transports.patience import Patience

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: Rows that are cancelled at once.
CHUNK = 1000


def cancel(id: str | UUID) -> bool:  # noqa: A002
    """
    Cancel a task.

    One that waits never runs, and leaves the queue. One that runs is told, by
    `request.cancelled`. One that is over stays as it is.

    Args:
        id: Its id, as `delay()` and `enqueue()` return it, or as a UUID.

    Returns:
        Whether there was anything to cancel.
    """
    return _cancel([as_id(id)], sending.make_patience()) == 1


async def acancel(id: str | UUID) -> bool:  # noqa: A002
    """See cancel()."""
    return await sync_to_async(cancel)(id)


def cancel_many(ids: Iterable[str | UUID]) -> list[str]:
    """
    Cancel many tasks, a thousand at a time. See cancel().

    Returns:
        The ids of those where there was anything to cancel.
    """
    cancelled: list[str] = []
    patience = sending.make_patience()
    for chunk in _split([as_id(each) for each in ids], CHUNK):
        found = select_cancellable(select_rows(chunk)).values_list("pk", flat=True)
        cancellable = list(found)
        _cancel(cancellable, patience)
        # Some may have finished since they were looked for.
        done = select_rows(cancellable).filter(cancelled_at__isnull=False)
        cancelled += done.values_list("pk", flat=True)
    return cancelled


def _cancel(ids: Sequence[str], patience: Patience) -> int:
    cancelled = cancel_rows(select_rows(ids))
    if cancelled:
        _take_out_of_queues(ids, patience)
    return cancelled


def _take_out_of_queues(ids: Sequence[str], patience: Patience) -> None:
    """Take cancelled tasks out of their queues, once that is committed."""
    rows = select_rows(ids).filter(status=Status.FAILED)

    # Not a partial: Django asks for the name of what fails.
    def delete() -> None:
        sending.delete_many(rows.defer("body", "return_value"), patience)

    transaction.on_commit(delete, get_alias(), robust=True)


def retry_now(rows: QuerySet[TaskRecord]) -> list[str]:
    """
    Have tasks that wait for their next attempt dispatched now.

    This takes a call to Cloud Tasks for each.

    Returns:
        The ids of those that are.
    """
    waiting = rows.filter(status=Status.READY, attempt__gt=0).exclude(name="")
    patience = sending.make_patience()
    return [row.pk for row in waiting if _run_now(row, patience)]


def _run_now(row: TaskRecord, patience: Patience) -> bool:
    if row.schedule_time is not None and row.schedule_time > clock.now():
        bring_forward(row)
    answer = sending.run_now(row, patience)
    if isinstance(answer, bool):
        return answer
    logger.warning("task=%s id=%s still waits: %s", row.path, row.pk, answer)
    return False


def redrive(rows: QuerySet[TaskRecord]) -> int:
    """
    Have failed tasks run again, as new ones in the queue.

    The sweeper sends them. Those that were cancelled stay so.

    Returns:
        How many.
    """
    return redrive_rows(rows)


def run_again(rows: QuerySet[TaskRecord]) -> dict[str, str]:
    """
    Enqueue tasks that are over once more, as new ones with their arguments.

    The sweeper sends them. Those that cannot be read are left out.

    Returns:
        The ids of the new tasks, by those of the old ones.
    """
    return add_copies(rows)


def _split(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
