"""A schedule in five fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from cloudtask.cron.errors import InvalidCron
from cloudtask.cron.fields import FIELDS, Piece, read_field, shorten
from cloudtask.cron.intervals import write_interval
from cloudtask.cron.patterns import Pattern
from cloudtask.cron.slots import Doubled, find_next, find_previous

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELD = re.compile(r"[^ \t\r\n]+")
#: The longest that each month can be.
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Cron(Pattern):
    """
    A schedule in unix cron, as Cloud Scheduler documents it.

    Made by `parse()` or `every()`. A slot is an instant at which it is due.
    Slots follow the wall clock of a zone: a time that the clock skips is left
    out. Of a time that it shows twice, the first one counts; both do where
    the field of hours is `*`, so that `*/15 * * * *` stays regular.

    Attributes:
        text: The five fields, with single blanks and names in upper case.
        minutes, hours, days, months, weekdays: The values of each field, in
            ascending order. Sunday is 0.
    """

    @classmethod
    def parse(cls, text: str) -> Cron:
        """
        Read five fields: minute, hour, day of month, month and day of week.

        A field is `*`, or a list of numbers, ranges `a-b`, and steps `*/n` and
        `a-b/n`. Months may be JAN to DEC and weekdays SUN to SAT. The day
        matches if either day field does, unless one of them is `*`.

        Raises:
            InvalidCron: Cloud Scheduler does not document this form, or no
                date ever matches.
        """
        pieces = _split(text)
        minutes, hours, days, months, weekdays = map(read_field, pieces)
        normal = " ".join(piece.value.upper() for piece in pieces)
        cron = cls(normal, minutes, hours, days, months, weekdays)
        if pieces[4].value == "*" and days[0] > max(_LENGTHS[m - 1] for m in months):
            raise pieces[2].refuse("is in none of the months. Write another day.")
        return cron

    @classmethod
    def every(cls, interval: timedelta) -> Cron:
        """
        Make the cron of an interval, which is counted from midnight.

        Args:
            interval: Minutes that divide an hour, or hours that divide a day.

        Raises:
            InvalidCron: It is another interval. The message names the nearest.
        """
        return cls.parse(write_interval(interval))

    def next(
        self, after: datetime, zone: tzinfo, *, doubled: Doubled = Doubled.FIRST
    ) -> datetime:
        """
        Compute the first slot after an instant.

        Args:
            after: An aware datetime. It is not a slot of the answer itself.
            zone: Whose wall clock counts.
            doubled: Which passes of a doubled time count, where the field of
                hours is not `*`.

        Returns:
            The slot in UTC.

        Raises:
            ValueError: The datetime is naive.
            OverflowError: The slot is beyond the year 9999.
        """
        return find_next(self, _to_utc("after", after), zone, doubled)

    def previous(
        self, at: datetime, zone: tzinfo, *, doubled: Doubled = Doubled.FIRST
    ) -> datetime:
        """
        Compute the last slot at or before an instant.

        Args and errors are those of `next()`; a slot before the year 1 is an
        OverflowError.
        """
        return find_previous(self, _to_utc("at", at), zone, doubled)

    def between(
        self,
        after: datetime,
        until: datetime,
        zone: tzinfo,
        *,
        doubled: Doubled = Doubled.FIRST,
    ) -> Iterator[datetime]:
        """
        Compute all slots after one instant, and until another with it.

        They come in ascending order, and each when it is asked for. Args and
        errors are those of `next()`.
        """
        start, end = _to_utc("after", after), _to_utc("until", until)
        return self._iterate(start, end, zone, doubled)

    def _iterate(
        self, slot: datetime, until: datetime, zone: tzinfo, doubled: Doubled
    ) -> Iterator[datetime]:
        while (slot := find_next(self, slot, zone, doubled)) <= until:
            yield slot

    def __str__(self) -> str:
        return self.text


def _split(text: object) -> list[Piece]:
    if not isinstance(text, str):
        raise InvalidCron(
            f"A cron must be a text of five fields, not {text!r}.",
            text=repr(text),
            position=0,
        )
    found = list(_FIELD.finditer(text))
    if len(found) != len(FIELDS):
        raise _make_error(text, found)
    return [
        Piece(field, match[0], match.start(), text)
        for field, match in zip(FIELDS, found, strict=True)
    ]


def _make_error(text: str, found: list[re.Match[str]]) -> InvalidCron:
    problem, position = f"ends after {len(found)} of its five fields", len(text)
    if found and found[0][0].startswith("@"):
        problem, position = "is an alias", found[0].start()
    elif len(found) > len(FIELDS):
        problem, position = "has a sixth field", found[len(FIELDS)].start()
    names = ", ".join(field.name for field in FIELDS)
    return InvalidCron(
        f"The cron {shorten(text)} {problem} at position {position}. Write {names}.",
        text=text,
        position=position,
    )


def _to_utc(name: str, moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"{name}={moment!r} must be an aware datetime.")
    return moment.astimezone(UTC)
