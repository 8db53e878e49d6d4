"""
What the emulator remembers, in SQLite: a file, or memory.

It keeps and finds; what may be kept and when it ends is the engine's. Nothing
is on disk before commit(), and everything since the last commit goes with
rollback().
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2

from cloudtask.emulator.tasks.model.tasks import StoredTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: How the file says that it is one of these, and in which form.
APPLICATION_ID = 0x43_54_45_4D
FORMAT_VERSION = 1

_PAGE_CACHE_KIB = 32_768
_OTHERS = 0o077  # Permissions of everybody but the owner.

# A lane holds the tasks of a queue. A purge gives the queue a new one and
# leaves the old to be cleared bit by bit, so that it takes no time.
_SCHEMA = """
CREATE TABLE facts (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    lane INTEGER NOT NULL UNIQUE,
    message BLOB NOT NULL,
    policy BLOB NOT NULL DEFAULT x''
);
CREATE TABLE queue_tombstones (path TEXT PRIMARY KEY, expires INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    due INTEGER NOT NULL,
    in_flight INTEGER NOT NULL DEFAULT 0,
    executions INTEGER NOT NULL DEFAULT 0,
    previous_response INTEGER,
    message BLOB NOT NULL
);
CREATE UNIQUE INDEX task_names ON tasks (lane, task_id);
CREATE INDEX agenda ON tasks (lane, due, id) WHERE in_flight = 0;
CREATE INDEX flights ON tasks (id) WHERE in_flight > 0;
CREATE TABLE tombstones (
    queue INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (queue, task_id)
) WITHOUT ROWID;
CREATE INDEX tombstone_expiry ON tombstones (expires);
CREATE TABLE cleared_lanes (
    lane INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    expires INTEGER NOT NULL
);
CREATE TABLE operations (
    name TEXT PRIMARY KEY,
    request TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    message BLOB NOT NULL
) WITHOUT ROWID;
"""

_TASK_COLUMNS = "id, due, in_flight, executions, previous_response, message"

_parse_task = tasks_v2.Task.pb().FromString
_parse_queue = tasks_v2.Queue.pb().FromString


class StoreError(Exception):
    """The store cannot be opened: it is in use, foreign or unreadable."""


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue as it is kept."""

    id: int
    path: str
    lane: int
    message: Any  # The google.cloud.tasks.v2.Queue.


