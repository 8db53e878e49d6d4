"""What the tests of the Django backend share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from cloudtask import transports
from cloudtask.auth import authenticator
from cloudtask.backends import CloudTasksBackend, definitions
from cloudtask.framework import task_backends
from tests.backends.samples import TASKS, Told, recorded
from tests.security.sending import Send, send_asgi, send_wsgi

with override_settings(TASKS=TASKS):
    # Their class is the backend's, so it must be there when they are made.
    from tests.backends import tasks  # noqa: F401


@pytest.fixture(autouse=True)
def _own_tasks(settings: Any) -> Iterator[None]:
    """The backends of TASKS, and nothing left of them afterwards."""
    settings.TASKS = TASKS
    yield
    for _, transport in list(transports._open.values()):
        transport.close()
    transports._open.clear()
    definitions._shared.clear()
    authenticator._get_authenticator._made.clear()


@pytest.fixture
def backend() -> CloudTasksBackend:
    return task_backends["default"]


@pytest.fixture(params=["wsgi", "asgi"])
def send(request: pytest.FixtureRequest) -> Send:
    """Send a dispatch through one handler, then the other."""
    return {"wsgi": send_wsgi, "asgi": send_asgi}[request.param]


@pytest.fixture
def told() -> Iterator[list[Told]]:
    """What Django's signals told, in order."""
    with recorded() as received:
        yield received
