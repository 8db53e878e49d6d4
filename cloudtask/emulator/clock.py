"""The emulator's time: the real one, and what tests add."""

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

    Only reset() sets it back; a machine's clock that goes back does not.

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
        """What time it is, in microseconds since the epoch."""
        self._latest = max(self._latest, self._real_time() + self._offset)
        return self._latest

    def advance(self, microseconds: int) -> None:
        """
        Move ahead by a duration.

        Raises:
            ValueError: The duration is negative.
        """
        if microseconds < 0:
            raise ValueError(
                f"{microseconds} microseconds: the clock cannot go back. "
                "Reset it to return to the real time."
            )
        self._offset += microseconds

    def advance_to(self, instant: int) -> None:
        """Move ahead to an instant; one that has passed changes nothing."""
        self.advance(max(0, instant - self.now()))

    def reset(self) -> None:
        """Return to the real time."""
        self._offset = 0
        self._latest = 0
