"""Fixtures of the security tests: clocks, a key server, both handlers."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper

from cloudtask.auth import keys, tokens
from tests.clocks import set_clock
from tests.security.keyserver import KeyServer, serve
from tests.security.sending import Send, send_asgi, send_wsgi
from tests.security.tokens import NOW, SECRET, TOKENS_ONLY


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._calls = 0
        self._called = threading.Condition()

    def __call__(self) -> float:
        with self._called:
            self._calls += 1
            self._called.notify_all()
            return self.now

    def wait_for_calls(self, number: int) -> None:
        with self._called:
            assert self._called.wait_for(lambda: self._calls >= number, 10)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of day that tokens are looked at."""
    clock = Clock(NOW)
    set_clock(monkeypatch, clock)
    return clock


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which keys grow old."""
    clock = Clock(5000.0)
    monkeypatch.setattr(keys, "monotonic", clock)
    return clock


@pytest.fixture(params=["wsgi", "asgi"])
def send(request: pytest.FixtureRequest) -> Send:
    """Send a dispatch through one handler, then the other."""
    return {"wsgi": send_wsgi, "asgi": send_asgi}[request.param]


@pytest.fixture(scope="session")
def _key_server() -> Iterator[KeyServer]:
    with serve() as server:
        yield server


@pytest.fixture
def key_server(_key_server: KeyServer) -> Iterator[KeyServer]:
    """A key server that nothing is configured to ask."""
    _key_server.reset()
    yield _key_server
    _key_server.gate.set()


@pytest.fixture
def google(
    key_server: KeyServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> KeyServer:
    """Google's keys, where tokens are the one credential."""
    monkeypatch.setattr(tokens, "GOOGLE_KEYS_URL", key_server.url)
    settings.CLOUDTASK = {**TOKENS_ONLY}
    return key_server


@pytest.fixture
def secret(settings: Any) -> str:
    """The one credential that CLOUDTASK then knows."""
    settings.CLOUDTASK = {"SECRET": SECRET}
    return SECRET


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Aliases of the databases that anybody asked, in whatever thread."""
    asked: list[str] = []

    def ensure_connection(self: Any) -> None:
        asked.append(self.alias)

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", ensure_connection)
    return asked
