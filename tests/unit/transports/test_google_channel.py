"""When a connection to Cloud Tasks is replaced, and what becomes of calls."""

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import grpc
import pytest
from grpc.experimental import gevent

from cloudtask.checks import check_cloudtask
from cloudtask.exceptions import ServiceUnavailable
from cloudtask.transports.base import Transport
from cloudtask.transports.google import channel as google_channel
from cloudtask.wire.outgoing import OutgoingTask
from tests.unit.transports.service import Call, Service, refuse, store

Code = grpc.StatusCode
Configure = Callable[..., Transport]
Outgoing = Callable[..., OutgoingTask]

WAYS: dict[str, Callable[[Transport, OutgoingTask], str]] = {
    "sync": lambda transport, task: transport.send(task),
    "async": lambda transport, task: asyncio.run(transport.asend(task)),
}
both_ways = pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)


class Held:
    """An answer that waits until it may be given."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.free = threading.Event()

    def __call__(self, service: Service, call: Call, context: Any) -> Any:
        self.arrived.set()
        assert self.free.wait(10)
        return store(service, call, context)


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[grpc.Channel]]:
    """The channels that are opened, as long as they are there."""
    opened: list[weakref.ref[grpc.Channel]] = []
    open_channel = grpc.insecure_channel

    def open_and_note(*args: Any) -> grpc.Channel:
        channel = open_channel(*args)
        opened.append(weakref.ref(channel))
        return channel

    monkeypatch.setattr(grpc, "insecure_channel", open_and_note)
    return opened


@pytest.fixture
def _any_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_channel, "_MIN_AGE", 0.0)


@both_ways
@pytest.mark.usefixtures("_any_is_old")
def test_a_call_under_way_outlives_the_connection_that_is_replaced(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    channels: list[weakref.ref[grpc.Channel]],
    send: Callable[[Transport, OutgoingTask], str],
) -> None:
    transport, held = configure(), Held()
    service.answers(held, refuse(Code.UNAVAILABLE))

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(send, transport, outgoing())
        assert held.arrived.wait(10)
        with pytest.raises(ServiceUnavailable):
            transport.send(outgoing())
        transport.send(outgoing())
        held.free.set()
        assert under_way.result(10) == service.stored[-1].name
    del under_way
    former, failed, later = (call.peer for call in service.calls)
    assert former == failed != later
    # Nothing keeps it any longer.
    assert [each() is None for each in channels] == [True, False]


@pytest.mark.parametrize(
    "code", [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED]
)
def test_one_that_is_young_or_was_answered_is_kept(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    monkeypatch: pytest.MonkeyPatch,
    code: grpc.StatusCode,
) -> None:
    if code is Code.RESOURCE_EXHAUSTED:
        monkeypatch.setattr(google_channel, "_MIN_AGE", 0.0)
    transport = configure()
    service.answers(refuse(code))

    with pytest.raises(ServiceUnavailable):
        transport.send(outgoing())
    transport.send(outgoing())
    assert len({call.peer for call in service.calls}) == 1


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that has a package patch what this process knows."""

    def patched(module: str, function: str) -> None:
        patcher = ModuleType(module)
        setattr(patcher, function, lambda name: name == "socket")
        monkeypatch.setitem(sys.modules, module, patcher)

    google_channel._cooperate.cache_clear()
    return patched


def test_grpc_learns_of_gevent_once(
    configure: Configure,
    outgoing: Outgoing,
    patched: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: list[str] = []
    monkeypatch.setattr(gevent, "init_gevent", lambda: learned.append("gevent"))
    patched("gevent.monkey", "is_module_patched")
    for _ in range(2):
        transport = configure()
        transport.send(outgoing())
        transport.close()
    assert learned == ["gevent"]


def test_eventlet_is_told_of(
    configure: Configure,
    outgoing: Outgoing,
    patched: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    patched("eventlet.patcher", "is_monkey_patched")
    configure().send(outgoing())

    [message] = caplog.messages
    assert message.startswith("eventlet has patched this process, and gRPC cannot")
    [warning] = [each for each in check_cloudtask() if each.id == "cloudtask.W030"]
    assert warning.msg == message


def test_threads_are_nothing_to_tell_of(caplog: pytest.LogCaptureFixture) -> None:
    google_channel._cooperate.cache_clear()
    google_channel._cooperate(0)

    assert caplog.messages == []
    assert not [each for each in check_cloudtask() if each.id == "cloudtask.W030"]
