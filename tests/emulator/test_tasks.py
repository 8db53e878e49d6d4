from typing import Any

import pytest
from google.cloud import tasks_v2
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.limits import APP_ENGINE_USER_AGENT
from cloudtask.emulator.tasks.model import tasks
from cloudtask.emulator.tasks.model.tasks import is_app_engine
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import HOUR, NOW, QUEUE, URL, task

BODY = b'{"hello":"world"}'
BASIC, FULL = tasks_v2.Task.View.BASIC, tasks_v2.Task.View.FULL


def app_engine_task(task_id: str | None = "t1", **fields: Any) -> Any:
    """Return a raw Task message; `app` replaces parts of the request."""
    request = fields.pop("app", {})
    if task_id is not None:
        fields["name"] = f"{QUEUE}/tasks/{task_id}"
    message = tasks_v2.Task.pb(tasks_v2.Task(app_engine_http_request=request, **fields))
    message.app_engine_http_request.SetInParent()
    return message


def scheduled(schedule_time: int) -> Any:
    message = task()
    instants.write(message.schedule_time, schedule_time)
    return message


def filled(message: Any) -> Any:
    tasks.fill(message, NOW)
    return message


def refusal(message: Any) -> str:
    with pytest.raises(ApiError) as caught:
        tasks.check(message, NOW)
    assert caught.value.code == code_pb2.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (tasks_v2.Task.pb()(), "Task.payload_type is not set."),
        (task(http={"url": ""}), "HttpRequest.url is required."),
        (
            task(http={"url": "ftp://127.0.0.1/run"}),
            "HttpTarget.url must start with 'http://' or 'https://'.",
        ),
        # Nobody recorded how the service words those below.
        (
            task(http={"url": "http://127.0.0.1/" + "x" * 2083}),
            "HttpRequest.url must be at most 2083 characters long.",
        ),
        (  # 693 characters that take 2079 once they are escaped.
            task(http={"url": "http://127.0.0.1/" + " " * 693}),
            "HttpRequest.url must be at most 2083 characters long.",
        ),
        (
            task(http={"headers": {"X-Long": "x" * 81_914}}),
            "HttpRequest.headers must be less than 80KB.",
        ),
        (
            task(http={"headers": {"X-Long": "ü" * 40_957}}),
            "HttpRequest.headers must be less than 80KB.",
        ),
        (
            task(http={"http_method": "GET", "body": b"x"}),
            "HttpRequest.body is not allowed with GET.",
        ),
        (
            task(http={"http_method": 99}),
            "HttpRequest.httpMethod is not a known method.",
        ),
        (
            app_engine_task(app={"relative_uri": "run"}),
            "AppEngineHttpRequest.relativeUri must start with '/' and be a valid "
            "relative URI.",
        ),
        (
            app_engine_task(app={"relative_uri": "/a b"}),
            "AppEngineHttpRequest.relativeUri must start with '/' and be a valid "
            "relative URI.",
        ),
        (
            app_engine_task(app={"relative_uri": "/" + "x" * 2083}),
            "AppEngineHttpRequest.relativeUri must be at most 2083 characters long.",
        ),
        (
            app_engine_task(app={"http_method": "PATCH", "body": b"x"}),
            "AppEngineHttpRequest.body is not allowed with PATCH.",
        ),
        (
            app_engine_task(app={"http_method": 99}),
            "AppEngineHttpRequest.httpMethod is not a known method.",
        ),
    ],
)
def test_a_request_is_refused(message: Any, expected: str) -> None:
    assert refusal(message) == expected


@pytest.mark.parametrize(
    ("deadline", "new_task", "expected"),
    [
        ({}, task, "[15s, 30m]"),  # There, and 0.
        ({"seconds": -15}, task, "[15s, 30m]"),
        ({"seconds": 14, "nanos": 999_999_000}, task, "[15s, 30m]"),
        ({"seconds": 1800, "nanos": 1000}, task, "[15s, 30m]"),
        ({"seconds": 14, "nanos": 999_999_000}, app_engine_task, "[15s, 24h15s]"),
        ({"seconds": 86_415, "nanos": 1000}, app_engine_task, "[15s, 24h15s]"),
    ],
)
def test_a_deadline_is_refused(
    deadline: dict[str, int], new_task: Any, expected: str
) -> None:
    message = new_task(dispatch_deadline=deadline)
    message.dispatch_deadline.SetInParent()

    assert refusal(message) == f"Task.dispatchDeadline must be between {expected}."


