from collections.abc import Callable
from typing import Any

import pytest
from google.cloud import tasks_v2

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.tasks.engine.task_methods import MAX_PAGE_BYTES
from cloudtask.emulator.tasks.limits import MAX_TASK_SIZE
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import (
    DAY,
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    URL,
    at,
    attempt,
    name_of,
    queue,
    take_one,
    task,
)

TARGET = {"uri_override": {"host": "127.0.0.1", "scheme": "HTTP"}}


def listed(engine: Engine, **arguments: Any) -> tuple[list[str], str]:
    page, token = engine.tasks.list(QUEUE, NOW, **arguments)
    return [each.name.rpartition("/")[2] for each in page], token


def blocked(engine: Engine, task_id: str, now: int) -> bool:
    """Whether a name cannot be used. If it can, it is used."""
    try:
        engine.tasks.create(QUEUE, task(task_id), now)
    except ApiError as error:
        if error.message != "Requested entity already exists":
            raise
        return True
    return False


def test_a_created_task_is_stored_with_its_defaults(engine: Engine) -> None:
    message = task(
        "t1",
        http={"headers": {"x-Own": "1", "USER-AGENT": "me"}, "body": b"hi"},
        dispatch_count=9,
        last_attempt={"dispatch_time": {"seconds": 1}},
    )

    created = engine.tasks.create(QUEUE, message, NOW)

    stored = engine.tasks.get(name_of("t1"), NOW)
    assert stored == created
    assert stored.name == name_of("t1")
    assert instants.read(stored.schedule_time) == NOW
    assert instants.read(stored.create_time) == NOW // SECOND * SECOND
    assert instants.read(stored.dispatch_deadline) == 600 * SECOND
    assert stored.http_request.http_method == tasks_v2.HttpMethod.POST
    assert stored.http_request.body == b"hi"
    assert dict(stored.http_request.headers) == {
        "x-Own": "1",
        "User-Agent": "Google-Cloud-Tasks",
    }
    assert stored.dispatch_count == 0
    assert not stored.HasField("last_attempt")
    assert engine.pending == 1


def test_what_the_caller_gets_is_the_callers(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW).dispatch_count = 5

    engine.tasks.get(name_of("t1"), NOW).dispatch_count = 5

    assert engine.tasks.get(name_of("t1"), NOW).dispatch_count == 0


def test_an_unnamed_task_gets_an_id(engine: Engine) -> None:
    names = [engine.tasks.create(QUEUE, task(), NOW).name for _ in range(2)]

    assert names == [name_of("1"), name_of("2")]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (NOW - HOUR, NOW),  # The past is now.
        (NOW + 1, NOW + 1),  # Microseconds are kept.
        (NOW + 720 * HOUR, NOW + 720 * HOUR),  # As far as it goes.
    ],
)
def test_a_schedule_time_is_kept_to_the_microsecond(
    engine: Engine, asked: int, expected: int
) -> None:
    message = at(asked)
    message.schedule_time.nanos += 999  # Truncated.

    engine.tasks.create(QUEUE, message, NOW)

    assert engine.launcher.next_wake(NOW) == expected
    assert engine.launcher.take_due(expected - 1) == []
    assert len(engine.launcher.take_due(expected)) == 1


def test_a_name_is_used_once(engine: Engine) -> None:
    assert not blocked(engine, "t1", NOW)
    assert blocked(engine, "t1", NOW)
    assert engine.pending == 1


@pytest.mark.parametrize(
    "message",
    [
        task("a b"),
        task(name=f"{PARENT}/queues/other/tasks/t1"),
        task("t1", http={"url": ""}),
        task("t1", retry_config={"max_attempts": -2}),
        task("t1", http={"body": b"x" * MAX_TASK_SIZE}),
        at(NOW + 31 * DAY, "t1"),
    ],
    ids=["id", "queue", "url", "retry_config", "size", "schedule_time"],
)
def test_a_refused_task_leaves_no_trace(engine: Engine, message: Any) -> None:
    engine.commit()

    with pytest.raises(ApiError):
        engine.tasks.create(QUEUE, message, NOW)

    assert not engine.is_dirty
    assert engine.pending == 0
    assert not blocked(engine, "t1", NOW)


# Names that were used.


def end_by_success(engine: Engine, now: int) -> None:
    attempt(engine, Answer(200), now)


