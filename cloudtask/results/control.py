"""What people do with tasks: cancel, retry, redrive, copy and prune them."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from asgiref.sync import sync_to_async
from django.db import router, transaction
from django.db.models import Case, F, Q, Value, When

from cloudtask.conf import clock
from cloudtask.exceptions import PayloadError
from cloudtask.results import sending
from cloudtask.results.clock import Now
from cloudtask.results.connections import ask
from cloudtask.results.fields import AnyCharField
from cloudtask.results.models import TaskRecord
from cloudtask.wire.payload import as_id, decode, encode, new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

    from cloudtask.transports.patience import Patience

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: Of tasks that are over.
FINISHED = (Status.SUCCESSFUL, Status.FAILED)
#: Rows that are cancelled, or deleted, at once.
CHUNK = 1000
#: Rows that are copied at once, and characters of one statement that does it:
#: MySQL takes no longer ones.
COPIED, COPIED_LENGTH = 100, 4_000_000


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
    return _cancel([as_id(id)], sending.patience()) == 1


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
    patience = sending.patience()
    for chunk in _chunks([as_id(each) for each in ids], CHUNK):
        found = list(cancellable(_rows(chunk)).values_list("pk", flat=True))
        _cancel(found, patience)
        # Some may have finished since they were looked for.
        done = _rows(found).filter(cancelled_at__isnull=False)
        cancelled += done.values_list("pk", flat=True)
    return cancelled


def cancellable(rows: QuerySet[TaskRecord]) -> QuerySet[TaskRecord]:
    """Those of some tasks that are not over, and were not told to end."""
    return rows.filter(
        Q(status=Status.READY) | Q(status=Status.RUNNING, cancelled_at=None)
    )


def _cancel(ids: Sequence[str], patience: Patience) -> int:
    # One statement: between two, a task that waits may begin, or end.
    waits = {"status": Status.READY}
    rows = cancellable(_rows(ids))
    failed = Value(Status.FAILED, AnyCharField())
    cancelled = ask(
        lambda: rows.update(
            cancelled_at=Now(),
            finished_at=Case(When(**waits, then=Now()), default=F("finished_at")),
            # What runs has neither. What is over is not to be looked for.
            send_at=None,
            look_at=None,
            # Last: some databases see what the same UPDATE has set before.
            status=Case(When(**waits, then=failed), default=F("status")),
        )
    )
    if cancelled:
        _leave_queues(ids, patience)
    return cancelled


def _leave_queues(ids: Sequence[str], patience: Patience) -> None:
    """Take cancelled tasks out of their queues, once they are committed."""
    rows = _rows(ids).filter(status=Status.FAILED)

    # Not a partial: Django asks for the name of what fails.
    def delete() -> None:
        sending.delete_many(rows.defer("body", "return_value"), patience)

    transaction.on_commit(delete, router.db_for_write(TaskRecord), robust=True)


def retry_now(rows: QuerySet[TaskRecord]) -> list[str]:
    """
    Have tasks that wait for their next attempt dispatched now.

    This takes a call to Cloud Tasks for each.

    Returns:
        The ids of those that are.
    """
    waiting = rows.filter(status=Status.READY, attempt__gt=0).exclude(name="")
    patience = sending.patience()
    return [row.pk for row in waiting if _is_dispatched(row, patience)]


def _is_dispatched(row: TaskRecord, patience: Patience) -> bool:
    answer = sending.run_now(row, patience)
    if isinstance(answer, bool):
        return answer
    logger.warning("task=%s id=%s waits still: %s", row.path, row.pk, answer)
    return False


def redrive(rows: QuerySet[TaskRecord]) -> int:
    """
    Have failed tasks run again, as new ones in the queue.

    They are sent by the sweeper. Those that were cancelled stay so.

    Returns:
        How many.
    """
    failed = redrivable(rows)
    return ask(
        lambda: failed.update(
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
    )


def redrivable(rows: QuerySet[TaskRecord]) -> QuerySet[TaskRecord]:
    """Those of some tasks that failed, and can be sent again."""
    return rows.filter(status=Status.FAILED, cancelled_at=None).exclude(body="")


def run_again(rows: QuerySet[TaskRecord]) -> dict[str, str]:
    """
    Enqueue tasks that are over once more, as new ones with their arguments.

    They are sent by the sweeper. Those that cannot be read are left out.

    Returns:
        The ids of the new tasks, by those of the old ones.
    """
    over = rows.filter(status__in=FINISHED).exclude(body="")
    copies: dict[str, str] = {}
    found = ask(lambda: list(over.values_list("pk", flat=True)))
    for ids in _chunks(found, COPIED):
        made = dict(_copies(_rows(ids)))
        longest = max((len(copy.body) for copy in made.values()), default=1)
        TaskRecord.objects.bulk_create(
            made.values(), batch_size=max(1, COPIED_LENGTH // longest)
        )
        copies.update((old, copy.pk) for old, copy in made.items())
    return copies


def _copies(rows: Iterable[TaskRecord]) -> Iterator[tuple[str, TaskRecord]]:
    for row in rows:
        try:
            yield row.pk, _copy(row)
        except PayloadError as error:
            logger.warning("task=%s id=%s cannot be read: %s", row.path, row.pk, error)


def _copy(row: TaskRecord) -> TaskRecord:
    payload = decode(row.body.encode())
    using = payload.using and payload.using._replace(run_after=None)
    again = replace(
        payload, id=new_id(), enqueued_at=clock.now(), using=using, body=None
    )
    return TaskRecord(
        id=again.id,
        path=row.path,
        kind=row.kind,
        backend=row.backend,
        queue=row.queue,
        body=encode(again).decode(),
        url=row.url,
        enqueued_at=again.enqueued_at,
        send_at=Now(),
    )


def prunable(before: datetime, failed_before: datetime) -> QuerySet[TaskRecord]:
    """The tasks that finished before a time, failed ones before another."""
    is_old = Q(status=Status.SUCCESSFUL, finished_at__lt=before)
    is_old |= Q(status=Status.FAILED, finished_at__lt=failed_before)
    # Said once more for both, so that the index of times is read no further.
    return TaskRecord.objects.filter(is_old, finished_at__lt=max(before, failed_before))


def prune(rows: QuerySet[TaskRecord]) -> Iterator[int]:
    """Delete rows, in chunks. Gives the size of each."""
    while deleted := _prune(rows, CHUNK):
        yield deleted


def prune_some(before: datetime, failed_before: datetime, limit: int) -> int:
    """
    Delete some of the tasks that finished before a time, oldest first.

    Args:
        before: Successful ones.
        failed_before: Failed ones.
        limit: The most of them.

    Returns:
        How many.
    """
    return _prune(prunable(before, failed_before), limit)


def _prune(rows: QuerySet[TaskRecord], limit: int) -> int:
    oldest = rows.order_by("finished_at").values_list("pk", flat=True)[:limit]
    ids = ask(lambda: list(oldest))
    return delete(rows.filter(pk__in=ids))


def delete(rows: QuerySet[TaskRecord]) -> int:
    """
    Delete rows, if they are still as they were looked for.

    Returns:
        How many.
    """
    return ask(lambda: _delete(rows))


def _delete(rows: QuerySet[TaskRecord]) -> int:
    with transaction.atomic(router.db_for_write(TaskRecord)):
        # Deleting looks first, and what it saw may be redriven by then.
        count = len(rows.select_for_update().values_list("pk"))
        rows.delete()
    return count


def _rows(ids: Sequence[str]) -> QuerySet[TaskRecord]:
    return TaskRecord.objects.filter(pk__in=ids)


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
