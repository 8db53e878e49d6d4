"""Which alarm of its task a Cloud Task is: the first one, or a later one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cloudtask.wire.headers import REARM_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,17}))?", re.ASCII)
#: The largest numbers that the header holds.
_MAX_COUNT, _MAX_MICROSECONDS = 10**9 - 1, 10**17 - 1
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arming:
    """
    One alarm of a task: what its Cloud Task says beside the payload.

    Attributes:
        number: How often the task was re-armed before.
        attempts: How many attempts were made before.
        due: When the task is due, if that is later than the alarm. Aware.
    """

    number: int = 0
    attempts: int = 0
    due: datetime | None = None


FIRST = Arming()


def read_arming(text: str) -> Arming:
    """Read the header's value. Without one, or a good one, it is the first."""
    match = _HEADER.fullmatch(text)
    if match is None:
        return FIRST
    number, attempts, due = match.groups()
    return Arming(
        number=int(number),
        attempts=int(attempts),
        due=None if due is None else _EPOCH + int(due) * _MICROSECOND,
    )


def make_arming_headers(arming: Arming) -> Mapping[str, str]:
    """Make the header of an alarm. The first one has none."""
    if arming == FIRST:
        return _NO_HEADERS
    value = f"{arming.number}.{min(arming.attempts, _MAX_COUNT)}"
    if arming.due is not None:
        microseconds = (arming.due - _EPOCH) // _MICROSECOND
        value = f"{value}.{min(microseconds, _MAX_MICROSECONDS)}"
    return {REARM_HEADER: value}
