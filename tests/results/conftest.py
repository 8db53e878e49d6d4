"""What the tests of results share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from cloudtask import transports
from cloudtask.backends import definitions
from cloudtask.results import claims, heartbeat
from cloudtask.results.sweeping import traffic
from tests.backends.samples import TASKS

with override_settings(TASKS=TASKS):
    # Their class is the backend's, so it must be there when they are made.
    from tests.backends import tasks  # noqa: F401


@pytest.fixture(autouse=True)
def _results(settings: Any) -> Iterator[None]:
    """Everything is kept, and nothing is left open."""
    settings.TASKS = TASKS
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "all"}
    yield
    for _, transport in list(transports._open.values()):
        transport.close()
    transports._open.clear()
    definitions._shared.clear()


@pytest.fixture(autouse=True)
def heart(monkeypatch: pytest.MonkeyPatch) -> Iterator[heartbeat.Heart]:
    """One for each test, which beats only if it is told to."""
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 3600.0)
    monkeypatch.setattr(heartbeat, "PROGRESS", 3600.0)
    monkeypatch.setattr(traffic, "_last_pass", float("inf"))
    beating = heartbeat.Heart()
    monkeypatch.setattr(heartbeat, "HEART", beating)
    monkeypatch.setattr(claims, "HEART", beating)
    yield beating
    thread = beating._thread
    beating._leases.clear()
    beating._deferred.clear()
    beating._pause.set()
    if thread is not None:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    """These are about what is kept."""
