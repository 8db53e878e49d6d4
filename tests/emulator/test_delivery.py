import asyncio
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from cloudtask.emulator.targets.delivery import MAX_KEPT_BYTES, HttpDelivery
from cloudtask.emulator.targets.messages import Answer, Request
from cloudtask.emulator.tasks.model.dispatch import read_retry_after
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.conftest import Target
from tests.emulator.samples import NOW

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"


def send(
    url: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    body: bytes = b"",
    deadline: int = 10 * SECOND,
    **options: Any,
) -> Answer:
    async def main() -> Answer:
        async with HttpDelivery(**options) as delivery:
            return await delivery.send(
                Request(url, method, headers or {}, body, deadline)
            )

    return asyncio.run(main())


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], object]], str]]:
    """Return a function that serves one connection and gives its URL."""
    with ExitStack() as stack:

        def serve(answer: Callable[[socket.socket], object]) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def run() -> None:
                connection, _ = listener.accept()
                with closing(connection):
                    connection.recv(65_536)
                    answer(connection)

            thread = threading.Thread(target=run)
            thread.start()
            stack.callback(thread.join)
            return f"http://127.0.0.1:{listener.getsockname()[1]}/"

        yield serve


def test_a_request_is_sent_as_it_is_and_nothing_is_added(target: Target) -> None:
    headers = {"User-Agent": "Google-Cloud-Tasks", "x-Odd-CASE": "1", "X-Empty": ""}

    answer = send(f"{target.url}/%zz%2F?a=%20b", headers, body=b"hi")

    [received] = target.received
    assert answer == Answer(200)
    assert received.method == "POST"
    assert received.path == "/run/%zz%2F?a=%20b"
    assert received.body == b"hi"
    host = target.url.split("/")[2]
    assert dict(received.headers) == headers | {"Host": host, "Content-Length": "2"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_every_method_is_sent(target: Target, method: str) -> None:
    assert send(target.url, method=method) == Answer(200)
    assert target.received[0].method == method


def test_a_redirect_is_an_answer(target: Target) -> None:
    target.answers = [(302, {"Location": target.url})]

    assert send(target.url) == Answer(302)
    assert len(target.received) == 1


def test_the_beginning_of_a_body_is_kept(target: Target) -> None:
    # Not even decoded: it is not gzip.
    target.answers = [(500, {"Content-Length": "99999", "Content-Encoding": "gzip"})]

    answer = send(target.url)

    assert answer == Answer(500, body=b"x" * MAX_KEPT_BYTES, size=99_999)


def test_a_cookie_is_not_sent_back(target: Target) -> None:
    target.answers = [(200, {"Set-Cookie": "a=b"})]

    async def main() -> None:
        async with HttpDelivery() as delivery:
            for _ in range(2):
                await delivery.send(Request(target.url, "POST", {}, b"", SECOND))

    asyncio.run(main())

    assert [received.header("Cookie") for received in target.received] == [None, None]


def test_retry_after_is_read_from_the_answer(target: Target) -> None:
    target.answers = [(503, {"Retry-After": "3"})]

    assert send(target.url) == Answer(503, retry_after="3")


def test_no_answer_within_the_deadline_is_a_timeout(target: Target) -> None:
    target.gate.clear()

    assert send(target.url, deadline=SECOND // 20) == Answer(
        timed_out=True, error="no answer within the deadline"
    )


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",  # Until the connection ends.
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n",
    ],
)
def test_an_endless_body_ends_at_the_deadline_and_is_not_kept(
    serve: Callable[..., str], head: bytes
) -> None:
    block = bytes(1 << 20)
    streamed = 0

    def stream(connection: socket.socket) -> None:
        nonlocal streamed
        connection.sendall(head)
        try:
            while True:
                connection.sendall(block)
                streamed += len(block)
        except OSError:  # The emulator has had enough.
            pass

    url = serve(stream)
    tracemalloc.start()
    answer = send(url, deadline=SECOND)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert answer == Answer(timed_out=True, error="no answer within the deadline")
    assert most < 2 << 20 < streamed


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (OK + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n", 200),
        (OK + b"Set-Cookie: \xff;;=;max-age=99999999999999999999\r\n\r\n", 200),
        (OK + b"Content-Type: \xff/;charset=;;\r\n\r\n", 200),
        (OK + b"Location: http://[::1\r\nLink: <>;=\r\n\r\n", 200),
        (OK + b"Retry-After: " + b"9" * 5000 + b"\r\n\r\n", 200),
        (OK + b"Retry-After: Mon, 1 Jun 99999999999 1:1:1 GMT\r\n\r\n", 200),
        (OK + b"Retry-After: Mon, 1 Jun 2026 1:1:1 +9999999999\r\n\r\n", 200),
        (OK + b"Retry-After: \xff\xfe\r\n\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + OK + b"\r\n", 200),
        (b"HTTP/1.1 999 \xff\r\nContent-Length: 0\r\n\r\n", 999),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200),
        (OK + b"Content-Length: 7\r\n\r\n", None),
        (OK + b": no name\r\n\r\n", None),
        (OK + b"".join(b"X-%d: x\r\n" % n for n in range(9999)) + b"\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None),
        (b"HTTP/1.1 nonsense\r\n\r\n", None),
        (b"SSH-2.0-OpenSSH_9.9\r\n", None),
        (b"\x00" * 100, None),
        (b"", None),
    ],
)
def test_whatever_a_target_answers_is_an_answer(
    serve: Callable[..., str], response: bytes, status: int | None
) -> None:
    url = serve(lambda connection: connection.sendall(response))

    answer = send(url)

    assert answer.status == status
    assert (answer.error is None) is (status is not None)
    assert read_retry_after(answer.retry_after, NOW) is None
    assert not answer.timed_out


