"""
The sweeper: sends what was not sent, and frees what nobody will end.

Any number of them may run at once, and none has to: passes are short, and a
command, a schedule or later traffic makes them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import shuffle
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import Error
from django.db.models import Case, DateTimeField, Value, When
from django.db.models.functions import Coalesce

from cloudtask.conf import clock, get_settings
from cloudtask.exceptions import (
    CloudTaskError,
    EnqueueError,
    InvalidCredentials,
    MetadataUnavailable,
    TaskAlreadyExists,
    TaskGone,
    TaskNotFound,
)
from cloudtask.results import control, sending
from cloudtask.results.clock import Now, after
from cloudtask.results.connections import ask, primary
from cloudtask.results.failing import fail
from cloudtask.results.leases import give_up
from cloudtask.results.models import TaskRecord
from cloudtask.results.settings import get_results_settings
from cloudtask.results.statements import Update, given
from cloudtask.wire.payload import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.db.models import QuerySet

    from cloudtask.transports.patience import Patience

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: Until a task that could not be sent is tried again, and the most if that is
#: not to pass by itself.
PAUSE, MAX_PAUSE = timedelta(minutes=1), timedelta(hours=1)
#: How long a lease is over before its task is looked for in the queue.
GRACE = timedelta(minutes=5)
#: How long a task may wait for an attempt before it is looked for: longer
#: than queues wait between two.
LOOK_AFTER = timedelta(hours=2)
#: Tasks of one pass, of each kind.
LIMIT = 100
#: Seconds between two passes that traffic makes, and their limit.
TRAFFIC_SECONDS, TRAFFIC_LIMIT = 60.0, 10
#: Tasks that are pruned with such a pass.
TRAFFIC_PRUNED = 500


@dataclass(slots=True)
class Swept:
    """What one pass did."""

    sent: int = 0  # Tasks that were handed over.
    unsent: int = 0  # Tasks that could not be; they are tried again later.
    freed: int = 0  # Tasks that their queue forgot.


def sweep(limit: int = LIMIT) -> Swept:
    """Make one pass, over the tasks that wait longest."""
    swept, patience = Swept(), sending.patience()
    unsent = _taken(_to_send(), limit, send_at=after(PAUSE))
    for answers in sending.send_many(unsent, patience):
        sent = _try(_note, answers)
        swept.sent += sent
        swept.unsent += len(answers) - sent
    for row in _taken(_orphans(), limit, lease_expires_at=Now()):
        swept.freed += _try(_free, row, patience)
    for row in _taken(_waiting(), limit, look_at=after(LOOK_AFTER)):
        swept.freed += _try(_give_up, row, patience)
    return swept


def _try(act: Callable[..., int], *args: Any) -> int:
    """Do it, and go on with the next row if that fails."""
    try:
        return act(*args)
    except Exception as error:
        if isinstance(error, Error) and primary().connection is None:
            raise  # The database is away, for all of them.
        logger.exception("a pass of the sweeper goes on without %s", args[0])
        return 0


def note_sent(names: Mapping[str, str]) -> None:
    """Note that Cloud Tasks has tasks: their full names by their ids."""
    if len(names) == 1:
        [(id, name)] = names.items()  # noqa: A001
        ask(lambda: _NOTE_ONE.run(id=id, name=name))
    elif names:
        cases = (When(pk=id, then=Value(name)) for id, name in names.items())  # noqa: A001
        rows = TaskRecord.objects.filter(pk__in=names)
        values = _sent_as(Case(*cases))
        ask(lambda: rows.update(**values))


def _sent_as(name: Any) -> dict[str, Any]:
    # Their attempts may have begun by now, and ended.
    is_waiting = When(status=Status.READY, then=after(LOOK_AFTER, _SCHEDULED))
    return {
        "name": name,
        "sent_at": Now(),
        "send_at": None,
        "look_at": Case(is_waiting, output_field=DateTimeField()),
    }


_NOTE_ONE = Update(
    lambda: (TaskRecord.objects.filter(pk=given("id")), _sent_as(given("name")))
)


def sweep_by_traffic() -> None:
    """
    Make a short pass, if this process has made none for a while.

    The task that brought us here is done, whatever becomes of others: nothing
    is raised.
    """
    global _last_pass
    now = monotonic()
    if now - _last_pass < TRAFFIC_SECONDS:
        return
    if primary().in_atomic_block:
        return  # What fails here would undo what others do in it.
    _last_pass = now
    try:
        sweep(TRAFFIC_LIMIT)
        _prune()
    except (Error, CloudTaskError) as error:
        logger.warning("no pass of the sweeper: %r", error)
    except Exception:
        logger.exception("no pass of the sweeper")


def _prune() -> None:
    """Delete some of what the settings have pruned."""
    settings = get_results_settings(get_settings())
    if settings.prune_after or settings.prune_failed_after:
        control.prune_some(
            _before(settings.prune_after),
            _before(settings.prune_failed_after),
            TRAFFIC_PRUNED,
        )


def _before(age: timedelta | None) -> datetime:
    return clock.now() - age if age else _NEVER


_last_pass = monotonic()

#: Before any task.
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
#: What this process lacks to send a task. Another may have it.
_NOT_HERE = (TaskNotFound, InvalidCredentials, MetadataUnavailable)
_SCHEDULED = Coalesce("schedule_time", Now())


def _to_send() -> QuerySet[TaskRecord]:
    unsent = TaskRecord.objects.filter(status=Status.READY, send_at__lte=Now())
    return unsent.order_by("send_at")


def _orphans() -> QuerySet[TaskRecord]:
    over = TaskRecord.objects.filter(
        status=Status.RUNNING, lease_expires_at__lt=after(-GRACE)
    )
    return over.order_by("lease_expires_at")


def _waiting() -> QuerySet[TaskRecord]:
    waiting = TaskRecord.objects.filter(status=Status.READY, look_at__lte=Now())
    return waiting.order_by("look_at")


def _taken(rows: QuerySet[TaskRecord], limit: int, **mark: Any) -> list[TaskRecord]:
    """Rows that no other sweeper takes: their mark puts them last in line."""
    ids = ask(lambda: list(rows.values_list("pk", flat=True)[:limit]))
    token = new_id()
    chosen = rows.order_by().filter(pk__in=ids)
    ask(lambda: chosen.update(lease=token, **mark))
    taken = ask(lambda: list(TaskRecord.objects.filter(pk__in=ids, lease=token)))
    # In an outage the first ones use up the time for all.
    shuffle(taken)
    return taken


def _note(answers: Sequence[tuple[TaskRecord, str | Exception]]) -> int:
    """Note what came of the sending. Gives how many were sent."""
    names = {row.pk: each for row, each in answers if isinstance(each, str)}
    note_sent(names)
    # Sent before by a process that did not live to note it.
    before = {
        row.pk: error.name
        for row, error in answers
        if isinstance(error, TaskAlreadyExists) and not _is_duplicate(row)
    }
    note_sent(before)
    for row, answer in answers:
        if isinstance(answer, Exception) and row.pk not in before:
            _unsent(row, answer)
    return len(names) + len(before)


def _unsent(row: TaskRecord, error: Exception) -> None:
    if isinstance(error, TaskAlreadyExists):
        _fail(row, error)
    elif _may_pass(error):
        logger.warning("task=%s id=%s was not sent: %s", row.path, row.pk, error)
    else:
        wait = _pause_of(row)
        waiting = TaskRecord.objects.filter(
            pk=row.pk, status=Status.READY, send_at__isnull=False
        )
        ask(lambda: waiting.update(send_at=after(wait)))
        logger.error(
            "task=%s id=%s was not sent, and is tried again in %d s: %s",
            row.path,
            row.pk,
            wait.total_seconds(),
            error,
        )


def _may_pass(error: Exception) -> bool:
    if isinstance(error, EnqueueError):
        return error.retryable
    return isinstance(error, _NOT_HERE)


def _pause_of(row: TaskRecord) -> timedelta:
    """As long as it has waited already, within bounds."""
    age: timedelta = clock.now() - row.enqueued_at
    return min(max(age, PAUSE), MAX_PAUSE)


def _is_duplicate(row: TaskRecord) -> bool:
    """Whether another task has this one's name."""
    same = TaskRecord.objects.filter(task_id=row.task_id, path=row.path)
    return same.exclude(pk=row.pk).filter(sent_at__isnull=False).exists()


