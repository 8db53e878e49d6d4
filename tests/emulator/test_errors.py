"""The refusals of reference table 1.2, as far as the emulator goes."""

from collections.abc import Callable
from typing import Any

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from cloudtask.emulator import instants
from cloudtask.emulator.engine import Engine
from cloudtask.emulator.errors import ApiError
from cloudtask.emulator.tasks import MAX_TASK_SIZE
from tests.emulator.samples import HOUR, NOW, PARENT, QUEUE, new_engine, queue, task

INVALID = code_pb2.INVALID_ARGUMENT
NOT_FOUND = code_pb2.NOT_FOUND
DENIED = code_pb2.PERMISSION_DENIED
NO_QUEUE = (
    "Queue does not exist. If you just created the queue, "
    "wait at least a minute for the queue to initialize."
)
BAD_QUEUE = (
    "Queue name must be formatted: "
    '"projects/<PROJECT_ID>/locations/<LOCATION_ID>/queues/<QUEUE_ID>".'
)
BAD_TASK = (
    'Task name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>'
    '/queues/<QUEUE_ID>/tasks/<TASK_ID>"'
)
OTHER = f"{PARENT}/queues/other"


def bad_id(task_id: str) -> str:
    return (
        f'Task ID "{task_id}" can contain only letters ([A-Za-z]), numbers ([0-9]), '
        "hyphens (-), or underscores (_). "
        "Task ID must between 1 and 500 characters."
    )


def refusal(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        call()
    assert str(caught.value) == caught.value.message
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("parent", "path", "expected"),
    [
        (
            "nonsense",
            OTHER,
            (DENIED, "Permission denied on resource project nonsense."),
        ),
        # A project, but no location. Unconfirmed wording.
        (
            "projects/p",
            OTHER,
            (INVALID, "Invalid resource field value in the request."),
        ),
        (PARENT, "other", (DENIED, "Permission denied on resource project other.")),
        (PARENT, "", (DENIED, "Permission denied on resource project .")),
        (PARENT, f"{PARENT}/queues/under_score", (INVALID, BAD_QUEUE)),
        (PARENT, f"{PARENT}/queues/{'q' * 101}", (INVALID, BAD_QUEUE)),
        (PARENT, f"{PARENT}/queues/", (INVALID, BAD_QUEUE)),
        # Under another parent. Unconfirmed.
        (PARENT, "projects/p/locations/l/queues/q", (INVALID, BAD_QUEUE)),
        (PARENT, QUEUE, (code_pb2.ALREADY_EXISTS, "Queue already exists")),
    ],
)
def test_create_queue_refuses_names(
    parent: str, path: str, expected: tuple[int, str]
) -> None:
    engine = new_engine()

    assert refusal(lambda: engine.create_queue(parent, queue(path))) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"rate_limits": {"max_dispatches_per_second": -1}},
            "RateLimits.maxDispatchesPerSecond cannot be negative.",
        ),
        (
            {"rate_limits": {"max_dispatches_per_second": 500.5}},
            "RateLimits.maxDispatchesPerSecond must be less than or equal to 500.",
        ),
        (
            {"rate_limits": {"max_concurrent_dispatches": -1}},
            "RateLimits.maxConcurrentDispatches cannot be negative.",
        ),
        (
            {"rate_limits": {"max_concurrent_dispatches": 5001}},
            "RateLimits.maxConcurrentDispatches must be less than or equal to 5000.",
        ),
        (
            {"retry_config": {"max_attempts": -2}},
            "RetryConfig.maxAttempts must be greater or equal to -1.",
        ),
        (
            {"retry_config": {"max_doublings": -1}},
            "RetryConfig.maxDoublings cannot be negative.",
        ),
        (
            {"retry_config": {"min_backoff": {"seconds": -1}}},
            "RetryConfig.minBackoff cannot be negative.",
        ),
        (  # Unconfirmed wording.
            {"retry_config": {"max_retry_duration": {"seconds": -1}}},
            "RetryConfig.maxRetryDuration cannot be negative.",
        ),
        (
            {"retry_config": {"min_backoff": {"seconds": 3601}}},
            "RetryConfig.minBackoff must be less than or equal to "
            "RetryConfig.maxBackoff.",
        ),
    ],
)
def test_create_queue_refuses_configurations(
    config: dict[str, Any], message: str
) -> None:
    engine = new_engine()

    assert refusal(lambda: engine.create_queue(PARENT, queue(OTHER, **config))) == (
        INVALID,
        message,
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda engine: engine.get_queue(OTHER), (NOT_FOUND, NO_QUEUE)),
        (lambda engine: engine.get_queue(PARENT), (INVALID, BAD_QUEUE)),
        (
            lambda engine: engine.list_queues("x"),
            (DENIED, "Permission denied on resource project x."),
        ),
        (
            lambda engine: engine.get_task(f"{QUEUE}/tasks/t1", NOW),
            (NOT_FOUND, "Requested entity was not found."),
        ),
        (
            lambda engine: engine.delete_task(f"{QUEUE}/tasks/t1", NOW),
            (NOT_FOUND, "Requested entity was not found."),
        ),
        (lambda engine: engine.get_task(QUEUE, NOW), (INVALID, BAD_TASK)),
        (lambda engine: engine.delete_task("t1", NOW), (INVALID, BAD_TASK)),
    ],
)
def test_other_calls_refuse_what_is_not_there(
    call: Callable[[Engine], object], expected: tuple[int, str]
) -> None:
    engine = new_engine()

    assert refusal(lambda: call(engine)) == expected