def end_by_delete(engine: Engine, now: int) -> None:
    engine.tasks.delete(name_of("t1"), now)


def end_by_purge(engine: Engine, now: int) -> None:
    engine.queues.purge(QUEUE, now)


def end_by_sweeping_purge(engine: Engine, now: int) -> None:
    engine.queues.purge(QUEUE, now)
    engine.sweeper.sweep(now)


@pytest.mark.parametrize(
    "end", [end_by_success, end_by_delete, end_by_purge, end_by_sweeping_purge]
)
@pytest.mark.parametrize("ttl", [HOUR, DAY])
def test_a_name_stays_blocked_for_a_time(
    make_engine: Callable[..., Engine], end: Callable[[Engine, int], None], ttl: int
) -> None:
    engine = make_engine(tombstone_ttl=ttl)
    engine.tasks.create(QUEUE, task("t1"), NOW)
    end(engine, NOW)

    assert engine.pending == 0
    with pytest.raises(ApiError, match="The task no longer exists, though a task"):
        engine.tasks.get(name_of("t1"), NOW + ttl - 1)
    assert blocked(engine, "t1", NOW + ttl - 1)
    with pytest.raises(ApiError, match="Requested entity was not found"):
        engine.tasks.get(name_of("t1"), NOW + ttl)
    assert not blocked(engine, "t1", NOW + ttl)


