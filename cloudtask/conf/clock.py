"""
The clock: what time it is for this package and its optional apps.

Who asks calls `clock.now()`, so that a test which moves the clock moves it for
all. Durations are measured with `time.monotonic()`; leases hold by the clock
of the database; the emulator has a clock of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """This moment, aware, in UTC."""
    return datetime.now(UTC)
