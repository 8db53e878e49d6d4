"""Fixtures of the emulator's tests: a target, an emulator, Google's client."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from cloudtask.emulator import Emulator
from cloudtask.emulator.tasks.engine.engine import Engine
from tests.emulator.samples import NOW, PARENT, open_engine, queue


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: list[tuple[str, str]]  # With their casing.
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


@dataclass
class Target:
    """A server that answers from a script, then 200."""

    url: str = ""
    answers: list[int | tuple[int, dict[str, str]]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)
    arrival: threading.Condition = field(default_factory=threading.Condition)
    gate: threading.Event = field(default_factory=threading.Event)  # Holds answers.

    def wait_for(self, count: int) -> None:
        """Return once so many requests have come."""
        with self.arrival:
            assert self.arrival.wait_for(lambda: len(self.received) >= count, 10)

    def answer(self, request: Received) -> tuple[int, dict[str, str]]:
        with self.arrival:
            self.received.append(request)
            self.arrival.notify_all()
        self.reached.set()
        self.gate.wait(10)
        answer = self.answers.pop(0) if self.answers else 200
        return (answer, {}) if isinstance(answer, int) else answer


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    target.gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            received = Received(
                self.command, self.path, list(self.headers.items()), body
            )
            status, headers = target.answer(received)
            headers = {"Content-Length": "0"} | headers
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"x" * int(headers["Content-Length"]))
            except OSError:  # The emulator did not wait for it.
                self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer  # noqa: N815
        do_POST = answer  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        target.url = f"http://127.0.0.1:{server.server_port}/run"
        yield target
        target.gate.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    """Return a function that makes engines with the queue `default`."""
    with ExitStack() as stack:

        def make(fields: dict[str, Any] | None = None, **options: Any) -> Engine:
            engine = open_engine(**options)
            stack.callback(engine.store.file.close)
            engine.queues.create(PARENT, queue(**(fields or {})), NOW)
            return engine

        yield make


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


@pytest.fixture
def start() -> Iterator[Callable[..., Emulator]]:
    """Return a function that starts emulators, stopped after the test."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Emulator(*args, **kwargs))


@pytest.fixture
def emulator(start: Callable[..., Emulator]) -> Emulator:
    return start(["default:min_backoff=0.01,max_backoff=0.05"])


@pytest.fixture
def connect() -> Iterator[Callable[[Emulator], tasks_v2.CloudTasksClient]]:
    """Return a function that makes Google's client for an emulator."""
    with ExitStack() as stack:

        def connect(emulator: Emulator) -> tasks_v2.CloudTasksClient:
            channel = stack.enter_context(grpc.insecure_channel(emulator.host))
            transport = CloudTasksGrpcTransport(channel=channel)
            return tasks_v2.CloudTasksClient(transport=transport)

        yield connect


@pytest.fixture
def client(
    connect: Callable[[Emulator], tasks_v2.CloudTasksClient], emulator: Emulator
) -> tasks_v2.CloudTasksClient:
    return connect(emulator)
