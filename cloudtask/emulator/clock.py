"""The time that the emulator goes by: the real one, and what tests add."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _real_time() -> int:
    return time.time_ns() // 1000


class Clock:
    """
    Real time plus an offset, in microseconds since the epoch.

    It never goes back but for reset(), even if the machine's clock does.

    Args:
        real_time: What the offset is added to.
    """

    def __init__(self, real_time: Callable[[], int] = _real_time) -> None:
        self._real_time = real_time
        self._offset = 0
        self._latest = 0

    @property
    def offset(self) -> int:
        """How far ahead of the real time this is."""
        return self._offset

    def now(self) -> int:
        self._latest = max(self._latest, self._real_time() + self._offset)
        return self._latest

    def advance(self, microseconds: int) -> None:
        """
        Move on by a time.

        Raises:
            ValueError: It is negative.
        """
        if microseconds < 0:
            raise ValueError(
                f"{microseconds} microseconds: the clock cannot go back. "
                "Reset it to come back to the real time."
            )
        self._offset += microseconds

    def advance_to(self, instant: int) -> None:
        """Move on to an instant; one that has passed changes nothing."""
        self.advance(max(0, instant - self.now()))

    def reset(self) -> None:
        """Come back to the real time."""
        self._offset = 0
        self._latest = 0
