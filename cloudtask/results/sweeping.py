"""
The sweeper: sends what was not sent, and frees what nobody will end.

Any number of them may run at once, and none has to: passes are short, and a
command, a schedule or later traffic makes them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError
from django.db.models.functions import Coalesce

from cloudtask.exceptions import (
    CloudTaskError,
    TaskAlreadyExists,
)
from cloudtask.payload import new_id
from cloudtask.results import sending
from cloudtask.results.clock import Now, after
from cloudtask.results.leases import give_up
from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from django.db.models import QuerySet

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: Until a task that could not be sent is tried again.
PAUSE = timedelta(minutes=1)
#: How long a lease is over before its task is looked for in the queue.
GRACE = timedelta(minutes=5)
#: How long a task may wait for an attempt before it is looked for: longer
#: than queues wait between two.
LOOK_AFTER = timedelta(hours=2)
#: Tasks of one pass, of each kind.
LIMIT = 100
#: Seconds between two passes that traffic makes, and their limit.
TRAFFIC_SECONDS, TRAFFIC_LIMIT = 60.0, 10


@dataclass(slots=True)
class Swept:
    """What one pass did."""

    sent: int = 0  # Tasks that were handed over.
    unsent: int = 0  # Tasks that could not be; they are tried again later.
    freed: int = 0  # Tasks that their queue forgot.

    @property
    def total(self) -> int:
        return self.sent + self.unsent + self.freed


def sweep(limit: int = LIMIT) -> Swept:
    """Make one pass, over the tasks that wait longest."""
    swept = Swept()
    for row in _taken(_to_send(), limit, send_at=after(PAUSE)):
        if _sent(row):
            swept.sent += 1
        else:
            swept.unsent += 1
    for row in _taken(_orphans(), limit, lease_expires_at=Now()):
        swept.freed += _freed(row)
    for row in _taken(_waiting(), limit, look_at=after(LOOK_AFTER)):
        swept.freed += _given_up(row)
    return swept


def look_at() -> Any:
    """When to look for a task that is sent now."""
    return after(LOOK_AFTER, Coalesce("schedule_time", Now()))


def sweep_by_traffic() -> None:
    """Make a short pass, if this process has made none for a while."""
    global _last_pass
    now = monotonic()
    if now - _last_pass < TRAFFIC_SECONDS:
        return
    _last_pass = now
    try:
        sweep(TRAFFIC_LIMIT)
    except (DatabaseError, CloudTaskError) as error:
        # The task that brought us here is done, whatever becomes of others.
        logger.warning("no pass of the sweeper: %r", error)


_last_pass = monotonic()


def _to_send() -> QuerySet[TaskRecord]:
    return TaskRecord.objects.filter(status=Status.READY, send_at__lte=Now()).order_by(
        "send_at"
    )


def _orphans() -> QuerySet[TaskRecord]:
    return TaskRecord.objects.filter(
        status=Status.RUNNING, lease_expires_at__lt=after(-GRACE)
    ).order_by("lease_expires_at")


def _waiting() -> QuerySet[TaskRecord]:
    waiting = TaskRecord.objects.filter(status=Status.READY, look_at__lte=Now())
    return waiting.order_by("look_at")


def _taken(rows: QuerySet[TaskRecord], limit: int, **mark: Any) -> list[TaskRecord]:
    """Rows that no other sweeper takes: their mark puts them last in line."""
    ids = list(rows.values_list("pk", flat=True)[:limit])
    token = new_id()
    rows.order_by().filter(pk__in=ids).update(lease=token, **mark)
    taken = TaskRecord.objects.filter(pk__in=ids, lease=token)
    return sorted(taken, key=lambda row: ids.index(row.pk))


def _sent(row: TaskRecord) -> bool:
    try:
        name = sending.send(row)
    except TaskAlreadyExists as error:
        if _is_duplicate(row):
            _fail(row, error)
            return False
        # Sent before by a process that did not live to note it.
        name = error.name
    except Exception as error:
        # Whatever is wrong with one row, others are sent.
        logger.warning("task=%s id=%s was not sent: %s", row.path, row.pk, error)
        return False
    TaskRecord.objects.filter(pk=row.pk).update(
        name=name, sent_at=Now(), send_at=None, look_at=look_at()
    )
    return True


def _is_duplicate(row: TaskRecord) -> bool:
    """Whether another task has this one's name."""
    same = TaskRecord.objects.filter(task_id=row.task_id, path=row.path)
    return same.exclude(pk=row.pk).filter(sent_at__isnull=False).exists()


def _given_up(row: TaskRecord) -> bool:
    """Have a task failed that its queue has no more, and will not dispatch."""
    if _may_be_queued(row):
        return False
    return _fail(row, "its queue has it no more: it was deleted, or gave up")


def _fail(row: TaskRecord, reason: object) -> bool:
    waiting = TaskRecord.objects.filter(pk=row.pk, status=Status.READY)
    is_failed = waiting.update(
        status=Status.FAILED, finished_at=Now(), send_at=None, look_at=None
    )
    if is_failed:
        logger.error("task=%s id=%s status=failed: %s", row.path, row.pk, reason)
    return bool(is_failed)


def _freed(row: TaskRecord) -> bool:
    if give_up(row):
        return True
    if _may_be_queued(row):
        return False  # The next attempt takes it over.
    free = TaskRecord.objects.filter(pk=row.pk, lease=row.lease, status=Status.RUNNING)
    return bool(
        free.update(
            status=Status.READY,
            lease="",
            lease_expires_at=None,
            interruptions=row.interruptions + 1,
            name="",
            task_id="",
            send_at=Now(),
        )
    )


def _may_be_queued(row: TaskRecord) -> bool:
    try:
        return sending.is_queued(row)
    except CloudTaskError as error:
        logger.warning("task=%s id=%s: no answer: %s", row.path, row.pk, error)
        return True
