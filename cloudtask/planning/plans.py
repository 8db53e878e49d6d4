"""Plans: the slots of a schedule, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings

from cloudtask.cron import Cron, InvalidCron, InvalidZone, find_zone
from cloudtask.exceptions import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

#: The most late slots that are run.
MAX_CATCH_UP = 100
#: What `catch_up=` may be, beside a number.
_CATCH_UP = {"none": 0, "latest": 1, "all": MAX_CATCH_UP}
#: The longest time over which runs are spread.
MAX_SPREAD = timedelta(hours=24)
_TICK = timedelta(microseconds=1)


class Overlap(StrEnum):
    """What becomes of a slot while the run before it is not over."""

    RUN = "run"  # Both run.
    SKIP = "skip"  # It is left out.
    WAIT = "wait"  # It runs afterwards; of several that wait, the latest.


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    When a task is to run, and what becomes of late slots.

    Made by `make_plan()`, which checks everything.
    """

    cron: Cron
    zone: ZoneInfo
    catch_up: int = 1  # Late slots that are run all the same: the latest ones.
    overlap: Overlap = Overlap.RUN
    spread: timedelta = timedelta(0)  # Over which runs are spread, by a hash.
    starts: datetime | None = None  # No slot is before. Aware.
    ends: datetime | None = None  # No slot is after. Aware.

    def find_next(self, after: datetime) -> datetime | None:
        """Find the first slot after a moment, in UTC; None if none is left."""
        if self.starts is not None:
            after = max(after, self.starts - _TICK)
        slot = self.cron.next(after, self.zone)
        return slot if self.ends is None or slot <= self.ends else None

    def iterate_slots(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Iterate over the slots after one moment, until another with it."""
        slot = self.find_next(after)
        while slot is not None and slot <= until:
            yield slot
            slot = self.find_next(slot)


def make_plan(
    *,
    cron: object = None,
    every: object = None,
    timezone: object = None,
    catch_up: object = "latest",
    overlap: object = "run",
    spread: object = None,
    starts: object = None,
    ends: object = None,
) -> Plan:
    """
    Make a plan of what a caller gave.

    Args:
        cron: Five fields of unix cron, as in "0 3 * * *".
        every: A timedelta in place of `cron`, which divides an hour or a day.
        timezone: Name of a time zone, as in "Europe/Zurich". By default
            Django's TIME_ZONE.
        catch_up: "latest", "none" or "all", or how many late slots are run.
        overlap: "run", "skip" or "wait".
        spread: A timedelta over which runs are spread.
        starts: Aware datetime; no slot is before.
        ends: Aware datetime; no slot is after.

    Raises:
        InvalidSchedule: One of them is wrong.
    """
    starts, ends = _check_moment("starts", starts), _check_moment("ends", ends)
    if starts is not None and ends is not None and ends <= starts:
        raise InvalidSchedule(f"ends={ends!r} must be after starts={starts!r}.")
    return Plan(
        cron=_read_cron(cron, every),
        zone=_read_zone(timezone),
        catch_up=_read_catch_up(catch_up),
        overlap=_read_overlap(overlap),
        spread=_read_spread(spread),
        starts=starts,
        ends=ends,
    )


def _read_cron(cron: object, every: object) -> Cron:
    if (cron is None) == (every is None):
        raise InvalidSchedule("A schedule takes cron= or every=, one of them.")
    if every is not None and not isinstance(every, timedelta):
        raise InvalidSchedule(f"every={every!r} must be a timedelta.")
    if cron is not None and not isinstance(cron, str):
        raise InvalidSchedule(f"cron={cron!r} must be a text, as in '0 3 * * *'.")
    try:
        if every is not None:
            return Cron.every(every)
        return Cron.parse(str(cron))
    except InvalidCron as error:
        raise InvalidSchedule(str(error)) from None


def _read_zone(name: object) -> ZoneInfo:
    if name is None:
        name = django_settings.TIME_ZONE
    if not isinstance(name, str):
        raise InvalidSchedule(
            f"timezone={name!r} must be a name, as in 'Europe/Zurich'."
        )
    try:
        return find_zone(name)
    except InvalidZone as error:
        raise InvalidSchedule(str(error)) from None


def _read_catch_up(given: Any) -> int:
    if isinstance(given, str):
        given = _CATCH_UP.get(given)
    is_number = isinstance(given, int) and not isinstance(given, bool)
    if not is_number or not 0 <= given <= MAX_CATCH_UP:
        raise InvalidSchedule(
            "catch_up= must be 'latest', 'none' or 'all', or a number of slots up "
            f"to {MAX_CATCH_UP}."
        )
    return int(given)


def _read_overlap(given: object) -> Overlap:
    try:
        return Overlap(given)  # type: ignore[arg-type]
    except ValueError:
        raise InvalidSchedule(
            f"overlap={given!r} must be 'run', 'skip' or 'wait'."
        ) from None


def _read_spread(given: object) -> timedelta:
    if given is None:
        return timedelta(0)
    if not isinstance(given, timedelta) or not timedelta(0) <= given <= MAX_SPREAD:
        raise InvalidSchedule(
            f"spread={given!r} must be a timedelta from 0 to 24 hours."
        )
    return given


def _check_moment(name: str, given: object) -> datetime | None:
    if given is None:
        return None
    if not isinstance(given, datetime) or given.utcoffset() is None:
        raise InvalidSchedule(
            f"{name}={given!r} must be an aware datetime, as "
            "django.utils.timezone.now() gives."
        )
    return given
