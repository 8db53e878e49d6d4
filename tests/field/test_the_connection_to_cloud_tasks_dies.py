"""
Packets vanish between a process and Cloud Tasks, or the service is away.

Google's client, over gRPC, to the emulator; between them a proxy that stops
forwarding and keeps its connections open, as a NAT that forgot them does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from time import monotonic, monotonic_ns
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.emulator import Emulator
from cloudtask.exceptions import EnqueueError, ServiceUnavailable
from cloudtask.transports import get_transport
from cloudtask.transports.base import QueueTransport
from cloudtask.transports.google import channel
from cloudtask.wire.outgoing import OutgoingTask
from tests.outgoing import outgoing_task
from tests.reliability.cluster import Proxy
from tests.tasks import add

RPC_TIMEOUT = 1.1
QUEUE_PATH = "projects/project/locations/europe-west1/queues/default"
#: Seconds between two tries.
PAUSE = 0.05
#: Seconds that a busy machine may take for what takes none.
SLACK = 0.4


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(["default"], project="project", location="europe-west1") as emulator:
        yield emulator


@pytest.fixture
def proxy(emulator: Emulator) -> Iterator[Proxy]:
    proxy = Proxy()
    proxy.lead_to(emulator.host.rpartition(":")[2])
    yield proxy
    proxy.close()


@pytest.fixture
def connect() -> Iterator[Callable[[str], QueueTransport]]:
    """Return a function that has tasks sent to an address."""
    with ExitStack() as stack:
        stack.callback(lambda: get_transport(get_settings()))

        def connect(address: str) -> QueueTransport:
            raw = {
                **django_settings.CLOUDTASK,
                "TRANSPORT": GOOGLE_TRANSPORT,
                "EMULATOR_HOST": address,
                "RPC_TIMEOUT": timedelta(seconds=RPC_TIMEOUT),
            }
            stack.enter_context(override_settings(CLOUDTASK=raw))
            return get_transport(get_settings())

        yield connect


def a_task(**fields: Any) -> OutgoingTask:
    return outgoing_task(queue_path=QUEUE_PATH, **fields)


def send_many(transport: QueueTransport) -> None:
    for answer in transport.send_many([a_task() for _ in range(3)]):
        if isinstance(answer, EnqueueError):
            raise answer


def delete_many(transport: QueueTransport) -> None:
    left = transport.delete_many([f"{QUEUE_PATH}/tasks/{n}" for n in range(3)])
    for error in left.values():
        raise error


CALLS: dict[str, Callable[[QueueTransport], object]] = {
    "delay": lambda _: add().delay(),
    "adelay": lambda _: asyncio.run(add().adelay()),
    "named": lambda transport: transport.send(a_task(task_id=f"n{monotonic_ns()}")),
    "send_many": send_many,
    "delete_many": delete_many,
    "delete": lambda transport: transport.delete(f"{QUEUE_PATH}/tasks/1"),
    "has": lambda transport: transport.has(f"{QUEUE_PATH}/tasks/1"),
    "run": lambda transport: transport.run(f"{QUEUE_PATH}/tasks/1"),
}


def tries_until_it_works(call: Callable[[], object]) -> list[float]:
    """Seconds that each call took, of which the last one succeeded."""
    took: list[float] = []
    while sum(took) < 30:
        started = monotonic()
        try:
            call()
        except ServiceUnavailable:
            took.append(monotonic() - started)
        else:
            return [*took, monotonic() - started]
        threading.Event().wait(PAUSE)
    raise AssertionError(took)


@pytest.mark.parametrize("name", CALLS)
def test_packets_vanish_on_a_connection_that_seems_fine(
    connect: Callable[[str], QueueTransport], proxy: Proxy, name: str
) -> None:
    transport = connect(f"127.0.0.1:{proxy.port}")
    CALLS[name](transport)
    assert proxy.blacken(new_ones=False) == 1

    took = tries_until_it_works(lambda: CALLS[name](transport))
    assert max(took) < RPC_TIMEOUT + SLACK
    assert len(took) == 2


SEVERAL: dict[str, Callable[[QueueTransport], object]] = {
    "send_many": lambda transport: transport.send_many(
        [outgoing_task(queue_path=f"{QUEUE_PATH}-{n}") for n in range(3)]
    ),
    "delete_many": lambda transport: transport.delete_many(
        [f"{QUEUE_PATH}-{n}/tasks/1" for n in range(3)]
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_calls_together_wait_no_longer_than_one_may(
    connect: Callable[[str], QueueTransport], proxy: Proxy, name: str
) -> None:
    transport = connect(f"127.0.0.1:{proxy.port}")
    transport.send(a_task())
    proxy.blacken(new_ones=True)

    # The first call fails slowly, and those after it are not answered.
    cut = threading.Timer(0.45 * RPC_TIMEOUT, proxy.cut)
    started = monotonic()
    cut.start()
    SEVERAL[name](transport)
    assert monotonic() - started < RPC_TIMEOUT + SLACK
    cut.join()


def test_those_who_wait_share_one_new_connection(
    connect: Callable[[str], QueueTransport], proxy: Proxy
) -> None:
    transport = connect(f"127.0.0.1:{proxy.port}")
    transport.send(a_task())
    proxy.blacken(new_ones=False)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(transport.send, a_task()) for _ in range(8)]
        assert all(isinstance(c.exception(), ServiceUnavailable) for c in calls)
        list(pool.map(transport.send, [a_task() for _ in range(8)]))
    assert proxy.blacken(new_ones=True) == 2


@pytest.mark.parametrize("call", ["delay", "adelay", "send_many"])
def test_the_service_was_away_until_nobody_looked_for_it_any_more(
    connect: Callable[[str], QueueTransport],
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
) -> None:
    # As after hours of failed attempts, or after the name was not found.
    waits = ("grpc.testing.fixed_reconnect_backoff_ms", 600_000)
    options = (*channel.EMULATOR_OPTIONS, waits)
    monkeypatch.setattr(channel, "EMULATOR_OPTIONS", options)
    transport = connect(emulator.host)
    CALLS[call](transport)
    port = int(emulator.host.rpartition(":")[2])
    emulator.stop()
    with pytest.raises(ServiceUnavailable):
        CALLS[call](transport)

    with Emulator(["default"], project="project", location="europe-west1", port=port):
        took = tries_until_it_works(lambda: CALLS[call](transport))
        assert sum(took) + PAUSE * len(took) < 2
