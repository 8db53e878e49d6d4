"""What the sweeper does: slots whose tick did not come are decided about."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q

from cloudtask.conf import clock
from cloudtask.planning.plans import Overlap
from cloudtask.results.database.connections import ask
from cloudtask.schedules.engines import get_engine
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.slots import decide_due
from cloudtask.schedules.ticks import SKEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def find_late(limit: int) -> Iterator[Callable[[], int]]:
    """
    Find schedules whose tick is late, or that have a slot that waits.

    Args:
        limit: The most of them.

    Yields:
        What sees to each.
    """
    waiting = Slot.objects.filter(schedule=OuterRef("pk"), state=Slot.State.WAITING)
    late = ScheduledTask.objects.filter(
        Q(next_at__lte=clock.now() - SKEW) | Q(overlap=Overlap.WAIT) & Exists(waiting),
        paused_at=None,
    )
    for row in ask(lambda: list(late.order_by("next_at")[:limit])):
        yield partial(_see_to, row)


def _see_to(row: ScheduledTask) -> int:
    before = row.next_at
    decided = decide_due(row.uid, clock.now())
    if decided is None or decided.next_at == before:
        return 0
    get_engine().revive(decided)
    return 1
