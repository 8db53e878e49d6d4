"""
The file that keeps everything, in SQLite; or memory, which keeps nothing.

It opens, locks, reads and writes. What the tables mean belongs to their
service. Nothing is on disk before commit(), and rollback() undoes everything
since the last one.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloudtask.emulator.storage.errors import StoreError
from cloudtask.emulator.storage.permissions import keep_private, make_private_file

if TYPE_CHECKING:
    from pathlib import Path

_PAGE_CACHE_KIB = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """How a file says that it is one of these, and what is in it."""

    application_id: int  # Tells it from the databases of other programs.
    version: int  # Of the format.
    tables: str  # The statements that create them, each ending with ";\n".
    recovery: str  # Statements to run whenever the file is opened, likewise.


class StoreFile:
    """
    A database on one connection that no other process can share.

    Args:
        path: The file, created with the first use; None keeps all in memory.
        schema: What it has to be.

    Raises:
        StoreError: The file cannot be opened.
    """

    def __init__(self, path: Path | None, schema: Schema) -> None:
        self.path = path
        self._schema = schema
        self._file = None if path is None else make_private_file(path)
        try:
            self._connection = sqlite3.connect(
                self._file or ":memory:",
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise _explain(path, error) from error
        try:
            self._set_up()
        except sqlite3.Error as error:
            self._connection.close()
            raise _explain(path, error) from error
        except StoreError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Roll back what is not committed and close the file."""
        self._connection.close()

    @property
    def is_dirty(self) -> bool:
        """Whether there is anything that is not committed."""
        return self._connection.in_transaction

    def commit(self) -> None:
        """Keep everything since the last commit, or raise sqlite3.Error."""
        if self.is_dirty:
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        # A full disk may have rolled it back already.
        if self.is_dirty:
            self._connection.execute("ROLLBACK")

    def clear(self) -> None:
        """Delete every row of every table."""
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE"
        for (table,) in self.read(f"{names} 'sqlite_%'").fetchall():
            self.write(f"DELETE FROM {table}")  # noqa: S608 - from the schema

    def read(self, query: str, *parameters: Any) -> sqlite3.Cursor:
        """Run a query."""
        return self._connection.execute(query, parameters)

    def read_number(self, query: str, *parameters: Any) -> int | None:
        """Return the number in the only row of a query, None without a row."""
        row = self.read(query, *parameters).fetchone()
        number: int | None = None if row is None else row[0]
        return number

    def write(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """Run a statement, in a transaction that commit() ends."""
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        return self._connection.execute(statement, parameters)

    def _set_up(self) -> None:
        run = self._connection.execute
        # The lock is kept from the first statement to the end of the process.
        run("PRAGMA locking_mode = EXCLUSIVE")
        is_new = self._is_new()
        if self._file is not None:
            keep_private(self._file)
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
        run("BEGIN EXCLUSIVE")
        # A file may be from before a service had its tables.
        for statement in self._schema.tables.split(";\n"):
            run(statement)
        if is_new:
            run(f"PRAGMA application_id = {self._schema.application_id}")
            run(f"PRAGMA user_version = {self._schema.version}")
        for statement in self._schema.recovery.split(";\n"):
            run(statement)
        run("COMMIT")

    def _is_new(self) -> bool:
        """Tell whether there are no tables yet, or raise StoreError."""
        if not self.read_number("SELECT count(*) FROM sqlite_master"):
            return True
        if self.read_number("PRAGMA application_id") != self._schema.application_id:
            raise StoreError(f"{self.path} is a database of another program.")
        version = self.read_number("PRAGMA user_version")
        if version != self._schema.version:
            raise StoreError(
                f"{self.path} has format {version}, this emulator reads format "
                f"{self._schema.version}. Use the version that wrote it, or another "
                "file."
            )
        return False


def _explain(path: Path | None, error: sqlite3.Error) -> StoreError:
    if "locked" in str(error):
        return StoreError(
            f"{path} is in use by another process, most likely an emulator. "
            "Stop it, or use another file with --store."
        )
    return StoreError(f"{path} cannot be used as a store: {error}.")
