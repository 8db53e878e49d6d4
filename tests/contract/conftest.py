"""The transports that the contract is held against."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask.enqueue import registry
from cloudtask.testing import memory_queue
from tests.live import live

#: Lets run what was enqueued, to its end.
Deliver = Callable[[], object]


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


@contextmanager
def memory() -> Iterator[Deliver]:
    with memory_queue() as queue:
        yield queue.drain


@contextmanager
def immediate() -> Iterator[Deliver]:
    raw = {
        **django_settings.CLOUDTASK,
        "TRANSPORT": "cloudtask.transports.immediate.ImmediateTransport",
    }
    with override_settings(CLOUDTASK=raw):
        yield lambda: None  # It has run already.


@contextmanager
def google() -> Iterator[Deliver]:
    """Google's protocol, an emulator, and the dispatch view of a live site."""
    with live("default", "emails") as site:
        yield site.finish


@pytest.fixture(params=[memory, immediate, google], ids=lambda each: each.__name__)
def deliver(request: pytest.FixtureRequest) -> Iterator[Deliver]:
    """Choose a transport, and return what makes it run what it was given."""
    with request.param() as deliver:
        yield deliver
