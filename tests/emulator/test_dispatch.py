from typing import Any

import pytest
from google.cloud import tasks_v2
from google.rpc import code_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from cloudtask.emulator.identity.credentials import DEFAULT_SCOPE, Credential
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.faults import Fault
from cloudtask.emulator.tasks.limits import APP_ENGINE_USER_AGENT, RETENTION
from cloudtask.emulator.tasks.model import tasks
from cloudtask.emulator.tasks.model.dispatch import (
    Dispatch,
    read_retry_after,
    record_answer,
    start_attempt,
)
from cloudtask.emulator.tasks.model.tasks import StoredTask
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import DAY, HOUR, NOW, QUEUE, URL, task

APP_ENGINE = "http://127.0.0.1:8080"


def stored(message: Any) -> StoredTask:
    tasks.fill(message, NOW)
    due = instants.read(message.schedule_time)
    return StoredTask(7, QUEUE, message, due)


def app_engine_task(**app: Any) -> Any:
    fields = {"relative_uri": "/run"} | app
    return tasks_v2.Task.pb(
        tasks_v2.Task(name=f"{QUEUE}/tasks/t1", app_engine_http_request=fields)
    )


def sent(message: Any, target: Any = None, **options: Any) -> Dispatch:
    return start_attempt(stored(message), target, 1, NOW, **options)


def attempts_of(message: Any, answers: list[Answer]) -> list[dict[str, str]]:
    """Return the headers of each attempt if these are the answers."""
    task = stored(message)
    headers = []
    for serial, answer in enumerate(answers):
        dispatch = start_attempt(task, None, serial, NOW)
        record_answer(task, answer, NOW)
        headers.append(dispatch.headers)
    return headers


def counts(headers: list[dict[str, str]], prefix: str) -> list[tuple[str | None, ...]]:
    names = ("RetryCount", "ExecutionCount", "PreviousResponse", "RetryReason")
    return [
        tuple(each.get(f"{prefix}-Task{name}") for name in names) for each in headers
    ]


RECORDED = [Answer(status) for status in (503, 404, 429, 500, 302, 200)]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (
            RECORDED,
            [
                ("0", "0", None, None),
                ("1", "0", "503", ""),
                ("2", "1", "404", ""),
                ("3", "2", "429", ""),
                ("4", "2", "500", ""),
                ("5", "3", "302", ""),
            ],
        ),
        (
            [Answer(timed_out=True), Answer(200)],
            [("0", "0", None, None), ("1", "0", "504", "")],
        ),
        # No connection; unconfirmed.
        (
            [Answer(error="refused"), Answer(200)],
            [("0", "0", None, None), ("1", "0", "0", "")],
        ),
    ],
    ids=["recorded", "recorded timeout", "no connection"],
)
def test_an_http_target_is_told_of_earlier_attempts(
    answers: list[Answer], expected: list[tuple[str | None, ...]]
) -> None:
    assert counts(attempts_of(task("t1"), answers), "X-CloudTasks") == expected


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (
            RECORDED,
            [
                ("0", "0", None, None),
                ("1", "1", "503", "App Error"),
                ("2", "2", "404", "App Error"),
                ("3", "3", "429", "App Error"),
                ("4", "4", "500", "App Error"),
                ("5", "5", "302", "App Error"),
            ],
        ),
        (
            [Answer(timed_out=True), Answer(200)],
            [("0", "0", None, None), ("1", "0", "0", "Instance Unavailable")],
        ),
        # No connection; unconfirmed.
        (
            [Answer(error="refused"), Answer(200)],
            [("0", "0", None, None), ("1", "0", "0", "Instance Unavailable")],
        ),
    ],
    ids=["recorded", "recorded timeout", "no connection"],
)
def test_app_engine_is_told_of_earlier_attempts(
    answers: list[Answer], expected: list[tuple[str | None, ...]]
) -> None:
    assert counts(attempts_of(app_engine_task(), answers), "X-AppEngine") == expected


def test_a_first_attempt_has_exactly_these_headers() -> None:
    assert sent(task("t1")).headers == {
        "User-Agent": "Google-Cloud-Tasks",
        "X-CloudTasks-QueueName": "default",
        "X-CloudTasks-TaskName": "t1",
        "X-CloudTasks-TaskRetryCount": "0",
        "X-CloudTasks-TaskExecutionCount": "0",
        "X-CloudTasks-TaskETA": "1780315200.250001",
    }


def test_a_first_attempt_at_app_engine_has_exactly_these_headers() -> None:
    message = app_engine_task(body=b"x", headers={"X-AppEngine-TaskName": "mine"})

    assert sent(message).headers == {
        "Content-Type": "application/octet-stream",
        "User-Agent": APP_ENGINE_USER_AGENT,
        "X-AppEngine-QueueName": "default",
        "X-AppEngine-TaskName": "t1",
        "X-AppEngine-TaskRetryCount": "0",
        "X-AppEngine-TaskExecutionCount": "0",
        "X-AppEngine-TaskETA": "1780315200.250001",
    }


