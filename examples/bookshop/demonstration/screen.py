"""What the demo writes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

_ERASE_LINE = "\r\x1b[2K"


class Screen:
    """
    Lines of text, and on a terminal a progress line below them.

    Anywhere else there is no progress line and no control character.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"

    def line(self, text: str = "") -> None:
        self._write(f"{self._erase}{text}\n")

    def progress(self, text: str) -> None:
        if self.is_terminal:
            columns = shutil.get_terminal_size().columns
            self._write(f"{self._erase}{text[: columns - 1]}")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Write rows of equally many cells. The first row is the head."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rule = ["-" * width for width in widths]
        for row in (rows[0], rule, *rows[1:]):
            cells = (cell.ljust(w) for cell, w in zip(row, widths, strict=True))
            self.line("  ".join(cells).rstrip())

    @property
    def _erase(self) -> str:
        return _ERASE_LINE if self.is_terminal else ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
