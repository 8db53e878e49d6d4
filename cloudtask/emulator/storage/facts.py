"""Single values under a name, such as a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtask.emulator.storage.file import StoreFile

#: The statement that creates the table.
TABLE = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value BLOB NOT NULL)
    WITHOUT ROWID;
"""


class Facts:
    """The table of facts."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def get(self, key: str) -> bytes | None:
        """The value that is kept under a name; None if there is none."""
        row = self._file.read("SELECT value FROM facts WHERE key = ?", key).fetchone()
        return None if row is None else row[0]

    def keep(self, key: str, value: bytes) -> None:
        """Keep a value under a name, in place of the one before."""
        self._file.write("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, value)