def test_the_eta_is_the_schedule_time_even_of_a_task_that_is_held_back() -> None:
    held = stored(task("t1"))
    instants.write(held.message.schedule_time, NOW + 5 * SECOND)
    held.due = NOW + HOUR

    dispatch = start_attempt(held, None, 1, NOW + HOUR)

    assert dispatch.headers["X-CloudTasks-TaskETA"] == "1780315205.250001"


OWN = {
    "x-shop-ID": "7",
    "Content-Type": "application/json",
    "authorization": "Bearer mine",
}
REPLACED = {
    "HOST": "evil.example",
    "content-length": "1",
    "user-agent": "me",
    "X-Google-Thing": "1",
    "x-appengine-queuename": "1",
    "x-cloudtasks-taskretrycount": "99",
}


@pytest.mark.parametrize(
    ("message", "agent"),
    [
        (task("t1", http={"headers": OWN | REPLACED}), "Google-Cloud-Tasks"),
        (app_engine_task(headers=OWN | REPLACED), f"me {APP_ENGINE_USER_AGENT}"),
    ],
)
def test_the_tasks_own_headers_keep_their_casing_but_for_those_replaced(
    message: Any, agent: str
) -> None:
    headers = sent(message).headers

    assert {n: v for n, v in headers.items() if n in OWN | REPLACED} == OWN
    assert headers["User-Agent"] == agent
    lowered = [name.lower() for name in headers]
    assert len(set(lowered)) == len(lowered)


@pytest.mark.parametrize(
    ("token", "credential"),
    [
        # The audience is the full URL unless one is given.
        (
            {"oidc_token": {"service_account_email": "a@b.c"}},
            Credential("oidc", "a@b.c", audience=URL),
        ),
        (
            {"oidc_token": {"service_account_email": "a@b.c", "audience": "shop"}},
            Credential("oidc", "a@b.c", audience="shop"),
        ),
        (
            {"oauth_token": {"service_account_email": "a@b.c"}},
            Credential("oauth", "a@b.c", scope=DEFAULT_SCOPE),
        ),
    ],
)
def test_a_token_takes_the_place_of_the_tasks_authorization(
    token: dict[str, object], credential: Credential
) -> None:
    http = token | {"headers": {"authorization": "Bearer mine"}}

    dispatch = sent(task("t1", http=http))

    assert dispatch.credential == credential
    assert "authorization" not in dispatch.headers


def test_a_dispatch_carries_the_request() -> None:
    message = task(
        "t1",
        http={"http_method": "PUT", "body": b"{}"},
        dispatch_deadline={"seconds": 20},
    )
    fault = Fault("timeout")

    dispatch = sent(message, forced=True, fault=fault)

    assert (dispatch.id, dispatch.serial) == (7, 1)
    assert (dispatch.task, dispatch.queue) == (f"{QUEUE}/tasks/t1", QUEUE)
    assert (dispatch.method, dispatch.url, dispatch.body) == ("PUT", URL, b"{}")
    assert dispatch.deadline == 20 * SECOND
    assert dispatch.attempt == 1
    assert dispatch.dispatch_time == NOW
    assert dispatch.forced
    assert dispatch.fault is fault


def test_a_queues_target_is_laid_over_the_request() -> None:
    override = {"header": {"key": "user-AGENT", "value": "mine"}}
    target = tasks_v2.HttpTarget.pb(
        tasks_v2.HttpTarget(
            uri_override={"host": "q"}, http_method="GET", header_overrides=[override]
        )
    )

    dispatch = sent(task("t1", http={"body": b"{}"}), target)

    assert (dispatch.method, dispatch.url, dispatch.body) == (
        *("GET", "http://q:9/run"),
        b"",
    )
    assert dispatch.headers["User-Agent"] == "Google-Cloud-Tasks"
    assert "user-AGENT" not in dispatch.headers


def test_a_url_is_escaped_but_not_its_tokens_audience() -> None:
    token = {"service_account_email": "a@b.c"}
    http = {"url": f"{URL}?q=a b", "oidc_token": token}

    dispatch = sent(task("t1", http=http))

    assert dispatch.url == f"{URL}?q=a%20b"
    assert dispatch.credential == Credential("oidc", "a@b.c", audience=f"{URL}?q=a b")


@pytest.mark.parametrize(
    ("app_engine_url", "url"),
    [
        (APP_ENGINE, f"{APP_ENGINE}/run"),
        (f"{APP_ENGINE}/", f"{APP_ENGINE}/run"),
        (None, "/run"),  # Which cannot be sent.
    ],
)
def test_an_app_engine_task_goes_where_app_engine_is(
    app_engine_url: str | None, url: str
) -> None:
    message = app_engine_task(http_method="PUT", body=b"{}")
    target = tasks_v2.HttpTarget.pb(tasks_v2.HttpTarget(http_method="GET"))

    dispatch = sent(message, target, app_engine_url=app_engine_url)

    assert (dispatch.method, dispatch.url, dispatch.body) == ("PUT", url, b"{}")
    assert dispatch.is_app_engine
    assert dispatch.credential is None


