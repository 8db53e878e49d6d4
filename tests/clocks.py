"""The clock of the package, moved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudtask.conf import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def set_clock(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], float]) -> None:
    """
    Have the clock show what is asked for with each look at it.

    Args:
        ask: Returns seconds since the epoch.
    """
    monkeypatch.setattr(clock, "now", lambda: datetime.fromtimestamp(ask(), UTC))
