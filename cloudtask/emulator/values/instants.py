"""
Time as the core counts it: integer microseconds since the epoch.

Cloud Tasks keeps microseconds, so nothing is lost, sums are exact, and a heap
compares plain numbers.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

#: One second, in microseconds.
SECOND = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def read(message: Any) -> int:
    """Return a protobuf Timestamp or Duration in microseconds, truncated."""
    microseconds: int = message.seconds * SECOND + message.nanos // 1000
    return microseconds


def write(message: Any, microseconds: int) -> None:
    """Set a protobuf Timestamp or (non-negative) Duration."""
    message.seconds, rest = divmod(microseconds, SECOND)
    message.nanos = rest * 1000


def from_timedelta(duration: timedelta) -> int:
    """Convert a duration to microseconds."""
    return duration // _MICROSECOND


def from_datetime(moment: datetime) -> int:
    """Convert an aware moment to microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def to_datetime(instant: int) -> datetime:
    """Return an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=instant)


def write_utc(instant: int) -> str:
    """Return an instant as RFC 3339 has it, in UTC and with microseconds."""
    moment = to_datetime(instant).isoformat(timespec="microseconds")
    return moment.replace("+00:00", "Z")