@pytest.mark.parametrize(
    ("schedule_time", "shown"),
    [
        # Pacific daylight time in July, standard time in December.
        (NOW + 720 * HOUR + 1, "2026-07-01T05:00:00.250002-07:00"),
        (NOW + 4800 * HOUR, "2026-12-18T04:00:00.250001-08:00"),
        (10**18, "9999-12-31T15:59:59-08:00"),  # Beyond any calendar.
    ],
)
def test_a_distant_schedule_time_is_refused(schedule_time: int, shown: str) -> None:
    assert refusal(scheduled(schedule_time)) == (
        f"The Task.scheduleTime, {shown}, is too far in the future. "
        "Schedule time must be no more than 720h in the future."
    )


def test_a_distant_schedule_time_is_shown_in_utc_without_a_time_zone_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cloudtask.emulator.tasks.model.tasks._PACIFIC", "No/Such_Zone")
    text = refusal(scheduled(NOW + 721 * HOUR))

    assert "2026-07-01T13:00:00.250001+00:00" in text


@pytest.mark.parametrize(
    "message",
    [
        scheduled(NOW + 720 * HOUR),
        task(http={"url": "http://127.0.0.1/%zz"}),  # A bad escape is accepted.
        task(http={"url": "HTTPS://127.0.0.1/"}),
        task(http={"url": "http://127.0.0.1/" + "x" * 2066}),
        task(http={"headers": {"X-Long": "x" * 81_913}}),
        task(http={"http_method": "PATCH", "body": b"x"}),
        task(dispatch_deadline={"seconds": 15}),
        task(dispatch_deadline={"seconds": 1800}),
        app_engine_task(),
        app_engine_task(app={"relative_uri": "/run?a=b&c[]=%zz"}),
        app_engine_task(app={"http_method": "PUT", "body": b"x"}),
        app_engine_task(dispatch_deadline={"seconds": 0}),  # The default, then.
        app_engine_task(dispatch_deadline={"seconds": 86_415}),
    ],
)
def test_the_extremes_are_accepted(message: Any) -> None:
    tasks.check(message, NOW)


