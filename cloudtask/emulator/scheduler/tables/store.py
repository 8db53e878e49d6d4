"""All tables of Cloud Scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.emulator.scheduler.limits import MAX_LOG_ENTRIES
from cloudtask.emulator.scheduler.tables.executions import ExecutionTable
from cloudtask.emulator.scheduler.tables.jobs import JobTable
from cloudtask.emulator.scheduler.tables.logs import LogTable

if TYPE_CHECKING:
    from cloudtask.emulator.storage.file import StoreFile


class Store:
    """
    What is kept, table by table.

    Args:
        file: Where, with the tables of the schema.
    """

    def __init__(self, file: StoreFile) -> None:
        self.file = file
        self.jobs = JobTable(file)
        self.executions = ExecutionTable(file)
        self.logs = LogTable(file, MAX_LOG_ENTRIES)
