"""Executions of jobs: from the first attempt at a slot to the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtask.emulator.storage.file import StoreFile

_COLUMNS = "id, job, slot, forced, attempts, began, due"


@dataclass(slots=True, eq=False)
class Execution:
    """An execution that is not over. Times in microseconds."""

    id: int
    job: int  # The job's number.
    slot: int  # The time it is scheduled for.
    forced: bool  # By RunJob.
    attempts: int = 0
    began: int = 0  # When its first attempt was made.
    due: int | None = None  # Of the next attempt; None: one is under way.


class ExecutionTable:
    """The executions that are not over."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def add(self, job: int, slot: int, due: int, *, forced: bool) -> Execution:
        """
        Keep a new execution.

        Args:
            job: The number of its job.
            slot: The time it is scheduled for.
            due: When its first attempt is due.
            forced: Whether RunJob asked for it.
        """
        cursor = self._file.write(
            "INSERT INTO executions (job, slot, forced, due) VALUES (?, ?, ?, ?)",
            *(job, slot, forced, due),
        )
        return Execution(cursor.lastrowid or 0, job, slot, forced, due=due)

    def find(self, number: int) -> Execution | None:
        """The execution of a number; None if it is over."""
        return next(iter(self._select("id = ?", number)), None)

    def find_waiting(self, job: int) -> list[Execution]:
        """Return a job's executions that wait, the next one first."""
        return self._select("job = ? AND due IS NOT NULL ORDER BY due, id", job)

    def count_under_way(self, job: int) -> int:
        """Count the attempts of a job that are under way."""
        return len(self._select("job = ? AND due IS NULL", job))

    def find_due(self, now: int, limit: int) -> list[Execution]:
        """Return the first executions whose next attempt is due."""
        return self._select("due <= ? ORDER BY due, id LIMIT ?", now, limit)

    def next_due(self) -> int | None:
        """Return when the next attempt of any is due."""
        return self._file.read_number(
            "SELECT due FROM executions WHERE due IS NOT NULL ORDER BY due LIMIT 1"
        )

    def list_under_way(self) -> set[int]:
        """Return the numbers of those with an attempt under way."""
        query = "SELECT id FROM executions WHERE due IS NULL"
        return {number for (number,) in self._file.read(query)}

    def keep(self, execution: Execution) -> None:
        """Write what changed in an execution."""
        self._file.write(
            "UPDATE executions SET attempts = ?, began = ?, due = ? WHERE id = ?",
            *(execution.attempts, execution.began, execution.due, execution.id),
        )

    def repeat(self, number: int) -> None:
        """Make an attempt that was under way due at once."""
        self._file.write("UPDATE executions SET due = 0 WHERE id = ?", number)

    def remove(self, number: int) -> None:
        """Remove an execution that is over."""
        self._file.write("DELETE FROM executions WHERE id = ?", number)

    def remove_waiting(self, job: int) -> None:
        """Remove all executions of a job that wait for another attempt."""
        self._file.write(
            "DELETE FROM executions WHERE job = ? AND due IS NOT NULL", job
        )

    def remove_all(self, job: int) -> None:
        """Remove all executions of a job."""
        self._file.write("DELETE FROM executions WHERE job = ?", job)

    def _select(self, condition: str, *parameters: Any) -> list[Execution]:
        rows = self._file.read(
            f"SELECT {_COLUMNS} FROM executions WHERE {condition}",  # noqa: S608
            *parameters,
        )
        return [Execution(*row) for row in rows.fetchall()]