def _give_up(row: TaskRecord, patience: Patience) -> bool:
    """Have a task failed that its queue has no more, and will not dispatch."""
    if _may_be_queued(row, patience):
        return False
    gone = TaskGone("The task is in its queue no more: it was deleted, or given up.")
    return _fail(row, gone)


def _fail(row: TaskRecord, error: CloudTaskError) -> bool:
    return fail(row, TaskRecord.objects.filter(status=Status.READY), error)


def _free(row: TaskRecord, patience: Patience) -> bool:
    if give_up(row):
        return True
    if _may_be_queued(row, patience):
        return False  # The next attempt takes it over.
    free = TaskRecord.objects.filter(
        # Nobody could claim it, had it been cancelled since.
        pk=row.pk,
        lease=row.lease,
        status=Status.RUNNING,
        cancelled_at=None,
    )
    freed = ask(
        lambda: free.update(
            status=Status.READY,
            lease="",
            lease_expires_at=None,
            interruptions=row.interruptions + 1,
            name="",
            task_id="",
            send_at=Now(),
        )
    )
    return bool(freed)


def _may_be_queued(row: TaskRecord, patience: Patience) -> bool:
    answer = sending.is_queued(row, patience)
    if isinstance(answer, bool):
        return answer
    logger.warning("task=%s id=%s: no answer: %s", row.path, row.pk, answer)
    return True
