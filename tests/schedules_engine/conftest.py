"""What the tests of the engine Cloud Scheduler share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloudtask.conf import GOOGLE_TRANSPORT
from cloudtask.schedules.engines.cloud_scheduler import client
from tests.results.conftest import _nothing_is_kept, _results, heart
from tests.schedules.conftest import moved
from tests.schedules_engine.service import Service, serve

__all__ = ["_nothing_is_kept", "_results", "heart", "moved"]


@pytest.fixture
def service() -> Iterator[Service]:
    with serve() as service:
        yield service


@pytest.fixture
def cloud(service: Service, settings: Any, _results: None) -> Iterator[Service]:
    """The project asks this Cloud Scheduler for ticks."""
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "TRANSPORT": GOOGLE_TRANSPORT,
        "EMULATOR_HOST": service.address,
        "SAE": "tasks@project.iam.gserviceaccount.com",
        "SCHEDULER": "scheduler",
        "SCHEDULER_LOCATION": "europe-west6",
        "SCHEDULER_PREFIX": "shop",
    }
    yield service
    if client._open is not None:
        client._open[1].close()
        client._open = None
