"""
From times on a wall clock to instants.

A zone's clock skips some times and shows others twice, in a first and a second
pass. The second pass of a time is its first one, moved by what the clock was
put back.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cloudtask.cron.patterns import Pattern

_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
#: The smallest step of a datetime.
_INSTANT = timedelta(microseconds=1)


class Doubled(Enum):
    """
    Which passes of a doubled time count, where the hours are restricted.

    Where the field of hours is `*`, both do.
    """

    # That Cloud Scheduler leaves the second one out is unconfirmed.
    FIRST = "first"
    BOTH = "both"


class _Overlap(NamedTuple):
    """A clock is put back: the second pass starts where the first one ends."""

    change: datetime
    length: timedelta


def find_next(
    pattern: Pattern, after: datetime, zone: tzinfo, doubled: Doubled
) -> datetime:
    """Find the first slot after an instant in UTC."""
    overlap = _find_overlap(after, zone)
    if overlap is None:
        return _find_next(pattern, after, zone)
    change, length = overlap
    if after < change:
        following = _find_next(pattern, after, zone)
        if following < change:
            return following
    else:
        following = _find_next(pattern, change + length - _INSTANT, zone)
    if _has_both(pattern, doubled):
        later = max(after, change - _INSTANT)
        first = _find_next(pattern, later - length, zone)
        if first < change:
            return first + length
    return following


def find_previous(
    pattern: Pattern, at: datetime, zone: tzinfo, doubled: Doubled
) -> datetime:
    """Find the last slot at or before an instant in UTC."""
    overlap = _find_overlap(at, zone)
    if overlap is None:
        last = _find_last(pattern, at, zone)
        again = _has_both(pattern, doubled)
        return last + _measure_overlap(last, zone) if again else last
    change, length = overlap
    if at < change:
        return _find_last(pattern, at, zone)
    if _has_both(pattern, doubled):
        first = _find_last(pattern, at - length, zone)
        if first >= change - length:
            return first + length
    return _find_last(pattern, change - _INSTANT, zone)


def _has_both(pattern: Pattern, doubled: Doubled) -> bool:
    return doubled is Doubled.BOTH or pattern.any_hour


def _find_overlap(instant: datetime, zone: tzinfo) -> _Overlap | None:
    """Find out whether an instant is in either pass of a doubled time."""
    length = _measure_overlap(instant, zone)
    if not length:
        return None
    start = instant.replace(microsecond=0)
    if start.astimezone(zone).fold:
        start -= length

    def is_second_pass(seconds: int) -> int:
        return (start + timedelta(seconds=seconds)).astimezone(zone).fold

    seconds = bisect_left(range(length // _SECOND), 1, key=is_second_pass)
    return _Overlap(start + timedelta(seconds=seconds), length)


def _measure_overlap(instant: datetime, zone: tzinfo) -> timedelta:
    """Measure by how much the clock is put back around here; else 0."""
    local = instant.astimezone(zone)
    second = local.replace(fold=1).astimezone(UTC)
    return second - local.replace(fold=0).astimezone(UTC)


# From here on only first passes count, and no instant that is given lies in a
# second one, but for its last moment.


def _find_next(pattern: Pattern, after: datetime, zone: tzinfo) -> datetime:
    for wall in pattern.walk(_read_wall(after, zone) + _MINUTE, 1):
        slot = _find_instant(wall, zone)
        if slot is not None:
            return slot
    raise OverflowError(
        f"{pattern.text!r} has no slot after {after} until the year 9999."
    )


def _find_last(pattern: Pattern, at: datetime, zone: tzinfo) -> datetime:
    for wall in pattern.walk(_read_wall(at, zone), -1):
        slot = _find_instant(wall, zone)
        if slot is not None:
            return slot
    raise OverflowError(f"{pattern.text!r} has no slot until {at} since the year 1.")


def _read_wall(instant: datetime, zone: tzinfo) -> datetime:
    local = instant.astimezone(zone)
    return local.replace(tzinfo=None, fold=0, second=0, microsecond=0)


def _find_instant(wall: datetime, zone: tzinfo) -> datetime | None:
    """Find the first pass of a time; None if the clock skips it."""
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    shown = instant.astimezone(zone).replace(tzinfo=None)
    return instant if shown == wall else None
