"""The times on a wall clock that the five fields match."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Towards later or earlier times.
Step = Literal[1, -1]


@dataclass(frozen=True, slots=True)
class Pattern:
    """The values of five fields, each in ascending order."""

    text: str  # As it was written, with single blanks and upper case.
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]  # 0 is Sunday.

    @property
    def any_hour(self) -> bool:
        """Whether the field of hours is `*`."""
        return self.text.split()[1] == "*"

    def walk(self, start: datetime, step: Step) -> Iterator[datetime]:
        """
        Walk through the matching times of the wall clock, without a zone.

        Args:
            start: A whole minute. It is the first one, if it matches.
            step: 1 for later ones until the year 9999, -1 for earlier ones.
        """
        for day in self._walk_days(start, step):
            first = day == (start.year, start.month, start.day)
            for hour in _turn(self.hours, step, start.hour if first else None):
                begun = first and hour == start.hour
                for minute in _turn(
                    self.minutes, step, start.minute if begun else None
                ):
                    yield datetime(*day, hour, minute)  # noqa: DTZ001

    def _walk_days(self, start: datetime, step: Step) -> Iterator[tuple[int, int, int]]:
        end = MAXYEAR + 1 if step > 0 else MINYEAR - 1
        for year in range(start.year, end, step):
            first = year == start.year
            for month in _turn(self.months, step, start.month if first else None):
                begun = first and month == start.month
                days = self._find_days(year, month)
                for day in _turn(days, step, start.day if begun else None):
                    yield year, month, day

    def _find_days(self, year: int, month: int) -> Sequence[int]:
        weekday, length = monthrange(year, month)  # Monday is 0.
        _, _, day_text, _, weekday_text = self.text.split()
        days = self.days[: bisect_right(self.days, length)]
        if weekday_text == "*":
            return days
        of_week = [
            d for d in range(1, length + 1) if (weekday + d) % 7 in self.weekdays
        ]
        if day_text == "*":
            return of_week
        # Either one matches. Only a plain `*` leaves a field open: that `*/2`
        # does not is unconfirmed for Cloud Scheduler.
        return sorted({*days, *of_week})


def _turn(values: Sequence[int], step: Step, first: int | None) -> Sequence[int]:
    """Put values in the order of the walk, beginning with `first`."""
    if first is None:
        return values[::step]
    if step > 0:
        return values[bisect_left(values, first) :]
    return values[: bisect_right(values, first)][::-1]
