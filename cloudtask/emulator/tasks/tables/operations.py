"""Long-running operations of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtask.emulator.storage.file import StoreFile


class OperationTable:
    """The operations, as serialized messages."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def add(self, name: str, request: str, created: int, message: bytes) -> None:
        """
        Keep an operation.

        Args:
            name: Its full name.
            request: The id of the request that it answers.
            created: When, in microseconds since the epoch.
            message: The operation, serialized.
        """
        self._file.write(
            "INSERT INTO operations VALUES (?, ?, ?, ?)",
            *(name, request, created, message),
        )

    def get(self, name: str) -> bytes | None:
        """The message of an operation by its name; None if there is none."""
        row = self._file.read(
            "SELECT message FROM operations WHERE name = ?", name
        ).fetchone()
        return None if row is None else row[0]

    def find(self, request: str) -> bytes | None:
        """The message of a request's operation; None if there is none."""
        row = self._file.read(
            "SELECT message FROM operations WHERE request = ?", request
        ).fetchone()
        return None if row is None else row[0]

    def drop(self, created_until: int) -> None:
        """Drop operations that were created no later than this."""
        self._file.write("DELETE FROM operations WHERE created <= ?", created_until)