def test_a_name_may_be_free_at_once(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(tombstone_ttl=0)
    engine.tasks.create(QUEUE, task("t1"), NOW)

    engine.tasks.delete(name_of("t1"), NOW)

    assert not blocked(engine, "t1", NOW)


def test_a_name_is_blocked_in_its_queue_alone(engine: Engine) -> None:
    other = f"{PARENT}/queues/other"
    engine.queues.create(PARENT, queue(other), NOW)
    engine.tasks.create(QUEUE, task("t1"), NOW)
    engine.tasks.delete(name_of("t1"), NOW)

    engine.tasks.create(other, task(name=f"{other}/tasks/t1"), NOW)

    assert engine.pending == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (name_of("t1"), "Requested entity was not found."),
        (f"{PARENT}/queues/no/tasks/t1", "Requested entity was not found."),
        (QUEUE, "Task name must be formatted: "),
        ("t1", "Task name must be formatted: "),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda engine, name: engine.tasks.get(name, NOW),
        lambda engine, name: engine.tasks.delete(name, NOW),
        lambda engine, name: engine.launcher.run(name, NOW),
    ],
    ids=["get", "delete", "run"],
)
def test_a_task_that_is_not_there_is_not_found(
    engine: Engine, call: Callable[[Engine, str], object], name: str, message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        call(engine, name)

    assert caught.value.message.startswith(message)


def test_an_ended_task_cannot_be_deleted_or_run_again(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)
    engine.tasks.delete(name_of("t1"), NOW)

    with pytest.raises(ApiError, match="Requested entity was not found"):
        engine.tasks.delete(name_of("t1"), NOW)
    with pytest.raises(ApiError, match="Requested entity was not found"):
        engine.launcher.run(name_of("t1"), NOW)


# Lists.


def test_tasks_are_listed_in_pages(engine: Engine) -> None:
    for task_id in ("c", "a", "e", "b", "d"):
        engine.tasks.create(QUEUE, task(task_id), NOW)

    seen, token = listed(engine, size=2)
    assert len(seen) == 2
    while token:
        page, token = listed(engine, size=2, token=token)
        assert len(page) <= 2
        seen += page

    assert sorted(seen) == ["a", "b", "c", "d", "e"]
    assert listed(engine) == (seen, "")
    assert listed(engine, size=5) == (seen, "")
    assert listed(engine, size=10**6) == (seen, "")


def test_a_thousand_tasks_are_a_page(engine: Engine) -> None:
    for _ in range(1001):
        engine.tasks.create(QUEUE, task(), NOW)

    page, token = listed(engine)

    assert len(page) == 1000
    assert len(listed(engine, token=token)[0]) == 1


def test_a_page_ends_before_it_is_too_large_to_be_received(engine: Engine) -> None:
    body = b"x" * (MAX_PAGE_BYTES // 4)
    for _ in range(5):
        engine.tasks.create(QUEUE, task(http={"body": body}), NOW)

    page, token = listed(engine)
    rest, end = listed(engine, token=token)

    assert (len(page), len(rest), end) == (3, 2, "")


def test_a_page_has_at_least_one_task(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cloudtask.emulator.tasks.engine.task_methods.MAX_PAGE_BYTES", 1
    )
    for task_id in ("a", "b"):
        engine.tasks.create(QUEUE, task(task_id), NOW)

    page, token = listed(engine)
    assert page == ["a"]
    assert listed(engine, token=token) == (["b"], "")


def test_a_page_goes_on_whatever_happened_meanwhile(engine: Engine) -> None:
    for task_id in ("a", "b", "c"):
        engine.tasks.create(QUEUE, task(task_id), NOW)
    _, token = listed(engine, size=2)

    engine.tasks.delete(name_of("b"), NOW)
    engine.tasks.create(QUEUE, task("d"), NOW)

    assert listed(engine, token=token) == (["c", "d"], "")


@pytest.mark.parametrize(
    ("parent", "arguments", "message"),
    [
        ("q", {}, "Queue name must be formatted"),
        (f"{PARENT}/queues/no", {}, "Queue does not exist."),
        (QUEUE, {"size": -1}, "The page size cannot be negative."),
        (QUEUE, {"token": "x"}, "The page token is not valid"),
    ],
)
def test_a_wrong_page_is_refused(
    engine: Engine, parent: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        engine.tasks.list(parent, NOW, **arguments)

    assert caught.value.message.startswith(message)


def test_the_token_of_another_queue_is_refused(engine: Engine) -> None:
    other = f"{PARENT}/queues/other"
    engine.queues.create(PARENT, queue(other), NOW)
    for _ in range(2):
        engine.tasks.create(QUEUE, task(), NOW)
    _, token = listed(engine, size=1)

    with pytest.raises(ApiError, match="page token is not valid"):
        engine.tasks.list(other, NOW, token=token)


# Deleting and buffering.


def test_a_deleted_task_is_not_sent(engine: Engine) -> None:
    for task_id in ("now", "soon"):
        engine.tasks.create(QUEUE, at(NOW + 5, task_id), NOW)

    engine.tasks.delete(name_of("now"), NOW)
    assert take_one(engine, NOW + 5).task == name_of("soon")
    engine.tasks.delete(name_of("soon"), NOW)

    assert engine.pending == 0
    assert engine.launcher.take_due(NOW + 5) == []
    assert engine.launcher.next_wake(NOW + 5) is None


@pytest.mark.parametrize("task_id", ["", "t1"])
def test_a_buffered_task_goes_where_its_queue_says(
    make_engine: Callable[..., Engine], task_id: str
) -> None:
    engine = make_engine({"http_target": TARGET})

    message = engine.tasks.buffer(QUEUE, task_id, b"hi", {"X-A": "1"}, NOW)

    assert message.name == name_of(task_id or "1")
    assert message.http_request.body == b"hi"
    dispatch = take_one(engine, NOW)
    assert dispatch.url.startswith("http://127.0.0.1")
    assert (dispatch.method, dispatch.body) == ("POST", b"hi")
    assert dispatch.headers["X-A"] == "1"


@pytest.mark.parametrize(
    ("fields", "task_id", "message"),
    [
        ({}, "t1", "BufferTask needs a queue with an httpTarget"),
        (
            {"http_target": {"http_method": "PUT"}},
            "t1",
            "BufferTask needs a queue with an httpTarget",
        ),
        ({"http_target": TARGET}, "a b", 'Task ID "a b" can contain only letters'),
        ({"http_target": TARGET}, "taken", "Requested entity already exists"),
    ],
)
def test_a_task_that_cannot_be_buffered_is_refused(
    make_engine: Callable[..., Engine],
    fields: dict[str, Any],
    task_id: str,
    message: str,
) -> None:
    engine = make_engine(fields)
    engine.tasks.create(QUEUE, task("taken"), NOW)

    with pytest.raises(ApiError) as caught:
        engine.tasks.buffer(QUEUE, task_id, b"", {}, NOW)

    assert caught.value.message.startswith(message)
    assert engine.pending == 1


def test_get_returns_the_url_as_it_was_given(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)

    assert engine.tasks.get(name_of("t1"), NOW).http_request.url == URL
