"""The five fields of a cron: what each may hold, and the values it means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cloudtask.cron.errors import InvalidCron

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER = re.compile(r"[0-9]{1,2}")
#: Longer texts are cut in messages.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five: its name, its numbers, and names for them."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # The first one means `low`.
    seventh: bool = False  # 7 is Sunday, too.

    @property
    def allowed(self) -> str:
        """What a value may be, for a message."""
        numbers = f"{self.low} to {self.high + self.seventh}"
        if self.names:
            return f"{numbers}, or {self.names[0]} to {self.names[-1]}"
        return numbers

    def find(self, value: str) -> int | None:
        """Find the number that a text means; None if it means none."""
        if _NUMBER.fullmatch(value):
            number = int(value)
            return number if self.low <= number <= self.high + self.seventh else None
        # Other alphabets have letters that are ASCII in upper case.
        if value.isascii() and value.upper() in self.names:
            return self.low + self.names.index(value.upper())
        return None


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN")
_LATER_MONTHS = ("JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

#: In the order in which they are written.
FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, _MONTHS + _LATER_MONTHS),
    Field("day of week", 0, 6, _WEEKDAYS, seventh=True),
)


class Piece(NamedTuple):
    """A part of a cron, and where it stands."""

    field: Field
    value: str
    position: int
    text: str  # The whole cron.

    def cut(self, value: str, start: int = 0) -> Piece:
        """Cut out a value that begins so many characters later."""
        return self._replace(value=value, position=self.position + start)

    def refuse(self, problem: str) -> InvalidCron:
        """Make the error that names the field, this part and its place."""
        return InvalidCron(
            f"The {self.field.name} {shorten(self.value)} at position "
            f"{self.position} of the cron {shorten(self.text)} {problem}",
            text=self.text,
            position=self.position,
        )


def shorten(text: str) -> str:
    """Quote a text for a message, and only the beginning of a long one."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def read_field(piece: Piece) -> tuple[int, ...]:
    """
    Read all of a field.

    Returns:
        The values it matches, in order. Sunday is 0.

    Raises:
        InvalidCron: It has a form or a value that is not documented.
    """
    if piece.value == "*":
        return tuple(range(piece.field.low, piece.field.high + 1))
    values = {value for part in _split(piece) for value in _read_part(part)}
    # Of all fields, only the day of week has a number above the highest.
    return tuple(sorted({0 if v > piece.field.high else v for v in values}))


def _split(piece: Piece) -> Iterator[Piece]:
    start = 0
    for value in piece.value.split(","):
        yield piece.cut(value, start)
        start += len(value) + 1


def _read_part(part: Piece) -> range:
    body, slash, step = part.value.partition("/")
    low, high = _read_range(part.cut(body))
    if not slash and body == "*":
        raise part.refuse("is in a list. Write '*' alone.")
    if not slash:
        return range(low, high + 1)
    if body != "*" and "-" not in body:
        raise part.refuse(
            "has a step without a range. "
            f"Write '{body}-{part.field.high}/{step}' or '*/{step}'."
        )
    return range(low, high + 1, _read_step(part.cut(step, len(body) + 1), high - low))


def _read_range(body: Piece) -> tuple[int, int]:
    if body.value == "*":
        return body.field.low, body.field.high
    first, dash, last = body.value.partition("-")
    low = _read_value(body.cut(first))
    high = _read_value(body.cut(last, len(first) + 1)) if dash else low
    if low > high:
        raise body.refuse(
            f"is a range that ends before it begins. Write a list, such as "
            f"'{first}-{body.field.high},{body.field.low}-{last}'."
        )
    return low, high


def _read_value(value: Piece) -> int:
    if not value.value:
        raise value.refuse(f"is empty. Write {value.field.allowed}.")
    number = value.field.find(value.value)
    if number is None:
        raise value.refuse(f"is not one of its values. Write {value.field.allowed}.")
    return number


def _read_step(step: Piece, width: int) -> int:
    if _NUMBER.fullmatch(step.value) and 1 <= int(step.value) <= width:
        return int(step.value)
    raise step.refuse(
        f"is not a step within the range. Write 1 to {width}."
        if width
        else "is a step in a range of one value. Leave out the step."
    )
