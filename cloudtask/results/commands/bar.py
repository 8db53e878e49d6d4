"""How far a long work is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

_WIDTH = 30


class Bar:
    """A bar on a terminal, and one line at the end."""

    def __init__(self, stdout: OutputWrapper, total: int) -> None:
        self._stdout = stdout
        self._total = total
        self._done = 0

    def add(self, count: int) -> None:
        """Show that so many more are done."""
        self._done += count
        if self._stdout.isatty():
            filled = _WIDTH * min(self._done, self._total) // max(1, self._total)
            bar = "#" * filled + "." * (_WIDTH - filled)
            self._stdout.write(f"\r[{bar}] {self._done}/{self._total}", ending="")
            self._stdout.flush()

    def end(self, outcome: str) -> None:
        """Say what has become of them all."""
        if self._stdout.isatty():
            self._stdout.write("")
        self._stdout.write(f"{self._done} tasks {outcome}.")
