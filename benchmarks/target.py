"""
The server that the emulators dispatch to, in a process of its own.

It answers 200 at once, or after 20 ms below `/slow`, and keeps when a request
came and how long after its schedule time. `GET /arrivals/N` is answered with
the first N of them, once they are there, and forgets them.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW_SECONDS = 0.02
_TIMEOUT_SECONDS = 600
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Arrivals:
    """Requests in the order in which they came, in seconds."""

    times: list[float]
    lags: list[float]

    @property
    def rate(self) -> float:
        """Requests a second, from the first to the last."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


@dataclass(frozen=True)
class Target:
    """The running server."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/run"

    @property
    def slow_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/slow"

    def wait(self, count: int) -> Arrivals:
        """Return the next `count` requests once they are there."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=_TIMEOUT_SECONDS
        )
        try:
            connection.request("GET", f"/arrivals/{count}")
            return Arrivals(**json.load(connection.getresponse()))
        finally:
            connection.close()


@contextmanager
def running() -> Iterator[Target]:
    command = [sys.executable, "-m", "benchmarks.target"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Target(int(process.stdout.readline()))
        finally:
            process.terminate()


class _Recorder:
    """What came, and who waits for how much of it."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._lags: list[float] = []
        self._wanted = 0
        self._waiting: asyncio.Transport | None = None

    def add(self, eta: float) -> None:
        now = time()
        self._times.append(now)
        self._lags.append(now - eta)
        self._answer()

    def wait(self, count: int, transport: asyncio.Transport) -> None:
        self._wanted, self._waiting = count, transport
        self._answer()

    def _answer(self) -> None:
        count = self._wanted
        if self._waiting is None or len(self._times) < count:
            return
        arrivals = {"times": self._times[:count], "lags": self._lags[:count]}
        del self._times[:count], self._lags[:count]
        body = json.dumps(arrivals).encode()
        self._waiting.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        self._waiting = None


class _Connection(asyncio.Protocol):
    """HTTP/1.1 as far as it takes to cost next to nothing."""

    def __init__(self, recorder: _Recorder) -> None:
        self._recorder = recorder
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            if not blank:
                return
            head = head.lower()
            length = int(_header(head, b"content-length") or 0)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._request(head)

    def _request(self, head: bytes) -> None:
        if head.startswith(b"get /arrivals/"):
            count = int(head.split(b" ", 2)[1].rpartition(b"/")[2])
            self._recorder.wait(count, self._transport)
            return
        self._recorder.add(float(_header(head, b"x-cloudtasks-tasketa") or 0))
        if b" /slow" in head[:16]:
            loop = asyncio.get_running_loop()
            loop.call_later(SLOW_SECONDS, self._answer, head)
        else:
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        self._transport.write(_ANSWER)
        if _header(head, b"connection") == b"close":
            self._transport.close()


def _header(head: bytes, name: bytes) -> bytes:
    _, _, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0]


async def _serve() -> None:
    recorder = _Recorder()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(recorder), "127.0.0.1", backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
