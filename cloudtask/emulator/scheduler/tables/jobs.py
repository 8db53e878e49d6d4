"""Jobs, and when each is due by its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import scheduler_v1

from cloudtask.emulator.scheduler.model.jobs import StoredJob

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudtask.emulator.storage.file import StoreFile

_COLUMNS = "id, next_slot, phase, message"
_LAST = "\U0010ffff"
# A job's own slot waits until its attempt before has ended.
_IS_FREE = (
    "NOT EXISTS (SELECT 1 FROM executions WHERE executions.job = jobs.id "
    "AND NOT executions.forced AND executions.due IS NULL)"
)

_parse_job = scheduler_v1.Job.pb().FromString


class JobTable:
    """The jobs."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def add(self, message: Any, next_slot: int) -> StoredJob:
        """Keep a new job, which is due at an instant."""
        cursor = self._file.write(
            "INSERT INTO jobs (name, next_slot, message) VALUES (?, ?, ?)",
            *(message.name, next_slot, message.SerializeToString()),
        )
        return StoredJob(cursor.lastrowid or 0, message, next_slot, None)

    def find(self, name: str) -> StoredJob | None:
        """The job of a name, if it is there."""
        row = self._select("name = ?", name).fetchone()
        return None if row is None else _read_job(row)

    def get(self, number: int) -> StoredJob:
        """Return a job that is there by its number."""
        return _read_job(self._select("id = ?", number).fetchone())

    def list_after(self, prefix: str, name: str, limit: int) -> list[StoredJob]:
        """List jobs whose names begin so, from after that one."""
        rows = self._select(
            "name > ? AND name < ? ORDER BY name LIMIT ?",
            *(max(prefix, name), prefix + _LAST, limit),
        )
        return [_read_job(row) for row in rows.fetchall()]

    def list_names(self) -> list[str]:
        """List the names of all jobs."""
        return [name for (name,) in self._file.read("SELECT name FROM jobs")]

    def find_due(self, now: int, limit: int) -> list[StoredJob]:
        """Return the first jobs that are due, but for those under way."""
        rows = self._select(
            f"next_slot <= ? AND {_IS_FREE} ORDER BY next_slot, id LIMIT ?", now, limit
        )
        return [_read_job(row) for row in rows.fetchall()]

    def next_due(self) -> int | None:
        """Return when the first job is due, but for those under way."""
        return self._file.read_number(
            f"SELECT next_slot FROM jobs WHERE next_slot IS NOT NULL AND {_IS_FREE} "  # noqa: S608
            "ORDER BY next_slot LIMIT 1"
        )

    def keep(self, job: StoredJob) -> None:
        """Write what changed in a job."""
        self._file.write(
            "UPDATE jobs SET next_slot = ?, phase = ?, message = ? WHERE id = ?",
            *(job.next_slot, job.phase, job.message.SerializeToString(), job.id),
        )

    def remove(self, number: int) -> None:
        """Remove a job by its number."""
        self._file.write("DELETE FROM jobs WHERE id = ?", number)

    def _select(self, condition: str, *parameters: Any) -> Any:
        return self._file.read(
            f"SELECT {_COLUMNS} FROM jobs WHERE {condition}",  # noqa: S608
            *parameters,
        )


def _read_job(row: Iterable[Any]) -> StoredJob:
    number, next_slot, phase, message = row
    return StoredJob(number, _parse_job(message), next_slot, phase)
