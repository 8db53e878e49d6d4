"""What the admin shows of one schedule."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cloudtask.conf import clock
from cloudtask.exceptions import InvalidSchedule
from cloudtask.results.declarations import find_sensitive
from cloudtask.results.models import TaskRecord
from cloudtask.schedules.arguments import read_arguments, write_arguments
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.runs import make_payload
from cloudtask.wire.payload import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Runs to come that are shown, and slots that were.
MAX_NEXT, MAX_SLOTS = 5, 20


@dataclass(frozen=True, slots=True)
class NextRun:
    """A slot to come, on two clocks, to the minute."""

    local: str  # With the offset: of a doubled hour, it tells which one.
    utc: str


@dataclass(frozen=True, slots=True)
class ShownSlot:
    """A slot, and what became of its run."""

    slot: Slot
    status: str  # Of its run, in words; empty if there is none, or not any more.
    has_record: bool  # Whether the results know its run.

    @property
    def lateness(self) -> str:
        """How late it was decided; empty where that says nothing."""
        if self.slot.state in (Slot.State.MISSED, Slot.State.MANUAL):
            return ""
        late = max(self.slot.decided_at - self.slot.instant, timedelta(0))
        if late < timedelta(minutes=1):
            return f"{late.total_seconds():.1f} s"
        return str(timedelta(seconds=round(late.total_seconds())))

    @property
    def is_missed(self) -> bool:
        """Whether nobody came in time."""
        return bool(self.slot.state == Slot.State.MISSED)


def find_state(row: ScheduledTask) -> str:
    """Say in a word whether a schedule runs."""
    if row.is_paused:
        return "paused"
    return "active" if row.next_at else "ended"


def list_next_runs(row: ScheduledTask) -> list[NextRun]:
    """List the next slots of a schedule, as if it were not paused."""
    try:
        zone = row.plan.zone
        return [
            # Django's own format has no offsets in a doubled hour.
            NextRun(
                local=f"{slot.astimezone(zone):%a %Y-%m-%d %H:%M %z}",
                utc=f"{slot:%a %Y-%m-%d %H:%M}",
            )
            for slot in _iterate_next(row)
        ]
    except (InvalidSchedule, OverflowError):
        return []  # Its columns were changed by other means.


def _iterate_next(row: ScheduledTask) -> Iterator[datetime]:
    slot: datetime | None = clock.now()
    for _ in range(MAX_NEXT):
        slot = slot and row.plan.find_next(slot)
        if slot is None:
            return
        yield slot


def list_slots(row: ScheduledTask) -> list[ShownSlot]:
    """List the last slots with their outcomes, by two queries."""
    slots = list(Slot.objects.filter(schedule=row).order_by("-instant")[:MAX_SLOTS])
    ids = [slot.task_id for slot in slots if slot.task_id]
    rows = TaskRecord.objects.filter(pk__in=ids).values_list("pk", "status")
    statuses = dict(rows)
    return [
        ShownSlot(
            slot,
            show_status(statuses.get(slot.task_id)),
            has_record=slot.task_id in statuses,
        )
        for slot in slots
    ]


def show_status(status: str | None) -> str:
    """Show what became of a run."""
    return str(TaskRecord.Status(status).label) if status else ""


def render_arguments(row: ScheduledTask) -> str:
    """Render the arguments of a schedule as text, without sensitive ones."""
    try:
        args, kwargs = read_arguments(row.arguments)
        sensitive = find_sensitive(make_payload(row, new_id()))
    except InvalidSchedule:
        # Nobody knows what of it is to be hidden.
        return "They cannot be read."
    text = write_arguments(*sensitive.mask(args, kwargs))
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
