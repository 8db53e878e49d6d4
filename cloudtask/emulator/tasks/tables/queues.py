"""Queues: their configuration, their policies, and names of deleted ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtask.emulator.storage.file import StoreFile
    from cloudtask.emulator.tasks.tables.lanes import Lanes

_parse_queue = tasks_v2.Queue.pb().FromString


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue as it is kept."""

    id: int
    path: str
    lane: int
    message: Any  # The google.cloud.tasks.v2.Queue.


class QueueTable:
    """The queues."""

    def __init__(self, file: StoreFile, lanes: Lanes) -> None:
        self._file = file
        self._lanes = lanes

    def __iter__(self) -> Iterator[QueueRow]:
        for row in self._file.read("SELECT id, path, lane, message FROM queues"):
            number, path, lane, message = row
            yield QueueRow(number, path, lane, _parse_queue(message))

    def add(self, path: str, message: Any) -> QueueRow:
        """Keep a new queue, and lift the block of its name."""
        lane = self._lanes.next_lane()
        cursor = self._file.write(
            "INSERT INTO queues (path, lane, message) VALUES (?, ?, ?)",
            *(path, lane, message.SerializeToString()),
        )
        self._file.write("DELETE FROM queue_tombstones WHERE path = ?", path)
        return QueueRow(cursor.lastrowid or 0, path, lane, message)

    def update(self, queue: int, message: Any) -> None:
        """Replace the message of a queue, which is given by its number."""
        self._file.write(
            "UPDATE queues SET message = ? WHERE id = ?",
            *(message.SerializeToString(), queue),
        )

    def remove(self, queue: QueueRow, expires: int) -> None:
        """Remove a queue with its tasks; its path is blocked until then."""
        self._file.write("DELETE FROM queues WHERE id = ?", queue.id)
        self._lanes.leave(queue.lane, queue.id, expires=0)
        self._file.write(
            "INSERT OR REPLACE INTO queue_tombstones VALUES (?, ?)",
            *(queue.path, expires),
        )

    def change_lane(self, queue: QueueRow, expires: int) -> QueueRow:
        """
        Take all tasks away from a queue; their names are blocked until then.

        Returns:
            The queue with its new, empty lane.
        """
        lane = self._lanes.next_lane()
        self._file.write("UPDATE queues SET lane = ? WHERE id = ?", lane, queue.id)
        self._lanes.leave(queue.lane, queue.id, expires)
        return QueueRow(queue.id, queue.path, lane, queue.message)

    def end_of_block(self, path: str) -> int | None:
        """Until when a name is blocked, in microseconds; None if it is not."""
        return self._file.read_number(
            "SELECT expires FROM queue_tombstones WHERE path = ?", path
        )

    def policy(self, path: str) -> bytes:
        """The serialized policy of a queue; empty if it has none."""
        query = "SELECT policy FROM queues WHERE path = ?"
        policy: bytes = self._file.read(query, path).fetchone()[0]
        return policy

    def keep_policy(self, path: str, policy: bytes) -> None:
        """Replace the serialized policy of a queue."""
        self._file.write("UPDATE queues SET policy = ? WHERE path = ?", policy, path)
