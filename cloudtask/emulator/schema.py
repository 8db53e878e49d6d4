"""The one file of all services: the tables of each, and what identifies it."""

from __future__ import annotations

from cloudtask.emulator.scheduler.tables import schema as scheduler
from cloudtask.emulator.storage import facts
from cloudtask.emulator.storage.file import Schema
from cloudtask.emulator.tasks.tables import schema as tasks

#: What a store's file has to be.
SCHEMA = Schema(
    application_id=0x43_54_45_4D,
    version=1,
    tables=facts.TABLE + tasks.TABLES + scheduler.TABLES,
    recovery=tasks.RECOVERY + scheduler.RECOVERY,
)
