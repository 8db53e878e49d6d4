"""What the tests of schedules share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.clocks import set_clock
from tests.results.conftest import _nothing_is_kept, _results, heart

__all__ = ["_nothing_is_kept", "_results", "heart"]


class MovedClock:
    """The clock of the package, which stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def move(self, **time: float) -> datetime:
        self.now += timedelta(**time)
        return self.now

    def set(self, *parts: int) -> datetime:
        self.now = datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]
        return self.now


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    moved = MovedClock()
    set_clock(monkeypatch, lambda: moved.now.timestamp())
    return moved
