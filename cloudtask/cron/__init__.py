"""
Crons: the schedules that Cloud Scheduler documents, and their slots.

`Cron.parse()` reads five fields, `Cron.every()` makes them from an interval,
and a Cron computes its slots in a zone that `find_zone()` finds. These are
values: nothing here reads a clock, a setting or a database, and nothing else
of this package is imported, since schedules and the emulator both use it. What
happens in a slot is not here, nor are the English-like schedules, which only
the emulator takes.
"""

from __future__ import annotations

from cloudtask.cron.crons import Cron
from cloudtask.cron.errors import InvalidCron, InvalidZone
from cloudtask.cron.slots import Doubled
from cloudtask.cron.zones import find_zone

__all__ = ["Cron", "Doubled", "InvalidCron", "InvalidZone", "find_zone"]
