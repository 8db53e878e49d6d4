"""What tells one worker from another."""

import os
import socket
from collections.abc import Iterator

import pytest

from cloudtask.dispatch import workers
from cloudtask.dispatch.workers import worker_id


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Nothing is known of this host, before and after."""
    workers._id.cache_clear()
    yield
    workers._id.cache_clear()


def test_a_worker_is_known_by_host_and_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "web-1")

    assert worker_id() == f"web-1-{os.getpid()}"


def test_the_id_fits_whatever_the_host_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 99)
    monkeypatch.setattr(os, "getpid", lambda: 2**31)

    assert worker_id() == f"{'h' * 48}-{2**31}"
    assert len(worker_id()) <= 64


def test_a_forked_process_has_an_id_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = worker_id()
    monkeypatch.setattr(os, "getpid", lambda: 2**31)

    assert worker_id() != before
