"""All tables of Cloud Tasks in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.emulator.storage.facts import Facts
from cloudtask.emulator.tasks.tables.lanes import Lanes
from cloudtask.emulator.tasks.tables.names import BlockedNames
from cloudtask.emulator.tasks.tables.operations import OperationTable
from cloudtask.emulator.tasks.tables.queues import QueueTable
from cloudtask.emulator.tasks.tables.tasks import TaskTable

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
        self.facts = Facts(self.file)
        self.lanes = Lanes(self.file)
        self.queues = QueueTable(self.file, self.lanes)
        self.tasks = TaskTable(self.file)
        self.names = BlockedNames(self.file)
        self.operations = OperationTable(self.file)
