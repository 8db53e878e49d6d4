"""Requests as they come off a socket, lengths that lie included."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import uvicorn
from django.core.handlers.asgi import ASGIHandler

from cloudtask.wire.limits import MAX_BODY_BYTES
from tests import live, tasks
from tests.security import samples
from tests.security.sending import PATH, payload
from tests.security.tokens import SECRET

pytestmark = pytest.mark.usefixtures("secret")

Exchange = Callable[..., int | None]


@contextmanager
def _wsgi() -> Iterator[int]:
    with live.serve() as origin:
        yield urlsplit(origin).port or 0


@contextmanager
def _asgi() -> Iterator[int]:
    config = uvicorn.Config(
        ASGIHandler(), lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    with {"wsgi": _wsgi, "asgi": _asgi}[request.param]() as port:
        yield request.param, port


@pytest.fixture
def exchange(server: tuple[str, int]) -> Exchange:
    """Send bytes, perhaps say that they are all, and return the status."""

    def exchange(*parts: bytes, half_close: bool = False) -> int | None:
        with socket.create_connection(("127.0.0.1", server[1]), timeout=10) as sock:
            # The answer may come, and the connection go, before all is sent.
            with contextlib.suppress(OSError):
                for part in parts:
                    sock.sendall(part)
                if half_close:
                    sock.shutdown(socket.SHUT_WR)
            answer = sock.makefile("rb")
            line = answer.readline()
            with contextlib.suppress(ConnectionError):
                answer.read()
            return int(line.split()[1]) if line else None

    return exchange


def head(*lines: str, secret: str = SECRET) -> bytes:
    always = [f"POST {PATH} HTTP/1.1", "Host: shop.example", "Connection: close"]
    return "\r\n".join([*always, f"X-Task-Secret: {secret}", *lines, "", ""]).encode()


def sized(size: int) -> bytes:
    empty = payload(f"{samples.__name__}.catch_all", args=[""])
    return payload(f"{samples.__name__}.catch_all", args=["x" * (size - len(empty))])


def chunked(body: bytes, size: int = 65_536) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def test_a_body_of_the_announced_length_runs(exchange: Exchange) -> None:
    body = payload()

    assert exchange(head(f"Content-Length: {len(body)}"), body) == 200
    assert tasks.ran == [("add", 5, 4)]


def test_a_body_of_the_limit_runs_and_one_above_it_does_not(exchange: Exchange) -> None:
    for size, status in ((MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)):
        body = sized(size)
        assert exchange(head(f"Content-Length: {size}"), body) == status

    assert len(tasks.ran) == 1


def test_a_body_of_20_mb_is_refused(exchange: Exchange) -> None:
    # Some servers drop the connection before the answer is read.
    status = exchange(head("Content-Length: 20000000"), b" " * 20_000_000)

    assert status in (413, None)
    assert tasks.ran == []


def test_chunks_are_read_where_django_reads_them(
    server: tuple[str, int], exchange: Exchange
) -> None:
    status = exchange(head("Transfer-Encoding: chunked"), chunked(payload(), 7))

    # Django's WSGI handler reads no body without a length.
    assert status == {"wsgi": 400, "asgi": 200}[server[0]]
    assert len(tasks.ran) == {"wsgi": 0, "asgi": 1}[server[0]]


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 20_000_000])
def test_chunks_above_the_limit_never_run(
    server: tuple[str, int], exchange: Exchange, size: int
) -> None:
    status = exchange(head("Transfer-Encoding: chunked"), chunked(sized(size)))

    assert status in {"wsgi": (400, None), "asgi": (413, None)}[server[0]]
    assert tasks.ran == []


@pytest.mark.parametrize("missing", [1, 1000])
def test_a_body_shorter_than_announced_never_runs(
    exchange: Exchange, missing: int
) -> None:
    body = payload()

    announced = head(f"Content-Length: {len(body) + missing}")
    status = exchange(announced, body[:-1], half_close=True)

    assert status in (400, None)
    assert tasks.ran == []


def test_a_body_longer_than_announced_is_cut_and_never_runs(exchange: Exchange) -> None:
    body = payload()

    assert exchange(head(f"Content-Length: {len(body) - 1}"), body) == 400
    assert tasks.ran == []


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: x",),
        ("Content-Length: 1e3",),
        ("Content-Length: 99999999999999999999999",),
        ("Content-Length: 10", "Content-Length: 168"),
        ("Content-Length: 10, 168",),
        ("Content-Length: 10", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: identity",),
    ],
    ids="; ".join,
)
def test_lengths_that_contradict_themselves_are_refused(
    exchange: Exchange, lines: tuple[str, ...]
) -> None:
    status = exchange(head(*lines), payload(), half_close=True)

    assert status is None or 400 <= status < 500 or status == 501
    assert tasks.ran == []


def test_whoever_is_refused_is_answered_before_the_body_is_sent() -> None:
    with _wsgi() as port, socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(head("Content-Length: 1000000", secret="wrong"))

        assert sock.makefile("rb").readline().split()[1] == b"403"


def test_two_credentials_in_one_request_are_refused(exchange: Exchange) -> None:
    body = payload()
    doubled = head(f"X-Task-Secret: {SECRET}", f"Content-Length: {len(body)}")

    status = exchange(doubled, body)

    assert status == 403
    assert tasks.ran == []
