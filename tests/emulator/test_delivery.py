import asyncio
import socket
from typing import Any

import pytest

from cloudtask.emulator.delivery import HttpDelivery
from cloudtask.emulator.dispatches import Answer, Dispatch
from cloudtask.emulator.instants import SECOND
from tests.emulator.conftest import Target
from tests.emulator.samples import NOW, QUEUE


def dispatch(url: str, **changes: Any) -> Dispatch:
    values = {
        "task": f"{QUEUE}/tasks/t1",
        "queue": QUEUE,
        "ticket": 1,
        "attempt": 1,
        "url": url,
        "method": "POST",
        "headers": {},
        "body": b"",
        "credential": None,
        "deadline": 10 * SECOND,
        "dispatch_time": NOW,
    }
    return Dispatch(**values | changes)


def send(sent: Dispatch, headers: dict[str, str] | None = None) -> Answer:
    async def main() -> Answer:
        async with HttpDelivery(lambda: NOW) as delivery:
            return await delivery.send(sent, headers or {})

    return asyncio.run(main())


def test_a_request_is_sent_as_it_is_and_nothing_is_added(target: Target) -> None:
    headers = {"User-Agent": "Google-Cloud-Tasks", "x-Odd-CASE": "1", "X-Empty": ""}

    answer = send(dispatch(f"{target.url}/%zz%2F?a=%20b", body=b"hi"), headers)

    [received] = target.received
    assert answer == Answer(200)
    assert received.method == "POST"
    assert received.path == "/run/%zz%2F?a=%20b"
    assert received.body == b"hi"
    host = target.url.split("/")[2]
    assert dict(received.headers) == headers | {"Host": host, "Content-Length": "2"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_every_method_is_sent(target: Target, method: str) -> None:
    assert send(dispatch(target.url, method=method)) == Answer(200)
    assert target.received[0].method == method


def test_a_redirect_is_an_answer(target: Target) -> None:
    target.answers = [(302, {"Location": target.url})]

    assert send(dispatch(target.url)) == Answer(302)
    assert len(target.received) == 1


def test_a_body_is_passed_over(target: Target) -> None:
    # Not even decoded: it is no gzip.
    target.answers = [(500, {"Content-Length": "99999", "Content-Encoding": "gzip"})]

    assert send(dispatch(target.url)) == Answer(500)


def test_retry_after_is_read_from_the_answer(target: Target) -> None:
    target.answers = [(503, {"Retry-After": "3"})]

    assert send(dispatch(target.url)) == Answer(503, retry_at=NOW + 3 * SECOND)


def test_no_answer_within_the_deadline_is_a_timeout(target: Target) -> None:
    target.gate.clear()

    assert send(dispatch(target.url, deadline=SECOND // 20)) == Answer(
        timed_out=True, error="no answer within the deadline"
    )


def test_nobody_listening_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        answer = send(dispatch(f"http://127.0.0.1:{port}/"))

    assert answer.status is None
    assert answer.error is not None
    assert "Cannot connect to host 127.0.0.1" in answer.error


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://", {}),  # No host.
        ("http://127.0.0.1:99999/", {}),  # No port.
        ("http://127.0.0.1:9/", {"X-Bad": "a\r\nb"}),  # A header that splits.
    ],
)
def test_what_http_cannot_express_is_no_answer(
    url: str, headers: dict[str, str]
) -> None:
    answer = send(dispatch(url), headers)

    assert answer.status is None
    assert not answer.timed_out
    assert answer.error


def test_a_public_target_is_never_connected_to() -> None:
    answer = send(dispatch("http://169.254.169.254/computeMetadata/v1/"))

    assert answer.status is None
    assert answer.error == (
        "169.254.169.254 is not on this machine or network. Allow such targets "
        "with --allow-public-targets."
    )


def test_a_local_target_is_sent_to_where_public_ones_are_allowed(
    target: Target,
) -> None:
    async def main() -> Answer:
        delivery = HttpDelivery(lambda: NOW, allow_public_targets=True)
        async with delivery:
            return await delivery.send(dispatch(target.url), {})

    assert asyncio.run(main()) == Answer(200)