def test_nobody_listening_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        answer = send(f"http://127.0.0.1:{port}/")

    assert answer == Answer(
        error=f"no connection to 127.0.0.1:{port}: Connection refused"
    )


def test_a_name_that_nobody_has_is_no_answer() -> None:
    answer = send("http://nobody.invalid/")

    assert answer.status is None
    assert answer.error is not None
    # In the words of the machine's resolver.
    assert answer.error.startswith("no connection to nobody.invalid:80: ")
    assert "Errno" not in answer.error


def test_a_connection_that_is_closed_at_once_is_no_answer(
    serve: Callable[..., str],
) -> None:
    url = serve(lambda connection: None)

    answer = send(url.replace("http://", "https://"))

    assert answer.status is None
    assert answer.error is not None
    assert answer.error.startswith("no connection to 127.0.0.1:")


def test_a_certificate_that_nobody_trusts_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = ConnectionKey("127.0.0.1", 443, True, True, None, None, None)
    error = aiohttp.ClientConnectorCertificateError(key, Exception("self-signed"))

    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(aiohttp.ClientSession, "request", refuse)

    assert send("https://127.0.0.1/") == Answer(
        error="no connection to 127.0.0.1:443: self-signed"
    )


@pytest.mark.parametrize(
    ("url", "error"),
    [
        # No host.
        ("http://", "not a URL that anything can be sent to: http://"),
        ("https:///run", "not a URL that anything can be sent to: https:///run"),
        ("http://127.0.0.1:99999/", "Port out of range 0-65535"),
        ("http://[::1/", "Invalid IPv6 URL"),
        ("http://a..b/", "label empty"),
    ],
)
def test_a_url_that_leads_nowhere_is_no_answer(url: str, error: str) -> None:
    answer = send(url)

    assert answer.status is None
    assert not answer.timed_out
    assert answer.error is not None
    assert error in answer.error


def test_a_header_that_http_cannot_express_is_no_answer(target: Target) -> None:
    answer = send(target.url, {"X-Bad": "a\r\nX-Worse: b"})

    assert answer.status is None
    assert answer.error
    assert target.received == []


def test_a_public_target_is_never_connected_to() -> None:
    answer = send("http://8.8.8.8/")

    assert answer.status is None
    assert answer.error == (
        "8.8.8.8 is not on this machine or network. Allow such targets with "
        "--allow-public-targets."
    )


def test_a_local_target_is_sent_to_where_public_ones_are_allowed(
    target: Target,
) -> None:
    assert send(target.url, allow_public_targets=True) == Answer(200)
