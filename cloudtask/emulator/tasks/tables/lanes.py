"""Lanes: each holds the tasks of a queue, or what was taken from one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtask.emulator.storage.file import StoreFile


class Lanes:
    """
    The lanes in use, and those that are to be cleared.

    Attributes:
        are_left: Whether clear() may have something to do.
    """

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self.are_left = True  # clear() finds out.

    def next_lane(self) -> int:
        """Return the number of a lane that nobody has."""
        return 1 + (
            self._file.read_number(
                "SELECT max(lane) FROM (SELECT lane FROM queues "
                "UNION ALL SELECT lane FROM cleared_lanes)"
            )
            or 0
        )

    def leave(self, lane: int, queue: int, expires: int) -> None:
        """
        Have the tasks of a lane removed, bit by bit.

        Args:
            lane: Its number.
            queue: That of the queue that had it.
            expires: Until when the names of its tasks stay blocked; 0 if they
                do not.
        """
        self._file.write(
            "INSERT INTO cleared_lanes VALUES (?, ?, ?)", lane, queue, expires
        )
        self.are_left = True

    def clear(self, limit: int) -> None:
        """Remove some tasks of lanes that were left."""
        row = self._file.read(
            "SELECT lane, queue, expires FROM cleared_lanes LIMIT 1"
        ).fetchone()
        self.are_left = row is not None
        if row is None:
            return
        lane, queue, expires = row
        numbers = "SELECT id FROM tasks WHERE lane = ? ORDER BY task_id LIMIT ?"
        if expires:
            self._file.write(
                "INSERT INTO tombstones SELECT ?, task_id, ? FROM tasks "  # noqa: S608
                f"WHERE id IN ({numbers}) "
                # A later task of this name may have ended, too.
                "ON CONFLICT DO UPDATE SET expires = max(expires, excluded.expires)",
                *(queue, expires, lane, limit),
            )
        removed = self._file.write(
            f"DELETE FROM tasks WHERE id IN ({numbers})",  # noqa: S608
            *(lane, limit),
        ).rowcount
        if removed < limit:
            self._file.write("DELETE FROM cleared_lanes WHERE lane = ?", lane)
