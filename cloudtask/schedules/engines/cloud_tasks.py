"""Ticks by Cloud Tasks alone: the tick of a slot arms the next one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F

from cloudtask.conf import clock
from cloudtask.enqueue.payloads import enqueue_payload
from cloudtask.results import control
from cloudtask.results.database.connections import get_alias
from cloudtask.results.models import FINISHED, TaskRecord
from cloudtask.results.store import DATABASE_STORE
from cloudtask.schedules.changes import Comparison, Step, Verb
from cloudtask.schedules.engines.base import Engine
from cloudtask.schedules.models import ScheduledTask
from cloudtask.schedules.ticks import make_armed_tick, make_tick_id
from cloudtask.wire.limits import MAX_SCHEDULE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import timedelta

#: Schedules whose ticks are looked for by one query.
_CHUNK = 500


class CloudTasksEngine(Engine):
    """
    One task in the queue for each schedule: its next tick.

    A change gives the schedule another generation, whose tick is another task.
    """

    def follow(self, row: ScheduledTask) -> None:
        """Arm the next tick, in place of that of the former generation."""
        self._disarm(row.uid, row.generation - 1)
        if row.next_at is not None:
            _arm(row)

    def forget(self, row: ScheduledTask) -> None:
        """Take the armed tick out of its queue."""
        self._disarm(row.uid, row.generation)

    def revive(self, row: ScheduledTask) -> None:
        """Arm a tick if there is none: its task was lost, or given up."""
        if not _select_unarmed([row]):
            return
        with transaction.atomic(get_alias()):
            same = ScheduledTask.objects.filter(pk=row.pk, generation=row.generation)
            if same.update(generation=F("generation") + 1):
                row.generation += 1
                _arm(row)

    def compare(
        self, rows: Iterable[ScheduledTask], gone: Collection[str] = ()
    ) -> Comparison:
        """Find schedules without a tick. See Engine.compare()."""
        due = [row for row in rows if row.generation and row.next_at is not None]
        comparison = Comparison()
        for start in range(0, len(due), _CHUNK):
            for row in _select_unarmed(due[start : start + _CHUNK]):
                comparison.steps.append(self._make_step(row))
        return comparison

    def _make_step(self, row: ScheduledTask) -> Step:
        take = partial(self.revive, row)
        return Step(verb=Verb.CREATE, what="tick", name=row.name, take=take)

    def _disarm(self, uid: str, generation: int) -> None:
        tick_id = make_tick_id(uid, generation)
        transaction.on_commit(
            partial(control.cancel, tick_id), get_alias(), robust=True
        )


def _arm(row: ScheduledTask) -> None:
    enqueue_payload(
        make_armed_tick(row),
        schedule_time=min(row.next_at, clock.now() + _FARTHEST),
        store=DATABASE_STORE,
        using=get_alias(),
    )


def _select_unarmed(rows: Sequence[ScheduledTask]) -> list[ScheduledTask]:
    """Select the schedules without a tick that is to come."""
    ids = {make_tick_id(row.uid, row.generation): row for row in rows}
    ticks = TaskRecord.objects.filter(pk__in=ids).exclude(status__in=FINISHED)
    alive = set(ticks.values_list("pk", flat=True))
    return [row for tick_id, row in ids.items() if tick_id not in alive]


#: The tick of a slot that is farther ahead comes early, and is armed again.
_FARTHEST: timedelta = MAX_SCHEDULE / 30 * 29