@pytest.mark.parametrize(
    ("parent", "message", "expected"),
    [
        (PARENT, task(), (INVALID, BAD_QUEUE)),
        ("q", task(), (DENIED, "Permission denied on resource project q.")),
        (OTHER, task(), (NOT_FOUND, NO_QUEUE)),  # No queue is made on the way.
        (QUEUE, task("not a valid id"), (INVALID, bad_id("not a valid id"))),
        (QUEUE, task(""), (INVALID, bad_id(""))),
        (QUEUE, task("x" * 501), (INVALID, bad_id("x" * 501))),
        (QUEUE, task(name="t1"), (INVALID, BAD_TASK)),
        (
            QUEUE,
            task(name=f"{OTHER}/tasks/t1"),
            (
                INVALID,
                f"The queue name from request ('{QUEUE}') must be the same as "
                f"the queue name in the named task ('{OTHER}').",
            ),
        ),
    ],
)
def test_create_task_refuses_names(
    parent: str, message: Any, expected: tuple[int, str]
) -> None:
    engine = new_engine()

    assert refusal(lambda: engine.create_task(parent, message, NOW)) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (task(http={"url": ""}), "HttpRequest.url is required."),
        (
            task(http={"url": "127.0.0.1/run"}),
            "HttpTarget.url must start with 'http://' or 'https://'.",
        ),
        (
            task(http={"url": "ftp://127.0.0.1/run"}),
            "HttpTarget.url must start with 'http://' or 'https://'.",
        ),
        (  # Unconfirmed wording, like the next four.
            task(http={"url": "http://127.0.0.1/" + "x" * 2083}),
            "HttpRequest.url must be at most 2083 characters long.",
        ),
        (
            task(http={"headers": {"X-Long": "x" * 81_920}}),
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
            task(dispatch_deadline={"seconds": 14, "nanos": 999_000_000}),
            "Task.dispatchDeadline must be between [15s, 30m].",
        ),
        (
            task(dispatch_deadline={"seconds": 1801}),
            "Task.dispatchDeadline must be between [15s, 30m].",
        ),
        (
            task(retry_config={"max_attempts": -2}),
            "RetryConfig.maxAttempts must be greater or equal to -1.",
        ),
        (task(http={"body": b"x" * MAX_TASK_SIZE}), "Task size too large"),
    ],
)
def test_create_task_refuses_payloads(message: Any, expected: str) -> None:
    engine = new_engine()

    refused = refusal(lambda: engine.create_task(QUEUE, message, NOW))

    assert refused == (INVALID, expected)
    assert engine.pending == 0


@pytest.mark.parametrize(
    ("schedule_time", "shown"),
    [
        # Pacific daylight time in July, standard time in December.
        (NOW + 721 * HOUR, "2026-07-01T06:00:00.250001-07:00"),
        (NOW + 4800 * HOUR, "2026-12-18T04:00:00.250001-08:00"),
        (10**18, "9999-12-31T15:59:59-08:00"),  # Beyond any calendar.
    ],
)
def test_create_task_refuses_a_distant_schedule_time(
    schedule_time: int, shown: str
) -> None:
    message = task()
    instants.write(message.schedule_time, schedule_time)

    assert refusal(lambda: new_engine().create_task(QUEUE, message, NOW)) == (
        INVALID,
        f"The Task.scheduleTime, {shown}, is too far in the future. "
        "Schedule time must be no more than 720h in the future.",
    )


