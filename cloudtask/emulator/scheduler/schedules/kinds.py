"""The kinds of schedules, and the slots of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from cloudtask.emulator.scheduler.schedules.walls import find_instants, read_wall
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import time, tzinfo

    from cloudtask.cron import Cron, Doubled
    from cloudtask.emulator.scheduler.schedules.days import DayRule

_MINUTE = 60 * SECOND
_DAY = timedelta(days=1)


class Schedule(Protocol):
    """Slots, in microseconds since the epoch."""

    @property
    def has_phase(self) -> bool:
        """Whether its slots are counted from a run of the job."""
        ...

    def next(self, after: int, phase: int | None) -> int | None:
        """
        Compute the first slot after an instant.

        Args:
            after: Not a slot of the answer itself.
            phase: What slots are counted from, None before the first run.

        Returns:
            The slot, None if there is none any more.
        """
        ...


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """Five fields on the clock of a zone."""

    cron: Cron
    zone: tzinfo
    doubled: Doubled

    has_phase = False

    def next(self, after: int, phase: int | None) -> int | None:
        """Compute the first slot after an instant. See Schedule.next()."""
        moment = instants.to_datetime(after)
        try:
            slot = self.cron.next(moment, self.zone, doubled=self.doubled)
        except OverflowError:
            return None
        return instants.from_datetime(slot)


@dataclass(frozen=True, slots=True)
class Interval:
    """A period that is counted from a run of the job."""

    period: int

    has_phase = True

    def next(self, after: int, phase: int | None) -> int | None:
        """Compute the first slot after an instant. See Schedule.next()."""
        if phase is None:
            # As recorded: created at 05:20:14, five minutes led to 05:25:00.
            return (after + self.period) // _MINUTE * _MINUTE
        return phase + ((after - phase) // self.period + 1) * self.period


@dataclass(frozen=True, slots=True)
class Window:
    """A period that is counted from a time of each day, until another."""

    period: int
    start: time
    end: time  # It is a slot itself; before `start`, it is of the next day.
    zone: tzinfo

    has_phase = False

    def next(self, after: int, phase: int | None) -> int | None:
        """Compute the first slot after an instant. See Schedule.next()."""
        today = read_wall(after, self.zone).date()
        slots = [
            self._find_in(datetime.combine(day, self.start), after)
            for day in (today - _DAY, today, today + _DAY)
        ]
        return next(slot for slot in slots if slot is not None)

    def _find_in(self, start: datetime, after: int) -> int | None:
        """Find the first slot of the window that begins there."""
        end = datetime.combine(start.date(), self.end)
        if end < start:
            end += _DAY
        first, last = _find(start, self.zone), _find(end, self.zone)
        slot = first + max(0, (after - first) // self.period + 1) * self.period
        return slot if slot <= last else None


@dataclass(frozen=True, slots=True)
class Calendar:
    """A time on each day that a rule has."""

    rule: DayRule
    at: time
    zone: tzinfo
    doubled: Doubled

    has_phase = False

    def next(self, after: int, phase: int | None) -> int | None:
        """Compute the first slot after an instant. See Schedule.next()."""
        try:
            return next(slot for slot in self._walk(after) if slot > after)
        except OverflowError:
            return None

    def _walk(self, after: int) -> Iterator[int]:
        day = read_wall(after, self.zone).date()
        while True:
            if self.rule.has(day):
                wall = datetime.combine(day, self.at)
                yield from find_instants(wall, self.zone, self.doubled)
            day += _DAY


def _find(wall: datetime, zone: tzinfo) -> int:
    # What the clock skips comes later by as much; of two, the first counts.
    return instants.from_datetime(wall.replace(tzinfo=zone))
