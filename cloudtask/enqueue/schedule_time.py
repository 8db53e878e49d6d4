"""When Cloud Tasks may be asked to dispatch a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cloudtask.wire.limits import MAX_SCHEDULE

#: Every past time means "now". Earlier ones not every database stores.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def find_schedule_time(now: datetime, ahead: timedelta) -> datetime | None:
    """
    The time to schedule a task for.

    Args:
        now: The present, in UTC.
        ahead: Time from then on, negative for a past time.

    Returns:
        None if it is further ahead than Cloud Tasks schedules.
    """
    if ahead > MAX_SCHEDULE:
        return None
    return now + max(ahead, _EARLIEST - now)
