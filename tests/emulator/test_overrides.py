from typing import Any

import pytest
from google.cloud import tasks_v2

from cloudtask.emulator.identity.credentials import DEFAULT_SCOPE, Credential
from cloudtask.emulator.tasks.queue_targets import overrides
from cloudtask.emulator.tasks.queue_targets.overrides import (
    Outline,
)
from cloudtask.emulator.values.errors import ApiError

URL = "https://task.example:8443/run?a=1"
IF_NOT_EXISTS = {"uri_override_enforce_mode": "IF_NOT_EXISTS"}


def request(**fields: Any) -> Any:
    fields = {"url": URL, "http_method": "POST"} | fields
    return tasks_v2.HttpRequest.pb(tasks_v2.HttpRequest(**fields))


def target(**fields: Any) -> Any:
    return tasks_v2.HttpTarget.pb(tasks_v2.HttpTarget(**fields))


def uri(**fields: Any) -> Any:
    return target(uri_override=fields)


def header(key: str, value: str) -> dict[str, dict[str, str]]:
    return {"header": {"key": key, "value": value}}


def path(text: str) -> dict[str, Any]:
    return {"path_override": {"path": text}}


def query(text: str) -> dict[str, Any]:
    return {"query_override": {"query_params": text}}


def test_a_task_of_a_queue_without_a_target_is_sent_as_it_is() -> None:
    own = request(http_method="PUT", headers={"X-a": "1"}, body=b"{}")

    assert overrides.outline_request(own, None) == Outline(
        URL, "PUT", {"X-a": "1"}, b"{}"
    )


@pytest.mark.parametrize(
    ("override", "url"),
    [
        ({}, URL),
        # Any part by itself; the others stay.
        ({"scheme": "HTTP"}, "http://task.example:8443/run?a=1"),
        ({"scheme": 0}, URL),  # Unspecified is HTTPS.
        ({"host": "queue.example"}, "https://queue.example:8443/run?a=1"),
        ({"host": "[::1]"}, "https://[::1]:8443/run?a=1"),
        ({"port": 9000}, "https://task.example:9000/run?a=1"),
        ({"port": 0}, "https://task.example/run?a=1"),
        (path("/do"), "https://task.example:8443/do?a=1"),
        (path("do"), "https://task.example:8443/do?a=1"),
        (path(""), "https://task.example:8443?a=1"),
        (query("b=2"), "https://task.example:8443/run?b=2"),
        (query(""), "https://task.example:8443/run"),
        # All at once.
        (
            {"scheme": "HTTP", "host": "q", "port": 80} | path("/do") | query("b=2"),
            "http://q:80/do?b=2",
        ),
        # The mode alone overrides nothing.
        ({"uri_override_enforce_mode": "ALWAYS"}, URL),
        (IF_NOT_EXISTS, URL),
        (
            {"host": "q", "uri_override_enforce_mode": "ALWAYS"},
            "https://q:8443/run?a=1",
        ),
        # What the task says stands.
        (
            {"scheme": "HTTP", "host": "q", "port": 80}
            | path("/do")
            | query("b=2")
            | IF_NOT_EXISTS,
            URL,
        ),
    ],
)
def test_the_parts_of_a_url_are_overridden(override: dict[str, Any], url: str) -> None:
    assert overrides.outline_request(request(), uri(**override)).url == url


@pytest.mark.parametrize(
    ("own", "url"),
    [
        ("https://task.example", "https://task.example/do?b=2"),
        ("https://task.example/", "https://task.example/?b=2"),
        ("https://task.example/run", "https://task.example/run?b=2"),
        ("https://task.example?a=1", "https://task.example/do?a=1"),
        ("", "https://q:9000/do?b=2"),  # Of a BufferTask.
    ],
)
def test_a_part_that_does_not_exist_is_supplied(own: str, url: str) -> None:
    override = {"host": "q", "port": 9000} | path("/do") | query("b=2") | IF_NOT_EXISTS

    assert overrides.outline_request(request(url=own), uri(**override)).url == url


@pytest.mark.parametrize(
    ("scheme", "url"),
    [("HTTP", "http://q"), ("HTTPS", "https://q"), (None, "https://q")],
)
def test_a_task_without_a_url_gets_all_from_the_queue(
    scheme: str | None, url: str
) -> None:
    override = {"host": "q"} | ({"scheme": scheme} if scheme else {})

    assert overrides.outline_request(request(url=""), uri(**override)).url == url


