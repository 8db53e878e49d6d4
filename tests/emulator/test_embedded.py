"""The whole emulator against a real target."""

import json
import logging
import socket
import threading
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from google.auth import jwt
from google.cloud import tasks_v2
from google.oauth2 import id_token

import cloudtask.emulator
from cloudtask.emulator import ApiError, Attempt, Emulator
from cloudtask.emulator.tokens import DEFAULT_ISSUER
from tests.emulator.conftest import Target

Client = tasks_v2.CloudTasksClient
Connect = Callable[[Emulator], Client]
Start = Callable[..., Emulator]


class Response:
    def __init__(self, status: int, data: bytes) -> None:
        self.status = status
        self.data = data


def fetch(url: str, method: str = "GET", **kwargs: object) -> Response:
    """Be the transport that google-auth fetches keys with."""
    with urllib.request.urlopen(url) as response:  # noqa: S310
        return Response(response.status, response.read())


def create(
    client: Client, emulator: Emulator, url: str, **fields: object
) -> tasks_v2.Task:
    http = fields.pop("http", {})
    assert isinstance(http, dict)
    return client.create_task(
        parent=emulator.queue_path("default"),
        task={"http_request": {"url": url} | http} | fields,
    )


def test_a_task_is_sent_to_its_target(
    emulator: Emulator, client: Client, target: Target
) -> None:
    http = {"body": b'{"a": 1}', "headers": {"content-TYPE": "application/json"}}

    task = create(client, emulator, target.url, http=http)
    emulator.wait_for(lambda: emulator.idle)

    [received] = target.received
    assert received.body == b'{"a": 1}'
    assert received.header("content-TYPE") == "application/json"
    assert received.header("X-CloudTasks-TaskName") == task.name.rpartition("/")[2]
    [attempt] = emulator.attempts
    assert attempt.name == task.name
    assert attempt.url == target.url
    assert (attempt.number, attempt.status, attempt.outcome) == (1, 200, "done")
    assert attempt.headers.items() <= dict(received.headers).items()
    assert attempt.dispatch_time <= attempt.response_time
    assert attempt.retry_time is None


def test_a_task_is_retried_until_it_succeeds(
    emulator: Emulator, client: Client, target: Target
) -> None:
    target.answers = [503, 404, 302]

    create(client, emulator, target.url)
    emulator.wait_for(lambda: emulator.idle)

    assert [attempt.status for attempt in emulator.attempts] == [503, 404, 302, 200]
    assert [attempt.outcome for attempt in emulator.attempts] == [
        *["retry"] * 3,
        "done",
    ]
    counts = [
        (
            received.header("X-CloudTasks-TaskRetryCount"),
            received.header("X-CloudTasks-TaskExecutionCount"),
            received.header("X-CloudTasks-TaskPreviousResponse"),
            received.header("X-CloudTasks-TaskRetryReason"),
        )
        for received in target.received
    ]
    assert counts == [
        ("0", "0", None, None),
        ("1", "0", "503", ""),
        ("2", "1", "404", ""),
        ("3", "2", "302", ""),
    ]
    for before, after in pairwise(emulator.attempts):
        assert before.retry_time is not None
        assert after.dispatch_time >= before.retry_time