def test_an_http_task_gets_its_defaults() -> None:
    message = task("t1", create_time={"seconds": 1})
    message.dispatch_count = message.response_count = 7
    message.first_attempt.dispatch_time.seconds = 7
    message.last_attempt.dispatch_time.seconds = 7
    message.view = FULL

    serialized = tasks.fill(message, NOW)

    expected = tasks_v2.Task.pb(
        tasks_v2.Task(
            name=f"{QUEUE}/tasks/t1",
            http_request={
                "url": URL,
                "http_method": "POST",
                "headers": {"User-Agent": "Google-Cloud-Tasks"},
            },
            schedule_time={"seconds": NOW // SECOND, "nanos": 250_001_000},
            create_time={"seconds": NOW // SECOND},
            dispatch_deadline={"seconds": 600},
            view="BASIC",
        )
    )
    assert message == expected
    assert tasks_v2.Task.pb().FromString(serialized) == expected


def test_an_app_engine_task_gets_its_defaults() -> None:
    message = filled(app_engine_task("t1"))

    assert message.app_engine_http_request == tasks_v2.AppEngineHttpRequest.pb(
        tasks_v2.AppEngineHttpRequest(
            http_method="POST",
            app_engine_routing={"host": "demo.appspot.com"},
            relative_uri="/",
            headers={"User-Agent": APP_ENGINE_USER_AGENT},
        )
    )
    assert instants.read(message.dispatch_deadline) == 600 * SECOND
    assert is_app_engine(message)


def test_what_is_set_stays() -> None:
    message = task(
        "t1",
        http={"http_method": "PUT"},
        schedule_time={"seconds": NOW // SECOND + 9, "nanos": 1999},
        dispatch_deadline={"seconds": 20, "nanos": 1_999_999},
    )

    tasks.fill(message, NOW)

    assert message.http_request.http_method == tasks_v2.HttpMethod.PUT
    # Microseconds and milliseconds are kept.
    assert message.schedule_time.nanos == 1000
    assert message.dispatch_deadline.nanos == 1_000_000


def test_a_schedule_time_that_has_passed_is_now() -> None:
    message = filled(task("t1", schedule_time={"seconds": 1}))

    assert instants.read(message.schedule_time) == NOW


OWN = {"X-Mixed-Case": "preserve-me"}
JSON = {"content-type": "application/json"}
HTTP_AGENT = {"User-Agent": "Google-Cloud-Tasks"}
APP_AGENT = {"User-Agent": "AppEngine-Google; (+http://code.google.com/appengine)"}
LENGTH = {"Content-Length": "17"}


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        # As recorded.
        (task("t1", http={"headers": OWN | JSON, "body": BODY}), OWN | JSON),
        (task("t1", http={"headers": OWN, "body": BODY}), OWN),
        (
            app_engine_task(app={"headers": OWN | JSON, "body": BODY}),
            OWN | JSON | LENGTH,
        ),
        (
            app_engine_task(app={"headers": OWN, "body": BODY}),
            OWN | LENGTH | {"Content-Type": "application/octet-stream"},
        ),
        # As documented.
        (app_engine_task(app={"headers": OWN}), OWN),
        (app_engine_task(app={"headers": {"CONTENT-LENGTH": "9"}}), {}),
        (task("t1", http={"headers": {"user-agent": "me"}}), {}),
    ],
)
def test_the_stored_headers(message: Any, stored: dict[str, str]) -> None:
    request = filled(message).http_request
    agent = HTTP_AGENT
    if is_app_engine(message):
        request, agent = message.app_engine_http_request, APP_AGENT

    assert dict(request.headers) == stored | agent


def test_app_engine_appends_its_user_agent_to_the_tasks() -> None:
    message = filled(app_engine_task(app={"headers": {"user-agent": "me/1"}}))

    assert dict(message.app_engine_http_request.headers) == {
        "User-Agent": f"me/1 {APP_ENGINE_USER_AGENT}"
    }


@given(st.lists(st.sampled_from(["User-Agent", "user-agent", "USER-AGENT", "X"])))
def test_there_is_one_user_agent_however_it_was_written(names: list[str]) -> None:
    headers = dict.fromkeys(names, "me")

    for request in (
        filled(task("t1", http={"headers": headers})).http_request,
        filled(app_engine_task(app={"headers": headers})).app_engine_http_request,
    ):
        assert [n for n in request.headers if n.lower() == "user-agent"] == [
            "User-Agent"
        ]


@pytest.mark.parametrize(
    ("routing", "host"),
    [
        ({}, "demo.appspot.com"),
        ({"service": "api"}, "api.demo.appspot.com"),
        ({"service": "api", "version": "v1"}, "v1.api.demo.appspot.com"),
        (
            {"service": "api", "version": "v1", "instance": "0"},
            "0.v1.api.demo.appspot.com",
        ),
        ({"version": "v1", "host": "mine.example"}, "v1.demo.appspot.com"),
    ],
)
def test_the_host_of_an_app_is_filled_in(routing: dict[str, str], host: str) -> None:
    message = filled(app_engine_task(app={"app_engine_routing": routing}))

    filled_in = message.app_engine_http_request.app_engine_routing
    assert filled_in.host == host
    assert filled_in.service == routing.get("service", "")


@pytest.mark.parametrize(
    "message",
    [
        task("t1", http={"body": BODY, "headers": OWN}),
        app_engine_task(app={"body": BODY, "headers": OWN}),
    ],
)
@pytest.mark.parametrize(
    ("response_view", "body", "shown"),
    [
        (0, b"", BASIC),  # Unspecified.
        (BASIC, b"", BASIC),
        (FULL, BODY, FULL),
        (9, b"", BASIC),  # Of a newer API.
    ],
)
def test_only_a_full_view_has_the_body(
    message: Any, response_view: int, body: bytes, shown: int
) -> None:
    stored = tasks_v2.Task.pb().FromString(tasks.fill(message, NOW))
    kind = stored.WhichOneof("message_type")
    headers = dict(getattr(stored, kind).headers)

    seen = tasks.view(stored, response_view)

    assert seen is stored
    assert seen.view == shown
    assert getattr(seen, kind).body == body
    assert dict(getattr(seen, kind).headers) == headers
    assert headers["X-Mixed-Case"] == "preserve-me"