@pytest.mark.parametrize(
    ("own", "method", "expected"),
    [
        ("POST", 0, ("POST", b"x")),
        ("POST", "PUT", ("PUT", b"x")),
        ("POST", "PATCH", ("PATCH", b"x")),
        ("POST", "GET", ("GET", b"")),  # Which has no body.
        ("PUT", "DELETE", ("DELETE", b"")),
    ],
)
def test_the_method_is_overridden(
    own: str, method: Any, expected: tuple[str, bytes]
) -> None:
    sent = overrides.outline_request(
        request(http_method=own, body=b"x"), target(http_method=method)
    )

    assert (sent.method, sent.body) == expected


@pytest.mark.parametrize(
    ("own", "added", "body", "expected"),
    [
        ({"X-A": "1"}, [], b"", {"X-A": "1"}),
        ({"X-A": "1"}, [("X-B", "2")], b"", {"X-A": "1", "X-B": "2"}),
        # However either is written.
        ({"x-a": "1", "X-B": "2"}, [("X-A", "3")], b"", {"X-A": "3", "X-B": "2"}),
        ({}, [("X-A", "1"), ("x-a", "2")], b"", {"x-a": "2"}),
        # A body is JSON unless somebody says otherwise.
        ({}, [], b"x", {"Content-Type": "application/json"}),
        ({"content-type": "text/plain"}, [], b"x", {"content-type": "text/plain"}),
        ({}, [("content-type", "a/b")], b"x", {"content-type": "a/b"}),
    ],
)
def test_headers_are_overridden_and_added(
    own: dict[str, str],
    added: list[tuple[str, str]],
    body: bytes,
    expected: dict[str, str],
) -> None:
    sent = overrides.outline_request(
        request(headers=own, body=body),
        target(header_overrides=[header(*each) for each in added]),
    )

    assert sent.headers == expected


def oidc(audience: str = "") -> dict[str, Any]:
    token = {"service_account_email": "oidc@b.c", "audience": audience}
    return {"oidc_token": token}


def oauth(scope: str = "") -> dict[str, Any]:
    return {"oauth_token": {"service_account_email": "oauth@b.c", "scope": scope}}


@pytest.mark.parametrize(
    ("own", "of_queue", "expected"),
    [
        ({}, None, None),
        (oidc(), None, Credential("oidc", "oidc@b.c", audience=URL)),
        (oidc("shop"), None, Credential("oidc", "oidc@b.c", audience="shop")),
        (oauth(), None, Credential("oauth", "oauth@b.c", scope=DEFAULT_SCOPE)),
        (oauth("s"), None, Credential("oauth", "oauth@b.c", scope="s")),
        # A queue's token takes the place of any other.
        ({}, oidc("shop"), Credential("oidc", "oidc@b.c", audience="shop")),
        (oauth(), oidc("shop"), Credential("oidc", "oidc@b.c", audience="shop")),
        (oidc(), oauth("s"), Credential("oauth", "oauth@b.c", scope="s")),
        # The URL that is sent to, not the task's own.
        (
            oidc(),
            {"uri_override": {"host": "q"}},
            Credential("oidc", "oidc@b.c", audience="https://q:8443/run?a=1"),
        ),
    ],
)
def test_the_token_of_a_request(
    own: dict[str, Any], of_queue: dict[str, Any] | None, expected: Credential | None
) -> None:
    queues = None if of_queue is None else target(**of_queue)

    assert overrides.outline_request(request(**own), queues).credential == expected


def test_the_stored_request_stays_as_it_is() -> None:
    own = request(headers={"X-A": "1"}, body=b"x")
    before = own.SerializeToString()

    overrides.outline_request(
        own, target(http_method="GET", header_overrides=[header("X-A", "2")])
    )

    assert own.SerializeToString() == before


def test_a_buffered_task_has_a_body_and_headers_but_no_url() -> None:
    buffered = overrides.make_buffered_task(
        uri(host="q"), b"{}", {"Content-Type": "a/b"}
    )

    assert buffered == tasks_v2.Task.pb(
        tasks_v2.Task(http_request={"body": b"{}", "headers": {"Content-Type": "a/b"}})
    )


@pytest.mark.parametrize("queues", [target(), uri(scheme="HTTP"), uri(port=80)])
def test_a_queue_that_names_no_host_buffers_nothing(queues: Any) -> None:
    with pytest.raises(ApiError, match=r"uriOverride\.host"):
        overrides.make_buffered_task(queues, b"", {})


def test_the_repr_of_an_outline_shows_no_header_and_no_body() -> None:
    own = request(headers={"X-Key": "secret"}, body=b"secret")

    assert "secret" not in repr(overrides.outline_request(own, None))
