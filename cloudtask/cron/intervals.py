"""Intervals that a cron can keep."""

from __future__ import annotations

from datetime import timedelta

from cloudtask.cron.errors import InvalidCron

_HOUR = 60
_DAY = 24 * _HOUR
#: In minutes: what divides an hour, and the hours that divide a day.
_POSSIBLE = tuple(
    minutes
    for minutes in range(1, _DAY + 1)
    if _HOUR % minutes == 0 or (minutes % _HOUR == 0 and _DAY % minutes == 0)
)


def write_interval(interval: object) -> str:
    """
    Write an interval as a cron.

    Raises:
        InvalidCron: It does not divide an hour or a day into whole minutes.
    """
    minutes = interval / timedelta(minutes=1) if isinstance(interval, timedelta) else 0
    if minutes not in _POSSIBLE:
        raise _make_error(interval, minutes)
    hours, minutes = divmod(int(minutes), _HOUR)
    if minutes:
        return f"{_write_step(minutes)} * * * *"
    return "0 0 * * *" if hours == _DAY // _HOUR else f"0 {_write_step(hours)} * * *"


def _write_step(number: int) -> str:
    return "*" if number == 1 else f"*/{number}"


def _make_error(interval: object, minutes: float) -> InvalidCron:
    below = [_show(each) for each in _POSSIBLE if each < minutes][-1:]
    above = [_show(each) for each in _POSSIBLE if each > minutes][:1]
    return InvalidCron(
        f"every={interval!r} must be a timedelta of minutes that divide an hour, or "
        f"of hours that divide a day. Write {' or '.join(below + above)}.",
        text=str(interval),
        position=0,
    )


def _show(minutes: int) -> str:
    if minutes < _HOUR:
        return f"timedelta(minutes={minutes})"
    return f"timedelta(hours={minutes // _HOUR})"
