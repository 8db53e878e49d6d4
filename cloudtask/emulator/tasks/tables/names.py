"""Names of tasks that are over: they stay blocked for some time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtask.emulator.storage.file import StoreFile


class BlockedNames:
    """The names, by the numbers of their queues."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def block(self, queue: int, task_id: str, expires: int) -> None:
        """
        Block the name of a task.

        Args:
            queue: Number of its queue.
            task_id: The last part of the name.
            expires: Until when, in microseconds since the epoch.
        """
        self._file.write(
            "INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?)",
            *(queue, task_id, expires),
        )

    def end_of_block(self, queue: int, task_id: str) -> int | None:
        """Return until when the name of an ended or purged task is blocked."""
        return self._file.read_number(
            "SELECT max(expires) FROM ("
            "SELECT expires FROM tombstones WHERE queue = ? AND task_id = ? "
            "UNION ALL SELECT expires FROM cleared_lanes WHERE queue = ? AND EXISTS "
            "(SELECT 1 FROM tasks WHERE lane = cleared_lanes.lane AND task_id = ?))",
            *(queue, task_id, queue, task_id),
        )

    def drop_expired(self, now: int, limit: int) -> int:
        """Drop names that are free again and return how many there were."""
        self._file.write("DELETE FROM queue_tombstones WHERE expires <= ?", now)
        return self._file.write(
            "DELETE FROM tombstones WHERE (queue, task_id) IN (SELECT queue, task_id "
            "FROM tombstones WHERE expires <= ? LIMIT ?)",
            *(now, limit),
        ).rowcount
