"""From a job's texts to its schedule."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cloudtask.cron import Cron, Doubled, InvalidCron, find_zone
from cloudtask.emulator.scheduler.schedules.english import read_english
from cloudtask.emulator.scheduler.schedules.kinds import CronSchedule

if TYPE_CHECKING:
    from datetime import tzinfo

    from cloudtask.emulator.scheduler.schedules.kinds import Schedule

_REMEMBERED = 1000


class InvalidSchedule(ValueError):
    """A schedule or a time zone cannot be read."""


@lru_cache(_REMEMBERED)
def read_schedule(text: str, zone: str, doubled: Doubled) -> Schedule:
    """
    Read a schedule.

    Args:
        text: Unix cron, or English-like.
        zone: A name of the tz database; an empty one is UTC.
        doubled: Which passes of a doubled time count.

    Raises:
        InvalidSchedule: One of the two cannot be read, or no date matches.
    """
    try:
        return _read(text, find_zone(zone), doubled)
    except ValueError as error:
        raise InvalidSchedule(text, zone) from error


def _read(text: str, zone: tzinfo, doubled: Doubled) -> Schedule:
    try:
        return CronSchedule(Cron.parse(text), zone, doubled)
    except InvalidCron:
        return read_english(text, zone, doubled)
