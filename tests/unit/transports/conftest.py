"""Fixtures of the transports' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.enqueue import registry
from cloudtask.transports import get_transport
from cloudtask.transports.base import Transport
from cloudtask.wire.outgoing import OutgoingTask
from tests.outgoing import outgoing_task
from tests.unit.transports.service import Batches, Service, serve

QUEUE_PATH = "projects/project/locations/europe-west1/queues/default"


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


@pytest.fixture
def batches() -> Batches | None:
    """What the service knows of batches: nothing, unless a module says so."""
    return None


@pytest.fixture
def service(batches: Batches | None) -> Iterator[Service]:
    with serve(batches) as service:
        yield service


@pytest.fixture
def configure(service: Service) -> Iterator[Callable[..., Transport]]:
    """Return a function that sends tasks to the service, and how."""
    with ExitStack() as stack:
        # Another transport closes this one, before the service stops.
        stack.callback(lambda: get_transport(get_settings()))

        def configure(**changes: Any) -> Transport:
            raw = {
                **django_settings.CLOUDTASK,
                "TRANSPORT": GOOGLE_TRANSPORT,
                "EMULATOR_HOST": service.address,
                **changes,
            }
            stack.enter_context(override_settings(CLOUDTASK=raw))
            return get_transport(get_settings())

        yield configure


@pytest.fixture
def outgoing() -> Callable[..., OutgoingTask]:
    """Return a function that makes tasks, unnamed ones by default."""

    def outgoing(**fields: Any) -> OutgoingTask:
        return outgoing_task(**{"queue_path": QUEUE_PATH, **fields})

    return outgoing
