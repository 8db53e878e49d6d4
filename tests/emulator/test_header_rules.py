"""Headers that are not the task's to set, and those that nobody can send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud import tasks_v2

from cloudtask.emulator import Emulator
from tests.emulator.calls import post
from tests.emulator.conftest import Target

Client = tasks_v2.CloudTasksClient

FRAMING = {
    "Transfer-Encoding": "chunked",
    "content-length": "99",
    "Connection": "close, X-Kept",
    "Keep-Alive": "timeout=5",
    "TE": "trailers",
    "Trailer": "X-After",
    "Upgrade": "websocket",
    "Proxy-Connection": "keep-alive",
    "Expect": "100-continue",
    "HTTP2-Settings": "AAMAAABk",
    "HOST": "evil.example",
}


def http_target(target: Target, **fields: Any) -> dict[str, Any]:
    """Return an HttpTarget that leads to a target."""
    parts = urlsplit(target.url)
    uri = {"scheme": "HTTP", "host": parts.hostname, "port": parts.port}
    return {"uri_override": uri, "http_method": "POST", **fields}


def overrides(headers: dict[str, str]) -> list[dict[str, Any]]:
    return [{"header": {"key": k, "value": v}} for k, v in headers.items()]


@pytest.mark.parametrize("where", ["task", "queue", "App Engine"])
def test_the_framing_of_a_request_is_not_the_tasks(
    start: Callable[..., Emulator],
    connect: Callable[[Emulator], Client],
    target: Target,
    where: str,
) -> None:
    emulator = start(app_engine_url=target.url.removesuffix("/run"))
    client, path = connect(emulator), emulator.queue_path("default")
    headers = FRAMING | {"X-Kept": "1"}
    task: dict[str, Any] = {"http_request": {"url": target.url, "body": b"hello"}}
    if where == "task":
        task["http_request"]["headers"] = headers
    elif where == "queue":
        given = http_target(target, header_overrides=overrides(headers))
        client.update_queue(queue={"name": path, "http_target": given})
    else:
        task = {"app_engine_http_request": {"body": b"hello", "headers": headers}}

    client.create_task(parent=path, task=task)
    emulator.wait_for(lambda: emulator.idle)

    [received] = target.received
    sent = [(name.lower(), value) for name, value in received.headers]
    framing = {name.lower() for name in FRAMING}
    assert sorted(each for each in sent if each[0] in framing) == [
        ("content-length", "5"),
        ("host", urlsplit(target.url).netloc),
    ]
    assert received.header("X-Kept") == "1"
    assert received.body == b"hello"


BAD = [
    *(
        {name: "1"}
        for name in ("", "X Y", "X:Y", "X\n", "X\r\nX-Worse", "größe", "X\0")
    ),
    *({"X-Mine": f"secret{bad}"} for bad in ("\r\nX-Worse: 1", "\n", "\0", "\x7f")),
]


@pytest.mark.parametrize("headers", BAD, ids=[repr(bad) for bad in BAD])
def test_a_header_that_http_cannot_express_is_refused(
    emulator: Emulator, client: Client, target: Target, headers: dict[str, str]
) -> None:
    path = emulator.queue_path("default")
    task = {"http_request": {"url": target.url, "headers": headers}}
    app_engine = {"app_engine_http_request": {"headers": headers}}
    queue = {
        "name": f"{path}-2",
        "http_target": http_target(target, header_overrides=overrides(headers)),
    }

    for call in (
        lambda: client.create_task(parent=path, task=task),
        lambda: client.create_task(parent=path, task=app_engine),
        lambda: client.create_queue(parent=emulator.parent, queue=queue),
        lambda: client.update_queue(queue={**queue, "name": path}),
    ):
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert "secret" not in caught.value.message
    batch = client.batch_create_tasks(
        request={"parent": path, "requests": [{"parent": path, "task": task}]}
    )
    assert "None of the requests succeeded" in str(batch.exception())
    over_rest = post(
        emulator,
        f"/v2/{path}/tasks",
        {"task": {"httpRequest": {"url": target.url, "headers": headers}}},
    )
    assert (over_rest.status, over_rest.json["error"]["status"]) == (
        400,
        "INVALID_ARGUMENT",
    )
    assert emulator.pending == 0


def test_a_value_may_have_a_tab_and_any_letter(
    emulator: Emulator, client: Client, target: Target
) -> None:
    headers = {"X-Mine": "a\tb", "!#$%&'*+-.^_`|~": "größe"}
    task = {"http_request": {"url": target.url, "headers": headers}}

    client.create_task(parent=emulator.queue_path("default"), task=task)
    emulator.wait_for(lambda: emulator.idle)

    assert target.received[0].header("X-Mine") == "a\tb"


def test_a_buffered_task_takes_over_nothing_that_is_its_callers(
    emulator: Emulator, client: Client, target: Target
) -> None:
    path = emulator.queue_path("default")
    client.update_queue(queue={"name": path, "http_target": http_target(target)})
    client.pause_queue(name=path)
    callers = {
        "Authorization": "Bearer secret",
        "Cookie": "session=secret",
        "Proxy_Authorization": "Basic secret",
        "X_Serverless_Authorization": "Bearer secret",
        "X_Goog_Api_Key": "secret",
        "TE": "trailers",
        "Keep_Alive": "timeout=5",
        "Connection": "close, X-Hop",
        "X_Hop": "secret",
    }

    answer = post(
        *(emulator, f"/v2/{path}/tasks:buffer", b"hello"),
        **{**callers, "X_Shop": "1", "Content_Type": "text/plain"},
    )
    name = answer.json["task"]["name"]
    stored = client.get_task(name=name).http_request.headers
    client.resume_queue(name=path)
    emulator.wait_for(lambda: emulator.idle)

    assert (stored["X-Shop"], stored["Content-Type"]) == ("1", "text/plain")
    [received] = target.received
    for headers in (dict(stored), dict(received.headers)):
        assert "secret" not in str(headers)
        dropped = {name.replace("_", "-").lower() for name in callers}
        assert not dropped & {name.lower() for name in headers}
    assert received.body == b"hello"
    assert "Host" not in stored
