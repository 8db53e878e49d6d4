"""What the reference says of dispatches, over real HTTP."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from google.cloud import tasks_v2

from cloudtask.emulator import Attempt, Emulator
from tests.emulator.conftest import Target

Client = tasks_v2.CloudTasksClient
Connect = Callable[[Emulator], Client]
Start = Callable[..., Emulator]

SECOND = timedelta(seconds=1)


def create(client: Client, emulator: Emulator, url: str, **fields: Any) -> str:
    """Create a task and return its name."""
    request = {"url": url, **fields.pop("http", {})}
    task = client.create_task(
        parent=emulator.queue_path("default"),
        task={"http_request": request, **fields},
    )
    return task.name


def seen(target: Target, prefix: str) -> list[tuple[str | None, ...]]:
    """Return the counters that a target was told, request by request."""
    names = ("RetryCount", "ExecutionCount", "PreviousResponse", "RetryReason")
    return [
        tuple(received.header(f"{prefix}-Task{name}") for name in names)
        for received in target.received
    ]


def attempts_until(emulator: Emulator, **duration: float) -> list[Attempt]:
    """Move the clock on and return all attempts, those before it too."""
    emulator.advance(**duration)  # type: ignore[arg-type]
    return emulator.attempts


def delays(attempts: list[Attempt]) -> list[float]:
    """Return the seconds from answers to the next attempts, to the tenth."""
    return [
        round((each.retry_time - each.response_time) / SECOND, 1)
        for each in attempts
        if each.retry_time is not None
    ]


def gaps(attempts: list[Attempt]) -> list[float]:
    """Return the seconds between attempts."""
    times = [each.dispatch_time for each in attempts]
    return [(then - now) / SECOND for now, then in pairwise(times)]


# Table 2.1, as recorded from the service.


def test_an_http_target_is_told_of_earlier_answers(
    emulator: Emulator, client: Client, target: Target
) -> None:
    target.answers = [503, 404, 429, 500, 302]

    create(client, emulator, target.url)
    emulator.advance(hours=1)

    assert seen(target, "X-CloudTasks") == [
        ("0", "0", None, None),
        ("1", "0", "503", ""),
        ("2", "1", "404", ""),
        ("3", "2", "429", ""),
        ("4", "2", "500", ""),
        ("5", "3", "302", ""),
    ]
    assert emulator.idle


def test_an_http_target_is_told_of_a_timeout(
    emulator: Emulator, client: Client, target: Target
) -> None:
    emulator.inject("timeout")

    create(client, emulator, target.url)
    emulator.advance(hours=1)

    assert seen(target, "X-CloudTasks") == [
        ("0", "0", None, None),
        ("1", "0", "504", ""),
    ]


def test_app_engine_is_told_of_earlier_answers(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start(app_engine_url=target.url.removesuffix("/run"))
    client = connect(emulator)
    target.answers = [503, 404]
    task = {"app_engine_http_request": {"relative_uri": "/work?a=1", "body": b"hi"}}

    task = client.create_task(parent=emulator.queue_path("default"), task=task)
    emulator.advance(hours=1)
    emulator.inject("timeout")
    client.create_task(
        parent=emulator.queue_path("default"),
        task={"app_engine_http_request": {"relative_uri": "/work"}},
    )
    emulator.advance(hours=1)

    assert seen(target, "X-AppEngine") == [
        ("0", "0", None, None),
        ("1", "1", "503", "App Error"),
        ("2", "2", "404", "App Error"),
        # Another task, which times out.
        ("0", "0", None, None),
        ("1", "0", "0", "Instance Unavailable"),
    ]
    first = target.received[0]
    assert (first.method, first.path, first.body) == ("POST", "/work?a=1", b"hi")
    agent = "AppEngine-Google; (+http://code.google.com/appengine)"
    assert first.header("User-Agent") == agent
    assert first.header("Content-Type") == "application/octet-stream"
    assert first.header("X-AppEngine-QueueName") == "default"
    assert emulator.idle


def test_an_app_engine_task_has_nowhere_to_go_unless_that_is_said(
    start: Start, connect: Connect
) -> None:
    emulator = start(["default:max_attempts=1"])
    client = connect(emulator)

    client.create_task(
        parent=emulator.queue_path("default"),
        task={"app_engine_http_request": {"relative_uri": "/"}},
    )
    [attempt] = attempts_until(emulator)

    assert (attempt.status, attempt.outcome) == (None, "gave up")
    assert "--app-engine-url" in str(attempt.error)


def test_a_request_has_the_services_headers(
    emulator: Emulator, client: Client, target: Target
) -> None:
    name = create(client, emulator, target.url, http={"headers": {"X-Mine": "1"}})
    [attempt] = attempts_until(emulator)

    [received] = target.received
    sent = {key for key, _ in received.headers} - {"Host", "Content-Length"}
    assert sent == {
        "X-Mine",
        "User-Agent",
        "X-CloudTasks-QueueName",
        "X-CloudTasks-TaskName",
        "X-CloudTasks-TaskRetryCount",
        "X-CloudTasks-TaskExecutionCount",
        "X-CloudTasks-TaskETA",
    }
    assert received.header("User-Agent") == "Google-Cloud-Tasks"
    assert received.header("X-CloudTasks-QueueName") == "default"
    assert received.header("X-CloudTasks-TaskName") == name.rpartition("/")[2]
    eta = float(str(received.header("X-CloudTasks-TaskETA")))
    assert eta <= attempt.dispatch_time.timestamp() + 0.001


# The largest bodies, as recorded from the service with names of these lengths.


@pytest.mark.parametrize(
    ("queue", "request_", "fields", "largest"),
    [
        ("http", {"url": "https://example.com/"}, {}, 1_048_368),
        # What is filled in anyway costs nothing.
        (
            "http",
            {"url": "https://example.com/", "http_method": "POST"},
            {"dispatch_deadline": timedelta(seconds=900)},
            1_048_368,
        ),
        ("ae", {}, {}, 1_048_256),
        ("ae", {}, {"dispatch_deadline": timedelta(seconds=900)}, 1_048_256 - 5),
        (
            "ae",
            {"app_engine_routing": {"service": "size-probe-service"}},
            {},
            1_048_256 - 19,
        ),
    ],
)
def test_the_largest_body_is_as_recorded(
    start: Start,
    connect: Connect,
    queue: str,
    request_: dict[str, Any],
    fields: dict[str, Any],
    largest: int,
) -> None:
    emulator = start(
        [f"cte-probe-1234567890-{queue}"],
        project="cloudtasksemu",
        location="us-central1",
    )
    client = connect(emulator)
    path = emulator.queue_path(f"cte-probe-1234567890-{queue}")
    target = "http_request" if queue == "http" else "app_engine_http_request"
    whole_second = emulator.now.replace(microsecond=0) + timedelta(days=1)

    def create(number: int, body: int) -> None:
        task = {
            "name": f"{path}/tasks/cte-probe-1234567890-t{number:06d}",
            "schedule_time": whole_second,
            target: {"body": b"a" * body, **request_},
            **fields,
        }
        client.create_task(parent=path, task=task)

    create(1, largest)
    with pytest.raises(Exception, match="Task size too large"):
        create(2, largest + 1)


# Section 3: retries.

EXAMPLE = "default:min_backoff=10,max_backoff=300,max_doublings=3,max_attempts=9"


def test_retries_follow_the_worked_example(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start([EXAMPLE])
    target.answers = [500] * 9

    create(connect(emulator), emulator, target.url)
    attempts = attempts_until(emulator, hours=1)

    assert delays(attempts) == [10, 20, 40, 80, 160, 240, 300, 300]
    assert [each.outcome for each in attempts] == ["retry"] * 8 + ["gave up"]
    assert emulator.idle


@pytest.mark.parametrize(
    ("limits", "attempts"),
    [
        ("max_attempts=3", 3),
        ("max_attempts=3,max_retry_duration=5", 6),
        ("max_attempts=9,max_retry_duration=5", 9),
        ("max_attempts=-1,max_retry_duration=5", 6),
    ],
)
def test_retries_stop_as_the_table_says(
    start: Start, connect: Connect, target: Target, limits: str, attempts: int
) -> None:
    emulator = start([f"default:min_backoff=1,max_backoff=1,{limits}"])
    target.answers = [500] * 50

    create(connect(emulator), emulator, target.url)
    made = attempts_until(emulator, minutes=5)

    assert len(made) == attempts
    assert made[-1].outcome == "gave up"
    assert emulator.idle


def test_without_a_limit_retries_go_on_until_the_task_is_31_days_old(
    start: Start, connect: Connect, target: Target
) -> None:
    day = 86_400
    backoff = f"min_backoff={day},max_backoff={day}"
    emulator = start([f"default:max_attempts=-1,{backoff}"])
    client = connect(emulator)
    target.answers = [500] * 50

    name = create(client, emulator, target.url)
    attempts = attempts_until(emulator, days=40)

    assert len(attempts) == 31
    assert attempts[-1].outcome == "gave up"
    assert emulator.idle
    with pytest.raises(Exception, match="was not found"):
        client.get_task(name=name)


def test_a_tasks_own_limits_go_before_its_queues(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start([EXAMPLE])
    target.answers = [500] * 9

    create(
        connect(emulator),
        emulator,
        target.url,
        retry_config={"max_attempts": 3, "min_backoff": timedelta(seconds=1)},
    )

    assert delays(attempts_until(emulator, hours=1)) == [1, 2]


@pytest.mark.parametrize(("asked", "gap"), [("100", 100), ("1", 10), ("nonsense", 10)])
def test_retry_after_is_waited_for(
    start: Start, connect: Connect, target: Target, asked: str, gap: float
) -> None:
    emulator = start([EXAMPLE])
    target.answers = [(503, {"Retry-After": asked})]

    create(connect(emulator), emulator, target.url)

    assert delays(attempts_until(emulator, hours=1)) == [gap]


# Rates.


def test_a_queue_keeps_to_its_rate(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start(["default:rate=0.1"])
    client = connect(emulator)
    for _ in range(8):
        create(client, emulator, target.url)

    emulator.advance(minutes=5)

    # The burst size of so slow a queue is 5.
    waits = gaps(emulator.attempts)
    assert all(wait < 5 for wait in waits[:4])
    assert all(5 < wait < 11 for wait in waits[4:])
    assert emulator.idle


@pytest.mark.parametrize("status", [429, 503])
def test_a_target_with_too_much_to_do_slows_the_queue(
    start: Start, connect: Connect, target: Target, status: int
) -> None:
    emulator = start([EXAMPLE])
    target.answers = [status]

    create(connect(emulator), emulator, target.url)
    emulator.wait_for(lambda: emulator.attempts)

    [queue] = emulator.queues
    assert queue.effective_rate == 250


def test_a_queue_is_limited_to_its_concurrency(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start(["default:concurrency=2"])
    client = connect(emulator)
    target.gate.clear()
    for _ in range(4):
        create(client, emulator, target.url)
    target.wait_for(2)
    [queue] = emulator.queues
    assert (queue.in_flight, queue.depth) == (2, 4)

    target.gate.set()
    attempts = attempts_until(emulator)

    assert len(attempts) == 4
    for each in attempts:
        moment = each.dispatch_time
        under_way = [a for a in attempts if a.dispatch_time <= moment < a.response_time]
        assert len(under_way) <= 2


# RunTask.


def test_run_task_waits_for_nothing(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start(["default:concurrency=1,min_backoff=10,max_backoff=10"])
    client = connect(emulator)
    path = emulator.queue_path("default")
    target.gate.clear()
    create(client, emulator, target.url)
    assert target.reached.wait(10)  # The queue's only slot is taken.
    client.pause_queue(name=path)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    name = create(client, emulator, target.url, schedule_time=tomorrow)

    ran = client.run_task(name=name)
    again = client.run_task(name=name)

    assert (ran.dispatch_count, again.dispatch_count) == (1, 2)
    assert ran.schedule_time == tomorrow
    target.wait_for(3)
    target.gate.set()
    emulator.drain()
    assert emulator.idle


def test_a_failed_run_is_tried_again_after_its_delay(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start(["default:min_backoff=10"])
    client = connect(emulator)
    target.answers = [500]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    name = create(client, emulator, target.url, schedule_time=tomorrow)

    client.run_task(name=name)
    emulator.wait_for(lambda: emulator.attempts)

    [failed] = emulator.attempts
    assert client.get_task(name=name).schedule_time == failed.retry_time
    assert failed.retry_time == failed.dispatch_time + 10 * SECOND
    assert [each.outcome for each in emulator.advance(seconds=11)] == ["done"]


# Pausing, purging, deleting.


def test_a_paused_queue_finishes_what_is_on_its_way_and_sends_no_more(
    emulator: Emulator, client: Client, target: Target
) -> None:
    path = emulator.queue_path("default")
    target.gate.clear()
    create(client, emulator, target.url)
    assert target.reached.wait(10)

    client.pause_queue(name=path)
    create(client, emulator, target.url)
    target.gate.set()

    assert len(attempts_until(emulator, days=1)) == 1
    assert emulator.pending == 1
    client.resume_queue(name=path)
    assert len(attempts_until(emulator)) == 2
    assert emulator.idle


@pytest.mark.parametrize("method", ["purge_queue", "delete_queue"])
def test_what_is_removed_on_its_way_is_not_tried_again(
    emulator: Emulator, client: Client, target: Target, method: str
) -> None:
    target.gate.clear()
    target.answers = [500]
    create(client, emulator, target.url)
    assert target.reached.wait(10)

    getattr(client, method)(name=emulator.queue_path("default"))
    target.gate.set()
    emulator.advance(hours=1)

    assert emulator.idle
    assert [each.outcome for each in emulator.attempts] == ["gave up"]


# Names, with the clock moved.


def test_the_name_of_a_task_is_free_after_a_day(
    emulator: Emulator, client: Client, target: Target
) -> None:
    name = f"{emulator.queue_path('default')}/tasks/t1"
    create(client, emulator, target.url, name=name)
    emulator.drain()

    emulator.advance(hours=23, minutes=59)
    with pytest.raises(Exception, match="Requested entity already exists"):
        create(client, emulator, target.url, name=name)
    with pytest.raises(Exception, match="The task no longer exists"):
        client.get_task(name=name)
    emulator.advance(minutes=1)

    with pytest.raises(Exception, match="Requested entity was not found"):
        client.get_task(name=name)
    create(client, emulator, target.url, name=name)


def test_the_name_of_a_queue_is_free_after_a_week(
    emulator: Emulator, client: Client
) -> None:
    client.delete_queue(name=emulator.queue_path("default"))

    emulator.advance(days=6, hours=23)
    with pytest.raises(Exception, match="existed too recently"):
        emulator.create_queue("default")
    emulator.advance(hours=1)

    emulator.create_queue("default")


def test_an_operation_is_remembered_by_its_request(
    start: Start, connect: Connect, tmp_path: Any
) -> None:
    request_id = "8a5b8e0f-2a54-4f5c-9d0e-6f0c9f6b5f11"

    def batch() -> tuple[list[str], int]:
        emulator = start(store=tmp_path / "store.sqlite3")
        parent = emulator.queue_path("default")
        tomorrow = emulator.now + timedelta(days=1)
        task = {
            "http_request": {"url": "http://127.0.0.1:9/"},
            "schedule_time": tomorrow,
        }
        operation = connect(emulator).batch_create_tasks(
            request={
                "parent": parent,
                "requests": [{"parent": parent, "task": task}] * 3,
                "request_id": request_id,
            }
        )
        names = [each.name for each in operation.result(timeout=10).tasks]
        pending = emulator.pending
        emulator.stop()
        return names, pending

    first, again = batch(), batch()

    assert first == again
    assert first[1] == 3


# Delivery at least once, and other faults.


def test_a_task_may_be_sent_twice(
    emulator: Emulator, client: Client, target: Target
) -> None:
    emulator.inject("duplicate")

    create(client, emulator, target.url)
    attempts = attempts_until(emulator)

    assert len(target.received) == 2
    assert [(each.number, each.fault) for each in attempts] == [(1, "duplicate")] * 2


def test_an_answer_may_be_lost(
    emulator: Emulator, client: Client, target: Target
) -> None:
    emulator.inject("drop_answer", times=2)

    create(client, emulator, target.url)
    emulator.advance(hours=1)

    assert len(target.received) == 3
    assert [each.outcome for each in emulator.attempts] == ["retry", "retry", "done"]
