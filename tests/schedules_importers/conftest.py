from __future__ import annotations

from pathlib import Path

import pytest
from django.test import override_settings

from cloudtask.transports.memory import MemoryTransport
from tests.backends.samples import TASKS
from tests.schedules.conftest import _nothing_is_kept, _results, heart, moved
from tests.schedules_importers.running import Import

with override_settings(TASKS=TASKS):
    # The class of Django's tasks is the backend's.
    import tests.schedules_admin.samples  # noqa: F401

__all__ = ["_nothing_is_kept", "_results", "heart", "moved"]


@pytest.fixture(autouse=True)
def _queue(queue: MemoryTransport) -> None:
    """Nothing is sent further than into this process."""


@pytest.fixture
def importing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    return Import(tmp_path, capsys)
