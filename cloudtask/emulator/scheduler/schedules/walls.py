"""From times on a wall clock to instants."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from cloudtask.cron import Doubled
from cloudtask.emulator.values import instants


def find_instants(wall: datetime, zone: tzinfo, doubled: Doubled) -> list[int]:
    """
    Find when a clock shows a time: never, once or twice.

    Args:
        wall: What it shows, without a zone.
        zone: Whose clock it is.
        doubled: Whether the second pass of a doubled time counts, too.
    """
    passes = (0, 1) if doubled is Doubled.BOTH else (0,)
    moments = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in passes]
    return sorted(
        {
            instants.from_datetime(moment)
            for moment in moments
            # What the clock skips is shown as another time.
            if moment.astimezone(zone).replace(tzinfo=None, fold=0) == wall
        }
    )


def read_wall(instant: int, zone: tzinfo) -> datetime:
    """Return what a clock shows at an instant, without the zone."""
    moment = instants.to_datetime(instant).astimezone(zone)
    return moment.replace(tzinfo=None, fold=0)
