"""Values of options, as they are typed."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
#: The longest age: further back there is no calendar.
_MAX_AGE = timedelta(days=36_500)
#: The most tasks of one pass.
_MAX_LIMIT = 10_000
_MAX_RATE = 500


def read_age(text: str) -> timedelta:
    """Read `30d`, `12h`, `90m` or `45s`."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not an age. Write 30d, 12h, 90m or 45s.")
    age = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if age > _MAX_AGE:
        raise ArgumentTypeError(
            f"{text!r} is too long ago. Write {_MAX_AGE.days}d at the most."
        )
    return age


def read_limit(text: str) -> int:
    """Read a number of tasks."""
    if re.fullmatch("[0-9]{1,9}", text) is None or not 1 <= int(text) <= _MAX_LIMIT:
        raise ArgumentTypeError(
            f"{text!r} is not a number of tasks from 1 to {_MAX_LIMIT}."
        )
    return int(text)


def read_rate(text: str) -> float:
    """Read a number of tasks in a second."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0 < rate <= _MAX_RATE:
        raise ArgumentTypeError(
            f"{text!r} is not a rate: above 0, up to {_MAX_RATE} a second."
        )
    return rate


def add_dry_run(parser: ArgumentParser) -> None:
    """Add the option `--dry-run`."""
    parser.add_argument(
        "--dry-run", action="store_true", help="say how many, and change nothing"
    )