def test_a_task_without_attempts_left_is_given_up(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start([])
    path = emulator.create_queue(
        "default", max_attempts=2, min_backoff=timedelta(milliseconds=5)
    )
    target.answers = [500, 500]

    task = create(connect(emulator), emulator, target.url)
    emulator.wait_for(lambda: emulator.idle)

    assert task.name.startswith(f"{path}/tasks/")
    assert [attempt.outcome for attempt in emulator.attempts] == ["retry", "gave up"]


def test_an_unreachable_target_is_a_failed_attempt(
    start: Start, connect: Connect
) -> None:
    emulator = start(["default:max_attempts=1"])
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        create(connect(emulator), emulator, f"http://127.0.0.1:{port}/")
        emulator.wait_for(lambda: emulator.idle)

    [attempt] = emulator.attempts
    assert (attempt.status, attempt.outcome) == (None, "gave up")


def test_a_task_waits_for_its_schedule_time(
    emulator: Emulator, client: Client, target: Target
) -> None:
    moment = datetime.now(UTC) + timedelta(microseconds=150_001)

    create(client, emulator, target.url, schedule_time=moment)
    create(
        client, emulator, target.url, schedule_time=moment + timedelta(milliseconds=50)
    )
    emulator.wait_for(lambda: emulator.idle)

    first, second = emulator.attempts
    assert first.dispatch_time >= moment
    assert second.dispatch_time >= moment + timedelta(milliseconds=50)
    eta = target.received[0].header("X-CloudTasks-TaskETA")
    assert eta == f"{int(moment.timestamp())}.{moment.microsecond:06d}"


def test_a_queue_is_limited_to_its_concurrency(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start(["default:max_concurrent_dispatches=1"])
    client = connect(emulator)

    for _ in range(3):
        create(client, emulator, target.url)
    emulator.wait_for(lambda: emulator.idle)

    attempts = emulator.attempts
    assert len(attempts) == 3
    for before, after in pairwise(attempts):
        assert after.dispatch_time >= before.response_time


def test_an_oidc_token_passes_google_auths_verification(
    emulator: Emulator, client: Client, target: Target
) -> None:
    token = {"service_account_email": "tasks@demo.example", "audience": "shop"}
    headers = {"AUTHORIZATION": "Basic mine"}

    create(client, emulator, target.url, http={"oidc_token": token, "headers": headers})
    emulator.wait_for(lambda: emulator.idle)

    [received] = target.received
    assert "AUTHORIZATION" not in dict(received.headers)
    scheme, _, value = str(received.header("Authorization")).partition(" ")
    assert scheme == "Bearer"
    claims = id_token.verify_token(
        value,
        fetch,
        audience="shop",
        certs_url=f"{emulator.http_url}/certs",
        clock_skew_in_seconds=10,
    )
    assert claims["iss"] == DEFAULT_ISSUER
    assert claims["email"] == "tasks@demo.example"


def test_a_token_of_another_emulator_does_not_pass(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator, other = start(), start()
    token = {"service_account_email": "tasks@demo.example"}

    create(connect(emulator), emulator, target.url, http={"oidc_token": token})
    emulator.wait_for(lambda: emulator.idle)

    value = str(target.received[0].header("Authorization")).removeprefix("Bearer ")
    certificates = json.loads(fetch(f"{other.http_url}/certs").data)
    with pytest.raises(ValueError, match="not found"):
        jwt.decode(value, certs=certificates)
    assert jwt.decode(value, verify=False)["aud"] == target.url


def test_two_emulators_do_not_share_tasks(
    start: Start, connect: Connect, target: Target
) -> None:
    one, two = start(), start()

    create(connect(one), one, target.url)
    one.wait_for(lambda: one.idle)

    assert len(one.attempts) == 1
    assert two.attempts == []
    assert one.host != two.host
    assert one.http_url != two.http_url


def test_the_hook_sees_every_attempt(
    start: Start, connect: Connect, target: Target
) -> None:
    seen: list[Attempt] = []
    emulator = start(on_attempt=seen.append)

    create(connect(emulator), emulator, target.url)
    emulator.wait_for(lambda: seen)

    assert seen == emulator.attempts


def test_a_hook_that_fails_is_logged_and_passed_over(
    start: Start,
    connect: Connect,
    target: Target,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(attempt: Attempt) -> None:
        raise LookupError("mine")

    emulator = start(["default:min_backoff=0.01"], on_attempt=fail)
    target.answers = [500]

    with caplog.at_level(logging.ERROR, "cloudtask.emulator"):
        create(connect(emulator), emulator, target.url)
        emulator.wait_for(lambda: emulator.idle)
        emulator.stop()

    assert len(emulator.attempts) == 2
    assert caplog.messages == [
        f"on_attempt failed task={emulator.attempts[0].name}" for _ in range(2)
    ]


def test_stopping_waits_for_a_request_under_way(
    start: Start, connect: Connect, target: Target
) -> None:
    target.gate.clear()
    emulator = start(stop_grace=timedelta(seconds=10))
    create(connect(emulator), emulator, target.url)
    assert target.reached.wait(10)

    stopping = threading.Thread(target=emulator.stop)
    stopping.start()
    target.gate.set()
    stopping.join()

    assert [attempt.status for attempt in emulator.attempts] == [200]


def test_stopping_cuts_a_request_that_takes_too_long(
    start: Start, connect: Connect, target: Target
) -> None:
    target.gate.clear()
    emulator = start(stop_grace=timedelta(milliseconds=10))
    create(connect(emulator), emulator, target.url)
    assert target.reached.wait(10)

    emulator.stop()

    assert emulator.attempts == []


def test_stopping_twice_or_before_the_start_does_nothing() -> None:
    emulator = Emulator()
    emulator.stop()

    with emulator:
        emulator.stop()
    emulator.stop()

    assert not [
        thread
        for thread in threading.enumerate()
        if thread.name == "cloudtask-emulator"
    ]


def test_an_emulator_starts_once(emulator: Emulator) -> None:
    with pytest.raises(RuntimeError, match="starts once"):
        emulator.start()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_queue_needs_a_running_emulator(stopped: bool) -> None:
    emulator = Emulator()
    if stopped:
        emulator.start().stop()

    with pytest.raises(RuntimeError, match="does not run"):
        emulator.create_queue("emails")


def test_a_queue_is_created_once(emulator: Emulator) -> None:
    with pytest.raises(ApiError, match="Queue already exists"):
        emulator.create_queue("default")


def test_a_wrong_declaration_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="is no queue name"):
        Emulator(["under_score"])
    with pytest.raises(ValueError, match="is no project and location"):
        Emulator(project="a/b")


@pytest.mark.parametrize("option", ["port", "http_port"])
def test_a_taken_port_is_an_error(emulator: Emulator, option: str) -> None:
    address = emulator.host if option == "port" else emulator.http_url
    port = int(address.rpartition(":")[2])

    with pytest.raises(OSError, match=str(port)):
        Emulator(**{option: port}).start()  # type: ignore[arg-type]


def test_a_wildcard_address_is_shown_as_a_reachable_one(start: Start) -> None:
    emulator = start(host="0.0.0.0")  # noqa: S104

    assert emulator.host.startswith("127.0.0.1:")
    assert emulator.http_url.startswith("http://127.0.0.1:")


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    emulator = Emulator(host="::1", port=5, http_port=6)

    assert emulator.host == "[::1]:5"
    assert emulator.http_url == "http://[::1]:6"


def test_the_package_exports_what_it_says() -> None:
    for name in cloudtask.emulator.__all__:
        assert getattr(cloudtask.emulator, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = cloudtask.emulator.Nothing
