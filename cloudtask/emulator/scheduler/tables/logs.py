"""The execution logs of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtask.emulator.storage.file import StoreFile


class LogTable:
    """The newest entries of each job's log."""

    def __init__(self, file: StoreFile, most: int) -> None:
        self._file = file
        self._most = most

    def add(self, job: int, entry: dict[str, Any]) -> None:
        """Keep an entry of a job; its oldest ones are dropped."""
        self._file.write(
            "INSERT INTO execution_logs (job, entry) VALUES (?, ?)",
            *(job, json.dumps(entry)),
        )
        self._file.write(
            "DELETE FROM execution_logs WHERE job = ? AND id <= (SELECT id FROM "
            "execution_logs WHERE job = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            *(job, job, self._most),
        )

    def list_all(self, job: int) -> list[dict[str, Any]]:
        """List the entries of a job, oldest first."""
        rows = self._file.read(
            "SELECT entry FROM execution_logs WHERE job = ? ORDER BY id", job
        )
        return [json.loads(entry) for (entry,) in rows.fetchall()]

    def remove_all(self, job: int) -> None:
        """Remove the log of a job."""
        self._file.write("DELETE FROM execution_logs WHERE job = ?", job)