def test_a_dispatch_is_counted_in_the_task() -> None:
    started = stored(task("t1"))

    start_attempt(started, None, 1, NOW + 5)
    record_answer(started, Answer(500), NOW + 6)
    instants.write(started.message.schedule_time, NOW + 7)
    second = start_attempt(started, None, 2, NOW + 9)

    message = started.message
    assert message.dispatch_count == second.attempt == 2
    assert instants.read(message.first_attempt.dispatch_time) == NOW + 5
    assert [field.name for field, _ in message.first_attempt.ListFields()] == [
        "dispatch_time"
    ]
    assert instants.read(message.last_attempt.schedule_time) == NOW + 7
    assert instants.read(message.last_attempt.dispatch_time) == NOW + 9
    assert [field.name for field, _ in message.last_attempt.ListFields()] == [
        *("schedule_time", "dispatch_time")
    ]


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (Answer(200), code_pb2.OK, "OK(0): HTTP status code 200"),
        (Answer(404), code_pb2.NOT_FOUND, "NOT_FOUND(5): HTTP status code 404"),
        (Answer(503), code_pb2.UNAVAILABLE, "UNAVAILABLE(14): HTTP status code 503"),
        (Answer(302), code_pb2.UNKNOWN, "UNKNOWN(2): HTTP status code 302"),
        (Answer(999), code_pb2.UNKNOWN, "UNKNOWN(2): HTTP status code 999"),
    ],
)
def test_an_answer_is_recorded_in_the_task(
    answer: Answer, code: int, text: str
) -> None:
    answered = stored(task("t1"))
    start_attempt(answered, None, 1, NOW)

    record_answer(answered, answer, NOW + 5)

    message = answered.message
    assert message.response_count == 1
    assert instants.read(message.last_attempt.response_time) == NOW + 5
    assert message.last_attempt.response_status.code == code
    assert message.last_attempt.response_status.message == text


@pytest.mark.parametrize("message", [task("t1"), app_engine_task()])
def test_a_timeout_is_recorded_as_no_response(message: Any) -> None:
    timed_out = stored(message)
    start_attempt(timed_out, None, 1, NOW)

    record_answer(timed_out, Answer(timed_out=True), NOW + 5)

    assert message.response_count == 0
    assert not message.last_attempt.HasField("response_time")
    status = message.last_attempt.response_status
    assert status.code == code_pb2.DEADLINE_EXCEEDED
    assert status.message == "DEADLINE_EXCEEDED(4): HTTP status code 504"


@pytest.mark.parametrize(
    ("answer", "is_success"),
    [
        (Answer(199), False),
        (Answer(200), True),
        (Answer(299), True),
        (Answer(300), False),
        (Answer(timed_out=True), False),
    ],
)
def test_only_a_status_of_200_to_299_is_success(
    answer: Answer, is_success: bool
) -> None:
    assert answer.is_success is is_success


@pytest.mark.parametrize(
    ("answer", "http", "app_engine"),
    [
        (Answer(429), True, False),
        (Answer(503), True, True),
        (Answer(500), False, False),
        (Answer(200), False, False),
        (Answer(timed_out=True), False, False),
    ],
)
def test_a_target_with_too_much_to_do_slows_the_queue(
    answer: Answer, http: bool, app_engine: bool
) -> None:
    assert sent(task("t1")).is_throttled_by(answer) is http
    assert sent(app_engine_task()).is_throttled_by(answer) is app_engine


def test_the_repr_of_a_dispatch_shows_no_header_and_no_body() -> None:
    http = {"headers": {"X-Key": "secret"}, "body": b"secret"}

    assert "secret" not in repr(sent(task("t1", http=http)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),  # No header.
        ("7", NOW + 7 * SECOND),
        ("0", NOW),
        ("Mon, 01 Jun 2026 12:00:30 GMT", 1_780_315_230 * SECOND),
        ("Mon, 01 Jun 2026 12:00:30 -0000", 1_780_315_230 * SECOND),  # No zone.
        ("Mon, 01 Jun 2026 14:00:30 +0200", 1_780_315_230 * SECOND),
        ("soon", None),
        ("\udcff\udcfe", None),  # Bytes that are no text.
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),  # A digit, but no number.
        ("9" * 5000, None),  # More digits than Python reads.
        ("Mon, 01 Jun 99999999999 12:00:30 GMT", None),
        ("Mon, 01 Jun 2026 12:00:30 +99999999999999", None),
        # As long as a task lives, and no longer.
        (str(31 * DAY // SECOND), NOW + RETENTION),
        (str(31 * DAY // SECOND + 1), None),
        ("Fri, 01 Jan 9999 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    value: str | None, expected: int | None
) -> None:
    assert read_retry_after(value, NOW) == expected


@given(st.text() | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ ([+-]\d+|\w*)"))
@example("Mon, 01 Jun 2026 12:00:30 GMT")
def test_no_retry_after_is_too_much(value: str) -> None:
    instant = read_retry_after(value, NOW)

    assert instant is None or instant <= NOW + RETENTION
