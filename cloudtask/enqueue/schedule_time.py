"""When Cloud Tasks may be asked to dispatch a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cloudtask.conf import clock
from cloudtask.exceptions import InvalidTask
from cloudtask.wire.limits import MAX_SCHEDULE

#: Every past time means "now". Earlier ones not every database stores.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def find_schedule_time(now: datetime, ahead: timedelta) -> datetime | None:
    """
    Find the time to schedule a task for.

    Args:
        now: The present, in UTC.
        ahead: Time from then on, negative for a past time.

    Returns:
        None if it is further ahead than Cloud Tasks schedules.
    """
    if ahead > MAX_SCHEDULE:
        return None
    return now + max(ahead, _EARLIEST - now)


def read_schedule_time(
    path: str, at: datetime | None, after: timedelta | None
) -> datetime:
    """
    The time that a caller of schedule() asks for.

    Args:
        path: The task's.
        at: Aware datetime.
        after: Time from now, in place of `at`.

    Raises:
        InvalidTask: The time is naive, too far ahead, or missing.
    """
    now = clock.now()
    if (at is None) == (after is None):
        raise _bad_time(path, "", "takes at= or after=, one of them")
    if at is None:
        given, ahead = f"after={after!r}", _check_duration(path, after)
    else:
        given, ahead = f"at={at!r}", _check_moment(path, at) - now
    schedule_time = find_schedule_time(now, ahead)
    if schedule_time is None:
        problem = "is more than 30 days ahead, further than Cloud Tasks schedules"
        raise _bad_time(path, given, problem)
    return schedule_time


def _check_duration(path: str, after: object) -> timedelta:
    if isinstance(after, timedelta):
        return after
    raise _bad_time(path, f"after={after!r}", "must be a timedelta")


def _check_moment(path: str, at: object) -> datetime:
    if isinstance(at, datetime) and at.utcoffset() is not None:
        return at
    raise _bad_time(
        path,
        f"at={at!r}",
        "must be an aware datetime, as django.utils.timezone.now() gives",
    )


def _bad_time(path: str, given: str, problem: str) -> InvalidTask:
    return InvalidTask(f"{path}: schedule({given}) {problem}.")
