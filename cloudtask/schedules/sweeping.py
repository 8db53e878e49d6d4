"""What the sweeper does: decide about late slots, and delete old ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q

from cloudtask.conf import clock, get_settings
from cloudtask.planning.plans import Overlap
from cloudtask.results.database.connections import ask
from cloudtask.schedules.engines import get_engine
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.settings import get_schedules_settings
from cloudtask.schedules.slots import decide_due
from cloudtask.schedules.ticks import SKEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The most slots that one pass deletes.
PRUNED = 500


def find_late(limit: int) -> Iterator[Callable[[], int]]:
    """
    Find schedules whose tick is late, or that have a slot that waits.

    Args:
        limit: The most of them.

    Yields:
        What sees to each, and what deletes old slots.
    """
    waiting = Slot.objects.filter(schedule=OuterRef("pk"), state=Slot.State.WAITING)
    late = ScheduledTask.objects.filter(
        Q(next_at__lte=clock.now() - SKEW) | Q(overlap=Overlap.WAIT) & Exists(waiting),
        paused_at=None,
    )
    # At random: those that cannot be run here must not hold up the others.
    for row in ask(lambda: list(late.order_by("?")[:limit])):
        yield partial(_see_to, row)
    yield _prune


def _see_to(row: ScheduledTask) -> int:
    before = row.next_at
    decided = decide_due(row.uid, clock.now())
    if decided is None or decided.next_at == before:
        return 0
    get_engine().revive(decided)
    return 1


def _prune() -> int:
    """Delete some old slots, which nobody will ask for again."""
    age = get_schedules_settings(get_settings()).prune_slots_after
    old = Slot.objects.filter(decided_at__lt=clock.now() - age)
    over = old.exclude(state=Slot.State.WAITING).order_by("decided_at")
    ids = ask(lambda: list(over.values_list("pk", flat=True)[:PRUNED]))
    if ids:
        ask(Slot.objects.filter(pk__in=ids).delete)
    return 0
