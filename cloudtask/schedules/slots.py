"""Slots that are due: it is decided once what becomes of each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from cloudtask.conf import clock
from cloudtask.exceptions import StoreUnavailable
from cloudtask.planning.plans import Overlap
from cloudtask.results.database.connections import ask, get_alias
from cloudtask.schedules.decisions import Decision, decide
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.runs import enqueue_run, is_busy, make_run_id
from cloudtask.signals import slot_missed

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger("cloudtask")

#: How often it is looked at a schedule that others change meanwhile.
_TRIES = 5


class _Conflict(Exception):
    """Another process has decided first."""


def decide_due(uid: str, now: datetime) -> ScheduledTask | None:
    """
    Decide what becomes of a schedule's slots that are due, and enqueue runs.

    Any number of processes may do so at once: one of them decides.

    Args:
        uid: Of the schedule.
        now: The present, or the moment of the tick.

    Returns:
        Its row as it is then; None if there is none.

    Raises:
        CloudTaskError: A run cannot be enqueued. Nothing is decided.
    """
    for _ in range(_TRIES):
        row = ask(ScheduledTask.objects.filter(uid=uid).first)
        if row is None or row.is_paused:
            return row
        try:
            if _decide(row, now):
                return row
        except (_Conflict, IntegrityError):
            logger.info("schedule=%r: another process decides, too", row.name)
    raise StoreUnavailable(
        f"The schedule {uid} has more slots due than one tick takes."
    )


def _decide(row: ScheduledTask, now: datetime) -> bool:
    """Decide about some slots; False if there are more."""
    # Other plans do not mind, and are spared a query.
    busy = row.plan.overlap is not Overlap.RUN and is_busy(row)
    waiting = None if busy else _find_waiting(row)
    decision = decide(
        row.plan, row.decided_until, now, is_busy=busy or waiting is not None
    )
    if decision.until is None and waiting is None:
        _correct_next(row)
        return True
    with transaction.atomic(get_alias()):
        _advance(row, decision.until or row.decided_until)
        if waiting is not None:
            _release(row, waiting)
        _write(row, decision)
    _tell_missed(row, decision)
    return row.next_at is None or row.next_at > now


def _find_waiting(row: ScheduledTask) -> Slot | None:
    if row.plan.overlap is not Overlap.WAIT:
        return None
    return Slot.objects.filter(schedule=row, state=Slot.State.WAITING).first()


def _correct_next(row: ScheduledTask) -> None:
    """Have the row show its next slot, if an UPDATE has changed its plan."""
    next_at = row.find_next(row.decided_until)
    if next_at != row.next_at:
        ScheduledTask.objects.filter(pk=row.pk, generation=row.generation).update(
            next_at=next_at
        )
        row.next_at = next_at


def _advance(row: ScheduledTask, until: datetime) -> None:
    """
    Move the moment until when it is decided. Who does so decides.

    Raises:
        _Conflict: Another process did, or the schedule was changed.
    """
    next_at = row.find_next(until)
    same = ScheduledTask.objects.filter(
        pk=row.pk,
        generation=row.generation,
        decided_until=row.decided_until,
        paused_at=None,
    )
    if not same.update(decided_until=until, next_at=next_at):
        raise _Conflict
    row.decided_until, row.next_at = until, next_at


def _release(row: ScheduledTask, waiting: Slot) -> None:
    """Run a slot that has waited."""
    mine = Slot.objects.filter(pk=waiting.pk, state=Slot.State.WAITING)
    run_id = make_run_id(row, waiting.instant)
    if not mine.update(state=Slot.State.ENQUEUED, task_id=run_id):
        raise _Conflict
    enqueue_run(row, waiting.instant)


def _write(row: ScheduledTask, decision: Decision) -> None:
    for slot in decision.run:
        # The row first: a slot that has one is not enqueued again.
        _add(row, slot, Slot.State.ENQUEUED, task_id=make_run_id(row, slot))
        enqueue_run(row, slot)
    for slot in decision.skip:
        _add(row, slot, Slot.State.SKIPPED)
    if decision.wait is not None:
        waiting = Slot.objects.filter(schedule=row, state=Slot.State.WAITING)
        waiting.update(state=Slot.State.SKIPPED)
        _add(row, decision.wait, Slot.State.WAITING)
    gap = decision.missed
    if gap is not None:
        _add(row, gap.last, Slot.State.MISSED, first=gap.first, count=gap.count)


def _add(
    row: ScheduledTask, instant: datetime, state: Slot.State, **values: object
) -> None:
    Slot.objects.create(
        schedule=row, instant=instant, state=state, decided_at=clock.now(), **values
    )


def _tell_missed(row: ScheduledTask, decision: Decision) -> None:
    gap = decision.missed
    if gap is None:
        return
    logger.warning(
        "schedule=%r task=%s missed %d slots, from %s to %s",
        row.name,
        row.path,
        gap.count,
        gap.first.isoformat(),
        gap.last.isoformat(),
    )
    slot_missed.send_robust(
        row.path, name=row.name, first=gap.first, last=gap.last, count=gap.count
    )