class Store:
    """
    The tables, on one connection that no other process can share.

    Args:
        path: The file, made with the first use; None keeps all in memory.

    Attributes:
        has_cleared_lanes: Whether clear_lanes() may have something to do.

    Raises:
        StoreError: The file is not to be had.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.has_cleared_lanes = True  # clear_lanes() finds out.
        self._file = None if path is None else _private_file(path)
        try:
            self._connection = sqlite3.connect(
                self._file or ":memory:",
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise _explained(path, error) from error
        try:
            self._set_up()
        except sqlite3.Error as error:
            self._connection.close()
            raise _explained(path, error) from error
        except StoreError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Roll back what is open and let go of the file."""
        self._connection.close()

    @property
    def is_dirty(self) -> bool:
        """Whether there is anything that is not committed."""
        return self._connection.in_transaction

    def commit(self) -> None:
        if self.is_dirty:
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        # A full disk may have rolled it back already.
        if self.is_dirty:
            self._connection.execute("ROLLBACK")

    def clear(self) -> None:
        """Forget everything, the facts too."""
        for table in (
            *("facts", "queues", "queue_tombstones", "tasks"),
            *("tombstones", "cleared_lanes", "operations"),
        ):
            self._write(f"DELETE FROM {table}")  # noqa: S608 - names from above

    # Facts: single values under a name.

    def fact(self, key: str) -> bytes | None:
        row = self._read("SELECT value FROM facts WHERE key = ?", key).fetchone()
        return None if row is None else row[0]

    def keep_fact(self, key: str, value: bytes) -> None:
        self._write("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, value)

    # Queues.

    def queues(self) -> Iterator[QueueRow]:
        for row in self._read("SELECT id, path, lane, message FROM queues"):
            number, path, lane, message = row
            yield QueueRow(number, path, lane, _parse_queue(message))

    def add_queue(self, path: str, message: Any) -> QueueRow:
        lane = self._new_lane()
        cursor = self._write(
            "INSERT INTO queues (path, lane, message) VALUES (?, ?, ?)",
            *(path, lane, message.SerializeToString()),
        )
        self._write("DELETE FROM queue_tombstones WHERE path = ?", path)
        return QueueRow(cursor.lastrowid or 0, path, lane, message)

    def update_queue(self, queue: int, message: Any) -> None:
        self._write(
            "UPDATE queues SET message = ? WHERE id = ?",
            *(message.SerializeToString(), queue),
        )

    def remove_queue(self, queue: QueueRow, expires: int) -> None:
        """Remove a queue with its tasks; its path is blocked until then."""
        self._write("DELETE FROM queues WHERE id = ?", queue.id)
        self._write("INSERT INTO cleared_lanes VALUES (?, ?, 0)", queue.lane, queue.id)
        self.has_cleared_lanes = True
        self._write(
            "INSERT OR REPLACE INTO queue_tombstones VALUES (?, ?)",
            *(queue.path, expires),
        )

    def queue_blocked_until(self, path: str) -> int | None:
        return self._value("SELECT expires FROM queue_tombstones WHERE path = ?", path)

    def policy(self, queue: int) -> bytes:
        row = self._read("SELECT policy FROM queues WHERE id = ?", queue).fetchone()
        policy: bytes = row[0]
        return policy

    def keep_policy(self, queue: int, policy: bytes) -> None:
        self._write("UPDATE queues SET policy = ? WHERE id = ?", policy, queue)

    # Tasks, by lane.

    def add_task(
        self, lane: int, task_id: str, created: int, due: int, message: bytes
    ) -> None:
        self._write(
            "INSERT INTO tasks (lane, task_id, created, due, message) "
            "VALUES (?, ?, ?, ?, ?)",
            *(lane, task_id, created, due, message),
        )

    def find_task(self, queue: QueueRow, task_id: str) -> StoredTask | None:
        row = self._read(
            f"SELECT {_TASK_COLUMNS} FROM tasks WHERE lane = ? AND task_id = ?",  # noqa: S608
            *(queue.lane, task_id),
        ).fetchone()
        return None if row is None else _stored_task(queue.path, row)

    def task(self, queue: QueueRow, number: int) -> StoredTask | None:
        """Return a task by its number if it is still in the queue."""
        row = self._read(
            f"SELECT {_TASK_COLUMNS} FROM tasks WHERE id = ? AND lane = ?",  # noqa: S608
            *(number, queue.lane),
        ).fetchone()
        return None if row is None else _stored_task(queue.path, row)

    def tasks_after(
        self, queue: QueueRow, task_id: str, limit: int
    ) -> Iterator[StoredTask]:
        """Yield tasks of a queue ordered by id, from after that one."""
        for row in self._read(
            f"SELECT {_TASK_COLUMNS} FROM tasks "  # noqa: S608
            "WHERE lane = ? AND task_id > ? ORDER BY task_id LIMIT ?",
            *(queue.lane, task_id, limit),
        ):
            yield _stored_task(queue.path, row)

    def has_task(self, lane: int, task_id: str) -> bool:
        query = "SELECT id FROM tasks WHERE lane = ? AND task_id = ?"
        return self._value(query, lane, task_id) is not None

    def due_tasks(self, queue: QueueRow, now: int, limit: int) -> list[StoredTask]:
        """Return the first waiting tasks that are due."""
        rows = self._read(
            f"SELECT {_TASK_COLUMNS} FROM tasks "  # noqa: S608
            "WHERE lane = ? AND in_flight = 0 AND due <= ? "
            "ORDER BY due, id LIMIT ?",
            *(queue.lane, now, limit),
        ).fetchall()
        return [_stored_task(queue.path, row) for row in rows]

    def next_due(self, lane: int) -> int | None:
        """Return when the first waiting task of a lane is due."""
        return self._value(
            "SELECT due FROM tasks WHERE lane = ? AND in_flight = 0 "
            "ORDER BY due LIMIT 1",
            lane,
        )

    def depth(self, lane: int) -> int:
        return self._value("SELECT count(*) FROM tasks WHERE lane = ?", lane) or 0

    def keep_task(self, task: StoredTask) -> None:
        """Write what changed in a task."""
        self._write(
            "UPDATE tasks SET due = ?, in_flight = ?, executions = ?, "
            "previous_response = ?, message = ? WHERE id = ?",
            *(task.due, task.in_flight, task.executions, task.previous_response),
            *(task.message.SerializeToString(), task.id),
        )

    def reschedule(self, number: int, due: int) -> None:
        self._write("UPDATE tasks SET due = ? WHERE id = ?", due, number)

    def remove_task(self, number: int) -> None:
        self._write("DELETE FROM tasks WHERE id = ?", number)

    def land(self, number: int, in_flight: int) -> None:
        """Correct how many attempts of a task are under way."""
        self._write("UPDATE tasks SET in_flight = ? WHERE id = ?", in_flight, number)

    def tasks_created_until(
        self, instant: int, limit: int
    ) -> list[tuple[int, int, str]]:
        """Return (number, lane, task id) of the oldest, up to the instant."""
        rows = self._read(
            "SELECT id, lane, task_id, created FROM tasks ORDER BY id LIMIT ?", limit
        )
        return [row[:3] for row in rows if row[3] <= instant]

    # Names that stay blocked, by the queue's number.

    def block_name(self, queue: int, task_id: str, expires: int) -> None:
        self._write(
            "INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?)",
            *(queue, task_id, expires),
        )

    def name_blocked_until(self, queue: int, task_id: str) -> int | None:
        """Return until when the name of an ended or purged task is blocked."""
        return self._value(
            "SELECT max(expires) FROM ("
            "SELECT expires FROM tombstones WHERE queue = ? AND task_id = ? "
            "UNION ALL SELECT expires FROM cleared_lanes WHERE queue = ? AND EXISTS "
            "(SELECT 1 FROM tasks WHERE lane = cleared_lanes.lane AND task_id = ?))",
            *(queue, task_id, queue, task_id),
        )

    def drop_expired(self, now: int, limit: int) -> int:
        """Drop names that are free again and return how many there were."""
        self._write("DELETE FROM queue_tombstones WHERE expires <= ?", now)
        return self._write(
            "DELETE FROM tombstones WHERE (queue, task_id) IN (SELECT queue, task_id "
            "FROM tombstones WHERE expires <= ? LIMIT ?)",
            *(now, limit),
        ).rowcount

    # Clearing.

    def change_lane(self, queue: QueueRow, expires: int) -> QueueRow:
        """
        Take all tasks away from a queue.

        Returns:
            The queue with its new, empty lane.
        """
        lane = self._new_lane()
        self._write("UPDATE queues SET lane = ? WHERE id = ?", lane, queue.id)
        self._write(
            "INSERT INTO cleared_lanes VALUES (?, ?, ?)",
            *(queue.lane, queue.id, expires),
        )
        self.has_cleared_lanes = True
        return QueueRow(queue.id, queue.path, lane, queue.message)

    def clear_lanes(self, limit: int) -> None:
        """Remove some tasks that were taken from their queues."""
        row = self._read(
            "SELECT lane, queue, expires FROM cleared_lanes LIMIT 1"
        ).fetchone()
        self.has_cleared_lanes = row is not None
        if row is None:
            return
        lane, queue, expires = row
        numbers = "SELECT id FROM tasks WHERE lane = ? ORDER BY task_id LIMIT ?"
        if expires:
            self._write(
                "INSERT INTO tombstones SELECT ?, task_id, ? FROM tasks "  # noqa: S608
                f"WHERE id IN ({numbers}) "
                # A later task of this name may have ended, too.
                "ON CONFLICT DO UPDATE SET expires = max(expires, excluded.expires)",
                *(queue, expires, lane, limit),
            )
        removed = self._write(
            f"DELETE FROM tasks WHERE id IN ({numbers})",  # noqa: S608
            *(lane, limit),
        ).rowcount
        if removed < limit:
            self._write("DELETE FROM cleared_lanes WHERE lane = ?", lane)

    # Long-running operations.

    def add_operation(
        self, name: str, request: str, created: int, message: bytes
    ) -> None:
        self._write(
            "INSERT INTO operations VALUES (?, ?, ?, ?)",
            *(name, request, created, message),
        )

    def operation(self, name: str) -> bytes | None:
        row = self._read(
            "SELECT message FROM operations WHERE name = ?", name
        ).fetchone()
        return None if row is None else row[0]

    def operation_of(self, request: str) -> bytes | None:
        row = self._read(
            "SELECT message FROM operations WHERE request = ?", request
        ).fetchone()
        return None if row is None else row[0]

    def drop_operations(self, created_until: int) -> None:
        self._write("DELETE FROM operations WHERE created <= ?", created_until)

    def _set_up(self) -> None:
        run = self._connection.execute
        # The lock is kept from the first statement to the end of the process.
        run("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = run("PRAGMA application_id").fetchone()
        (version,) = run("PRAGMA user_version").fetchone()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != APPLICATION_ID:
            raise StoreError(f"{self.path} is a database of something else.")
        if tables and version != FORMAT_VERSION:
            raise StoreError(
                f"{self.path} has format {version}, this emulator reads format "
                f"{FORMAT_VERSION}. Use the version that wrote it, or another file."
            )
        if self._file is not None:
            _keep_private(self._file)
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
        run("BEGIN EXCLUSIVE")
        if not tables:
            for statement in _SCHEMA.split(";\n"):
                run(statement)
            run(f"PRAGMA application_id = {APPLICATION_ID}")
            run(f"PRAGMA user_version = {FORMAT_VERSION}")
        # What was being sent when the last process ended waits again.
        run("UPDATE tasks SET in_flight = 0 WHERE in_flight > 0")
        run("COMMIT")

    def _new_lane(self) -> int:
        return 1 + (
            self._value(
                "SELECT max(lane) FROM (SELECT lane FROM queues "
                "UNION ALL SELECT lane FROM cleared_lanes)"
            )
            or 0
        )

    def _read(self, query: str, *parameters: Any) -> sqlite3.Cursor:
        return self._connection.execute(query, parameters)

    def _value(self, query: str, *parameters: Any) -> int | None:
        row = self._read(query, *parameters).fetchone()
        value: int | None = None if row is None else row[0]
        return value

    def _write(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        return self._connection.execute(statement, parameters)


def _stored_task(queue: str, row: Iterable[Any]) -> StoredTask:
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


def _private_file(path: Path) -> Path:
    """Return where links lead to; a file that is made there is the owner's."""
    try:
        file = Path(os.path.realpath(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error.strerror}.") from error
    return file


def _keep_private(file: Path) -> None:
    """Take a store that is there, and what it left, from all others."""
    # SQLite gives files that it makes the permissions of the first.
    for ending in ("", "-wal", "-shm", "-journal"):
        each = file.with_name(file.name + ending)
        try:
            if each.stat().st_mode & _OTHERS:
                each.chmod(0o600)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(
                f"{each} is open to others, and that cannot be changed: "
                f"{error.strerror}. A private key is kept in it: make it yours alone, "
                "or keep this emulator's tasks elsewhere with --store."
            ) from error


def _explained(path: Path | None, error: sqlite3.Error) -> StoreError:
    if "locked" in str(error):
        return StoreError(
            f"{path} is in use by another process, most likely an emulator. "
            "Stop it, or keep this one's tasks elsewhere with --store."
        )
    return StoreError(f"{path} cannot be used as a store: {error}.")
