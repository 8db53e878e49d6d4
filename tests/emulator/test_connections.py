"""The status decides: what a target sends after an answer changes nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import pytest
from google.cloud import tasks_v2

from cloudtask.emulator import Emulator
from cloudtask.emulator.tasks.sending.journal import Attempt

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 3\r\n\r\nno!"

#: What a target writes, and what it still has to write at the next request.
ANSWERS: dict[str, tuple[bytes, bytes]] = {
    "at once": (NO_CONTENT + b"\r\nok", b""),
    "at once, announced": (NO_CONTENT + b"Content-Length: 2\r\n\r\nok", b""),
    "later": (NO_CONTENT + b"\r\n", b"ok"),
    "later, announced": (NO_CONTENT + b"Content-Length: 2\r\n\r\n", b"ok"),
    "later, chunked": (
        NO_CONTENT + b"Transfer-Encoding: chunked\r\n\r\n",
        b"2\r\nok\r\n0\r\n\r\n",
    ),
    "and the connection ends": (
        NO_CONTENT + b"Content-Length: 2\r\nConnection: close\r\n\r\nok",
        b"",
    ),
    "as another answer": (NO_CONTENT + b"\r\n" + WHOLE, b""),
    "as another answer, later": (NO_CONTENT + b"\r\n", WHOLE),
    "after a provisional answer": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + NO_CONTENT
        + b"\r\nok",
        b"",
    ),
    "after lines that end in a line feed": (b"HTTP/1.1 204 Fine\n\nok", b""),
    "though none was announced": (OK + b"Content-Length: 0\r\n\r\nok", b""),
    "more than announced": (OK + b"Content-Length: 2\r\n\r\nokay", b""),
    "more than announced, as another answer": (
        OK + b"Content-Length: 2\r\n\r\nok" + WHOLE,
        b"",
    ),
    "after the last chunk": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nokay",
        b"",
    ),
}


class RawTarget:
    """Gives every request the same answer, on connections that stay open."""

    def __init__(self, answer: bytes, late: bytes = b"") -> None:
        self._answer = answer
        self._late = late
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(
                    target=self._serve, args=(connection,), daemon=True
                ).start()

    def _serve(self, connection: socket.socket) -> None:
        late = b""
        with closing(connection), suppress(OSError):
            while connection.recv(65_536):
                connection.sendall(late + self._answer)
                late = self._late


@pytest.fixture
def serve() -> Iterator[Callable[..., RawTarget]]:
    with ExitStack() as stack:
        yield lambda *answer: stack.enter_context(closing(RawTarget(*answer)))


@pytest.fixture
def run(
    start: Callable[..., Emulator],
    connect: Callable[[Emulator], tasks_v2.CloudTasksClient],
) -> Callable[..., list[Attempt]]:
    """Return a function that sends tasks one after the other, once each."""
    # One at a time, so that a connection could be used again.
    emulator = start(["default:concurrency=1,max_attempts=1"])
    client, path = connect(emulator), emulator.queue_path("default")

    def run(url: str, method: str = "POST", times: int = 4) -> list[Attempt]:
        request = {"url": url, "http_method": method}
        for _ in range(times):
            client.create_task(parent=path, task={"http_request": request})
        emulator.wait_for(lambda: emulator.idle)
        return emulator.attempts

    return run


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_bytes_after_an_answer_fail_no_attempt(
    run: Callable[..., list[Attempt]],
    serve: Callable[..., RawTarget],
    answer: tuple[bytes, bytes],
) -> None:
    target = serve(*answer)

    attempts = run(target.url)

    assert [each.outcome for each in attempts] == ["done"] * 4
    assert target.connections == 4


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("HEAD", b"200 OK"),
        ("HEAD", b"204 No Content"),
        ("GET", b"304 Not Modified"),
        ("GET", b"101 Switching Protocols"),
    ],
)
def test_the_body_of_an_answer_that_has_none_is_never_read(
    run: Callable[..., list[Attempt]],
    serve: Callable[..., RawTarget],
    method: str,
    status: bytes,
) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n"

    attempts = run(serve(head, b"ok").url, method, times=2)

    assert [each.status for each in attempts] == [int(status[:3])] * 2


def test_a_connection_is_used_again_after_a_whole_answer(
    run: Callable[..., list[Attempt]],
    serve: Callable[..., RawTarget],
) -> None:
    target = serve(OK + b"Content-Length: 2\r\n\r\nok")

    run(target.url)

    assert target.connections == 1


def test_a_body_that_breaks_off_fails_the_attempt(
    run: Callable[..., list[Attempt]],
    serve: Callable[..., RawTarget],
) -> None:
    target = serve(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")

    [attempt] = run(target.url, times=1)

    assert (attempt.status, attempt.outcome) == (None, "gave up")
