"""Tasks, by the lanes that they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2

from cloudtask.emulator.tasks.model.tasks import StoredTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudtask.emulator.storage.file import StoreFile
    from cloudtask.emulator.tasks.tables.queues import QueueRow

_COLUMNS = "id, due, in_flight, executions, previous_response, message"

_parse_task = tasks_v2.Task.pb().FromString


class TaskTable:
    """The tasks that are not finished."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def add(
        self, lane: int, task_id: str, created: int, due: int, message: bytes
    ) -> None:
        """
        Keep a new task.

        Args:
            lane: The lane that it is put into.
            task_id: The last part of its name.
            created: When, in microseconds since the epoch.
            due: When it is to be sent.
            message: The task, serialized.
        """
        self._file.write(
            "INSERT INTO tasks (lane, task_id, created, due, message) "
            "VALUES (?, ?, ?, ?, ?)",
            *(lane, task_id, created, due, message),
        )

    def find(self, queue: QueueRow, task_id: str) -> StoredTask | None:
        """The task of a queue by the last part of its name, if it is there."""
        row = self._file.read(
            f"SELECT {_COLUMNS} FROM tasks WHERE lane = ? AND task_id = ?",  # noqa: S608
            *(queue.lane, task_id),
        ).fetchone()
        return None if row is None else _read_task(queue.path, row)

    def get(self, queue: QueueRow, number: int) -> StoredTask | None:
        """Return a task by its number if it is still in the queue."""
        row = self._file.read(
            f"SELECT {_COLUMNS} FROM tasks WHERE id = ? AND lane = ?",  # noqa: S608
            *(number, queue.lane),
        ).fetchone()
        return None if row is None else _read_task(queue.path, row)

    def list_after(
        self, queue: QueueRow, task_id: str, limit: int
    ) -> Iterator[StoredTask]:
        """Yield tasks of a queue ordered by id, from after that one."""
        for row in self._file.read(
            f"SELECT {_COLUMNS} FROM tasks "  # noqa: S608
            "WHERE lane = ? AND task_id > ? ORDER BY task_id LIMIT ?",
            *(queue.lane, task_id, limit),
        ):
            yield _read_task(queue.path, row)

    def contains(self, lane: int, task_id: str) -> bool:
        """Whether a lane has a task of this name."""
        query = "SELECT id FROM tasks WHERE lane = ? AND task_id = ?"
        return self._file.read_number(query, lane, task_id) is not None

    def find_due(self, queue: QueueRow, now: int, limit: int) -> list[StoredTask]:
        """Return the first waiting tasks that are due."""
        rows = self._file.read(
            f"SELECT {_COLUMNS} FROM tasks "  # noqa: S608
            "WHERE lane = ? AND in_flight = 0 AND due <= ? "
            "ORDER BY due, id LIMIT ?",
            *(queue.lane, now, limit),
        ).fetchall()
        return [_read_task(queue.path, row) for row in rows]

    def next_due(self, lane: int) -> int | None:
        """Return when the first waiting task of a lane is due."""
        return self._file.read_number(
            "SELECT due FROM tasks WHERE lane = ? AND in_flight = 0 "
            "ORDER BY due LIMIT 1",
            lane,
        )

    def count(self, lane: int) -> int:
        """How many tasks a lane has."""
        return (
            self._file.read_number("SELECT count(*) FROM tasks WHERE lane = ?", lane)
            or 0
        )

    def keep(self, task: StoredTask) -> None:
        """Write what changed in a task."""
        self._file.write(
            "UPDATE tasks SET due = ?, in_flight = ?, executions = ?, "
            "previous_response = ?, message = ? WHERE id = ?",
            *(task.due, task.in_flight, task.executions, task.previous_response),
            *(task.message.SerializeToString(), task.id),
        )

    def reschedule(self, number: int, due: int) -> None:
        """Change when a task is due, in microseconds since the epoch."""
        self._file.write("UPDATE tasks SET due = ? WHERE id = ?", due, number)

    def remove(self, number: int) -> None:
        """Remove a task that is finished or deleted, by its number."""
        self._file.write("DELETE FROM tasks WHERE id = ?", number)

    def correct_in_flight(self, number: int, in_flight: int) -> None:
        """Correct how many attempts of a task are under way."""
        self._file.write(
            "UPDATE tasks SET in_flight = ? WHERE id = ?", in_flight, number
        )

    def find_created_until(
        self, instant: int, limit: int
    ) -> list[tuple[int, int, str]]:
        """Return (number, lane, task id) of the oldest, up to the instant."""
        rows = self._file.read(
            "SELECT id, lane, task_id, created FROM tasks ORDER BY id LIMIT ?", limit
        )
        return [row[:3] for row in rows if row[3] <= instant]


def _read_task(queue: str, row: Iterable[Any]) -> StoredTask:
    number, due, in_flight, executions, previous_response, message = row
    return StoredTask(
        id=number,
        queue=queue,
        message=_parse_task(message),
        due=due,
        in_flight=in_flight,
        executions=executions,
        previous_response=previous_response,
    )
