"""
From times on a wall clock to instants.

A zone's clock skips some times and shows others twice, in a first and a second
pass. The second pass of a time is its first one, moved by what the clock was
put back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtask.cron.patterns import Pattern

_MINUTE = timedelta(minutes=1)


class Doubled(Enum):
    """
    Which passes of a doubled time count, where the hours are restricted.

    Where the field of hours is `*`, both do.
    """

    # That Cloud Scheduler leaves the second one out is unconfirmed.
    FIRST = "first"
    BOTH = "both"


def find_next(
    pattern: Pattern, after: datetime, zone: tzinfo, doubled: Doubled
) -> datetime:
    """Find the first slot after an instant in UTC."""
    following = _find_next_of_first_pass(pattern, after, zone)
    back = _measure_overlap(after, zone)
    if back and _has_both(pattern, doubled):
        slot = after - back
        while (slot := _find_next_of_first_pass(pattern, slot, zone)) <= after:
            if _measure_overlap(slot, zone):
                return min(following, slot + back)
    return following


def find_previous(
    pattern: Pattern, at: datetime, zone: tzinfo, doubled: Doubled
) -> datetime:
    """Find the last slot at or before an instant in UTC."""
    last = _find_last_of_first_pass(pattern, at, zone)
    back = _measure_overlap(last, zone)
    if back and _has_both(pattern, doubled):
        slot = _find_last_of_first_pass(pattern, at - back, zone)
        if _measure_overlap(slot, zone):
            return max(last, slot + back)
    return last


def _has_both(pattern: Pattern, doubled: Doubled) -> bool:
    return doubled is Doubled.BOTH or pattern.any_hour


def _measure_overlap(instant: datetime, zone: tzinfo) -> timedelta:
    """Measure by how much the clock is put back around here; else 0."""
    local = instant.astimezone(zone)
    second = local.replace(fold=1).astimezone(UTC)
    return second - local.replace(fold=0).astimezone(UTC)


def _find_next_of_first_pass(
    pattern: Pattern, after: datetime, zone: tzinfo
) -> datetime:
    start = _read_wall(after, zone) + _MINUTE
    for wall in pattern.walk(start, 1):
        slot = _find_instant(wall, zone)
        # In a second pass, the wall shows times whose first one is over.
        if slot is not None and slot > after:
            return slot
    raise OverflowError(
        f"{pattern.text!r} has no slot after {after} until the year 9999."
    )


def _find_last_of_first_pass(pattern: Pattern, at: datetime, zone: tzinfo) -> datetime:
    # In a second pass, times are over that are later on the wall.
    start = _read_wall(at, zone) + _measure_overlap(at, zone)
    for wall in pattern.walk(start, -1):
        slot = _find_instant(wall, zone)
        if slot is not None and slot <= at:
            return slot
    raise OverflowError(f"{pattern.text!r} has no slot until {at} since the year 1.")


def _read_wall(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(
        tzinfo=None, fold=0, second=0, microsecond=0
    )


def _find_instant(wall: datetime, zone: tzinfo) -> datetime | None:
    """Find the first pass of a time; None if the clock skips it."""
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    shown = instant.astimezone(zone).replace(tzinfo=None)
    return instant if shown == wall else None
