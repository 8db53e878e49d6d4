"""
Slots found slowly, by another way: every minute is looked at.

The fields are sets of numbers, and None where a field is `*`, so that nothing
here reads a cron.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
#: No clock of the tests was put back by more.
LONGEST = timedelta(hours=4)

Values = frozenset[int] | None


class Fields(NamedTuple):
    minutes: Values = None
    hours: Values = None
    days: Values = None
    months: Values = None
    weekdays: Values = None

    def __str__(self) -> str:
        return " ".join(
            "*" if each is None else ",".join(map(str, sorted(each))) for each in self
        )


def only(*values: int) -> frozenset[int]:
    return frozenset(values)


def fits(fields: Fields, wall: datetime) -> bool:
    def has(values: Values, value: int) -> bool:
        return values is None or value in values

    if not (
        has(fields.minutes, wall.minute)
        and has(fields.hours, wall.hour)
        and has(fields.months, wall.month)
    ):
        return False
    day = has(fields.days, wall.day)
    weekday = has(fields.weekdays, wall.isoweekday() % 7)
    if fields.days is not None and fields.weekdays is not None:
        return day or weekday
    return day and weekday


@lru_cache(maxsize=128)
def look_at_the_wall(
    zone: ZoneInfo, start: datetime, end: datetime
) -> list[tuple[datetime, datetime, bool]]:
    """Each minute after `start`, what the wall shows, and if that is new."""
    minutes = []
    seen = set()
    instant = start - LONGEST
    while (instant := instant + MINUTE) <= end:
        wall = instant.astimezone(zone).replace(tzinfo=None, fold=0)
        minutes.append((instant, wall, wall not in seen))
        seen.add(wall)
    return [each for each in minutes if each[0] > start]


def find_slots(
    fields: Fields,
    zone: ZoneInfo,
    start: datetime,
    end: datetime,
    *,
    both: bool = False,
) -> list[datetime]:
    """All slots in (start, end]."""
    return [
        instant
        for instant, wall, first in look_at_the_wall(zone, start, end)
        if (first or both or fields.hours is None) and fits(fields, wall)
    ]


@lru_cache(maxsize=256)
def find_changes(name: str, *years: int) -> list[datetime]:
    """The instants at which a zone's clock is put forward or back."""
    zone = ZoneInfo(name)
    changes = []
    day = datetime(years[0], 1, 1, tzinfo=UTC)
    while day.year <= years[-1]:
        if _offset(day, zone) != _offset(day + DAY, zone):
            changes.append(_narrow(day, zone))
        day += DAY
    return changes


def _narrow(day: datetime, zone: ZoneInfo) -> datetime:
    before, after = 0, 24 * 60
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(day + middle * MINUTE, zone) == _offset(day, zone):
            before = middle
        else:
            after = middle
    return day + after * MINUTE


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()
