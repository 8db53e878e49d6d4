"""
The English-like grammar, as App Engine had it.

    every N (minutes | mins | hours) [synchronized | from HH:MM to HH:MM]
    [every | ORDINALS] WEEKDAYS [of MONTHS] HH:MM
    DAYS of MONTHS HH:MM

What is in capitals is one word, or several with commas.
"""

from __future__ import annotations

import re
from datetime import time
from typing import TYPE_CHECKING

from cloudtask.emulator.scheduler.schedules.days import ANY_WEEK, EVERY_MONTH, DayRule
from cloudtask.emulator.scheduler.schedules.kinds import Calendar, Interval, Window
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from cloudtask.cron import Doubled
    from cloudtask.emulator.scheduler.schedules.kinds import Schedule

_MINUTE = 60 * SECOND
_DAY = 24 * 60 * _MINUTE
_UNITS = {"minutes": _MINUTE, "mins": _MINUTE, "hours": 60 * _MINUTE}

_TIME = r"([0-9]{1,2}:[0-9]{2})"
_INTERVAL = re.compile(
    r"every ([0-9]{1,5}) (minutes|mins|hours)"
    rf"(?: (synchronized)| from {_TIME} to {_TIME})?"
)
_WEEKLY = re.compile(rf"(?:(every|[0-9a-z,]+) )?([a-z,]+)(?: of ([a-z,]+))? {_TIME}")
_MONTHLY = re.compile(rf"([0-9,]+) of ([a-z,]+) {_TIME}")

_WEEKDAYS = {
    **{
        name[:length]: frozenset([number])
        for number, name in enumerate(
            (
                *("monday", "tuesday", "wednesday", "thursday"),
                *("friday", "saturday", "sunday"),
            )
        )
        for length in (3, len(name))
    },
    "day": frozenset(range(7)),
}
_MONTHS = {
    **{
        name[:length]: frozenset([number])
        for number, name in enumerate(
            (
                *("january", "february", "march", "april", "may", "june"),
                *("july", "august", "september", "october", "november", "december"),
            ),
            1,
        )
        for length in (3, len(name))
    },
    "month": EVERY_MONTH,
    "quarter": frozenset([1, 4, 7, 10]),  # The first month of each.
}
_ORDINALS = {
    name: frozenset([number])
    for number, names in enumerate(
        (
            ("1st", "first"),
            ("2nd", "second"),
            ("3rd", "third"),
            ("4th", "fourth"),
            ("5th", "fifth"),
        ),
        1,
    )
    for name in names
}
_DAYS = {str(number): frozenset([number]) for number in range(1, 32)}
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def read_english(text: str, zone: tzinfo, doubled: Doubled) -> Schedule:
    """
    Read an English-like schedule.

    Args:
        text: Words may be in any case.
        zone: Whose clock counts.
        doubled: Which passes of a doubled time count.

    Raises:
        ValueError: It is not one, or no date ever matches.
    """
    words = re.sub(r"\s*,\s*", ",", " ".join(text.lower().split()))
    if match := _INTERVAL.fullmatch(words):
        return _read_interval(match, zone)
    if match := _MONTHLY.fullmatch(words):
        days, months = _read(match[1], _DAYS), _read(match[2], _MONTHS)
        if min(days) > max(_LENGTHS[month - 1] for month in months):
            raise ValueError(text)
        return Calendar(DayRule(months, days=days), _read_time(match[3]), zone, doubled)
    if match := _WEEKLY.fullmatch(words):
        rule = DayRule(
            _read(match[3], _MONTHS) if match[3] else EVERY_MONTH,
            weekdays=_read(match[2], _WEEKDAYS),
            ordinals=_read_ordinals(match[1]),
        )
        return Calendar(rule, _read_time(match[4]), zone, doubled)
    raise ValueError(text)


def _read_interval(match: re.Match[str], zone: tzinfo) -> Interval | Window:
    number, unit, synchronized, start, end = match.groups()
    period = int(number) * _UNITS[unit]
    if not period:
        raise ValueError(match[0])
    if synchronized:
        if _DAY % period:
            raise ValueError(match[0])
        return Window(period, time(0), time(23, 59), zone)
    if start:
        return Window(period, _read_time(start), _read_time(end), zone)
    return Interval(period)


def _read_ordinals(text: str | None) -> frozenset[int]:
    return ANY_WEEK if text in (None, "every") else _read(str(text), _ORDINALS)


def _read(text: str, meanings: Mapping[str, frozenset[int]]) -> frozenset[int]:
    """Read words with commas."""
    try:
        return frozenset().union(*(meanings[word] for word in text.split(",")))
    except KeyError:
        raise ValueError(text) from None


def _read_time(text: str) -> time:
    hour, _, minute = text.partition(":")
    return time(int(hour), int(minute))