def test_a_distant_schedule_time_is_shown_in_utc_without_a_time_zone_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cloudtask.emulator.tasks._PACIFIC", "No/Such_Zone")
    message = task()
    instants.write(message.schedule_time, NOW + 721 * HOUR)

    _, text = refusal(lambda: new_engine().create_task(QUEUE, message, NOW))

    assert "2026-07-01T13:00:00.250001+00:00" in text


@pytest.mark.parametrize("finished", [False, True])
def test_create_task_refuses_a_name_in_use_or_used_before(finished: bool) -> None:
    engine = new_engine()
    engine.create_task(QUEUE, task("t1"), NOW)
    if finished:
        engine.delete_task(f"{QUEUE}/tasks/t1", NOW)

    assert refusal(lambda: engine.create_task(QUEUE, task("t1"), NOW + 1)) == (
        code_pb2.ALREADY_EXISTS,
        "Requested entity already exists",
    )


@pytest.mark.parametrize(
    "message",
    [
        task(http={"url": "http://127.0.0.1/%zz"}),  # A bad escape is accepted.
        task(http={"url": "HTTPS://127.0.0.1/"}),
        task(dispatch_deadline={"seconds": 15}),
        task(dispatch_deadline={"seconds": 1800}),
        task(http={"http_method": "PATCH", "body": b"x"}),
        task("x" * 500),
    ],
)
def test_create_task_accepts_the_extremes(message: Any) -> None:
    new_engine().create_task(QUEUE, message, NOW)


def test_the_size_limit_holds_for_the_stored_task() -> None:
    engine = new_engine()
    probe = engine.create_task(QUEUE, task("probe", http={"body": b"x" * 10**6}), NOW)
    room = MAX_TASK_SIZE - probe.ByteSize()

    exact = task("exact", http={"body": b"x" * (10**6 + room)})
    assert engine.create_task(QUEUE, exact, NOW).ByteSize() == MAX_TASK_SIZE
    over = task("above", http={"body": b"x" * (10**6 + room + 1)})
    assert refusal(lambda: engine.create_task(QUEUE, over, NOW)) == (
        INVALID,
        "Task size too large",
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.create_queue(
            PARENT, queue(OTHER, http_target={"http_method": "PUT"})
        ),
        lambda engine: engine.create_task(QUEUE, _app_engine_task(), NOW),
    ],
)
def test_what_is_not_emulated_is_said_so(call: Callable[[Engine], object]) -> None:
    code, message = refusal(lambda: call(new_engine()))

    assert code == code_pb2.UNIMPLEMENTED
    assert message.endswith("is not supported by this emulator.")


def _app_engine_task() -> Any:
    message = task()
    message.app_engine_http_request.relative_uri = "/run"
    return message


@pytest.mark.parametrize(
    ("call", "description", "url"),
    [
        (
            lambda engine: engine.get_queue(PARENT),
            "Definition of queue name",
            "https://cloud.google.com/tasks/docs/reference/rest/v2/"
            "projects.locations.queues#Queue.FIELDS.name",
        ),
        (
            lambda engine: engine.create_task(QUEUE, task("a b"), NOW),
            "Definition of task ID",
            "https://cloud.google.com/tasks/docs/reference/rest/v2/"
            "projects.locations.queues.tasks#Task.FIELDS.name",
        ),
    ],
)
def test_bad_names_come_with_help(
    call: Callable[[Engine], object], description: str, url: str
) -> None:
    with pytest.raises(ApiError) as caught:
        call(new_engine())

    status = status_pb2.Status.FromString(caught.value.to_bytes())
    helping = error_details_pb2.Help()
    assert status.details[0].Unpack(helping)
    assert [(link.description, link.url) for link in helping.links] == [
        (description, url)
    ]


def test_a_foreign_parent_comes_with_what_the_service_says() -> None:
    with pytest.raises(ApiError) as caught:
        new_engine().list_queues("not-a-valid-parent")

    info, localized, helping = caught.value.details
    assert (info.reason, info.domain) == ("CONSUMER_INVALID", "googleapis.com")
    assert dict(info.metadata) == {
        "consumer": "projects/not-a-valid-parent",
        "containerInfo": "not-a-valid-parent",
        "service": "cloudtasks.googleapis.com",
    }
    assert localized.message == caught.value.message
    assert helping.links[0].url == "https://console.developers.google.com"
