import pytest

from cloudtask.emulator.dispatches import (
    Answer,
    Credential,
    Dispatch,
    retry_after,
)
from cloudtask.emulator.instants import SECOND
from tests.emulator.samples import NOW, QUEUE, URL, new_engine, task

PREFIX = "X-CloudTasks-Task"


def first_dispatch(message: object, now: int = NOW) -> Dispatch:
    engine = new_engine()
    engine.create_task(QUEUE, message, now)
    [dispatch] = engine.take_due(now)
    return dispatch


def dispatches_of(answers: list[Answer]) -> list[dict[str, str]]:
    """Return the headers of each attempt if these are the answers."""
    engine = new_engine()
    engine.create_task(QUEUE, task("t1"), NOW)
    headers = []
    for answer in answers:
        due = engine.next_due()
        assert due is not None
        [dispatch] = engine.take_due(due)
        headers.append(dispatch.headers)
        engine.complete(dispatch, answer, due)
    return headers


def test_the_recorded_task_gets_the_recorded_headers() -> None:
    statuses = [503, 404, 429, 500, 302, 200]

    headers = dispatches_of([Answer(status) for status in statuses])

    assert [
        (
            each[f"{PREFIX}RetryCount"],
            each[f"{PREFIX}ExecutionCount"],
            each.get(f"{PREFIX}PreviousResponse"),
            each.get(f"{PREFIX}RetryReason"),
        )
        for each in headers
    ] == [
        ("0", "0", None, None),
        ("1", "0", "503", ""),
        ("2", "1", "404", ""),
        ("3", "2", "429", ""),
        ("4", "2", "500", ""),
        ("5", "3", "302", ""),
    ]


@pytest.mark.parametrize(
    ("answer", "previous"),
    [
        (Answer(timed_out=True), "504"),  # As recorded.
        (Answer(), "0"),  # No connection; unconfirmed.
    ],
)
def test_an_attempt_without_an_answer_is_no_execution(
    answer: Answer, previous: str
) -> None:
    second = dispatches_of([answer, Answer(200)])[1]

    assert second[f"{PREFIX}RetryCount"] == "1"
    assert second[f"{PREFIX}ExecutionCount"] == "0"
    assert second[f"{PREFIX}PreviousResponse"] == previous
    assert second[f"{PREFIX}RetryReason"] == ""


def test_a_first_attempt_has_exactly_these_headers() -> None:
    dispatch = first_dispatch(task("t1"))

    assert dispatch.headers == {
        "User-Agent": "Google-Cloud-Tasks",
        "X-CloudTasks-QueueName": "default",
        "X-CloudTasks-TaskName": "t1",
        "X-CloudTasks-TaskRetryCount": "0",
        "X-CloudTasks-TaskExecutionCount": "0",
        "X-CloudTasks-TaskETA": "1780315200.250001",
    }


def test_the_eta_of_a_retry_is_the_retrys() -> None:
    headers = dispatches_of([Answer(500), Answer(200)])

    assert headers[1]["X-CloudTasks-TaskETA"] == "1780315200.350001"


def test_the_tasks_own_headers_keep_their_casing_but_for_those_replaced() -> None:
    own = {
        "x-shop-ID": "7",
        "Content-Type": "application/json",
        "authorization": "Bearer mine",
        "HOST": "evil.example",
        "content-length": "1",
        "user-agent": "me",
        "X-Google-Thing": "1",
        "x-appengine-queuename": "1",
        "x-cloudtasks-taskretrycount": "99",
    }

    headers = first_dispatch(task("t1", http={"headers": own})).headers

    assert {name: value for name, value in headers.items() if name in own} == {
        "x-shop-ID": "7",
        "Content-Type": "application/json",
        "authorization": "Bearer mine",
    }
    assert headers["User-Agent"] == "Google-Cloud-Tasks"
    assert headers["X-CloudTasks-TaskRetryCount"] == "0"


@pytest.mark.parametrize(
    ("token", "credential"),
    [
        # The audience is the full URL unless one is given.
        ({"oidc_token": {"service_account_email": "a@b.c"}}, ("oidc", URL)),
        (
            {"oidc_token": {"service_account_email": "a@b.c", "audience": "shop"}},
            ("oidc", "shop"),
        ),
        ({"oauth_token": {"service_account_email": "a@b.c"}}, ("oauth", "")),
    ],
)
def test_a_token_takes_the_place_of_the_tasks_authorization(
    token: dict[str, object], credential: tuple[str, str]
) -> None:
    http = token | {"headers": {"authorization": "Bearer mine"}}

    dispatch = first_dispatch(task("t1", http=http))

    kind, audience = credential
    assert dispatch.credential == Credential(kind, "a@b.c", audience)
    assert "authorization" not in dispatch.headers


def test_a_dispatch_carries_the_request() -> None:
    message = task(
        "t1",
        http={"http_method": "PUT", "body": b"{}"},
        dispatch_deadline={"seconds": 20},
    )

    dispatch = first_dispatch(message)

    assert (dispatch.method, dispatch.url, dispatch.body) == ("PUT", URL, b"{}")
    assert dispatch.deadline == 20 * SECOND
    assert dispatch.attempt == 1
    assert dispatch.dispatch_time == NOW


def test_the_repr_of_a_dispatch_shows_no_header_and_no_body() -> None:
    http = {"headers": {"X-Key": "secret"}, "body": b"secret"}

    assert "secret" not in repr(first_dispatch(task("t1", http=http)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),  # No header.
        ("7", NOW + 7 * SECOND),
        ("Mon, 01 Jun 2026 12:00:30 GMT", 1_780_315_230 * SECOND),
        ("Mon, 01 Jun 2026 12:00:30 -0000", 1_780_315_230 * SECOND),  # No zone.
        ("soon", None),
        ("-1", None),
        ("9" * 5000, None),  # More digits than Python reads.
    ],
)
def test_retry_after_is_seconds_or_a_date(
    value: str | None, expected: int | None
) -> None:
    assert retry_after(value, NOW) == expected
