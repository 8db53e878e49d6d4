import pytest
from google.rpc import code_pb2

from cloudtask.emulator import instants
from cloudtask.emulator.dispatches import Answer, Dispatch
from cloudtask.emulator.engine import Engine
from cloudtask.emulator.errors import ApiError
from cloudtask.emulator.instants import SECOND
from cloudtask.emulator.tasks import view
from tests.emulator.samples import (
    DAY,
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    URL,
    new_engine,
    queue,
    task,
)

FULL = 2
BASIC = 1


def take_one(engine: Engine, now: int) -> Dispatch:
    [dispatch] = engine.take_due(now)
    return dispatch


def test_a_new_queue_has_the_services_defaults() -> None:
    stored = new_engine().get_queue(QUEUE)

    assert stored.state == 1  # RUNNING
    limits = stored.rate_limits
    assert limits.max_dispatches_per_second == 500
    assert limits.max_burst_size == 100
    assert limits.max_concurrent_dispatches == 1000
    retry = stored.retry_config
    assert (retry.max_attempts, retry.max_doublings) == (100, 16)
    assert instants.read(retry.min_backoff) == SECOND // 10
    assert instants.read(retry.max_backoff) == HOUR
    assert not retry.HasField("max_retry_duration")


@pytest.mark.parametrize(
    ("rate", "burst"),
    # The steps between 500/s and 1/s are unconfirmed.
    [(500, 100), (499, 20), (50, 20), (49, 10), (1, 10), (0.5, 5)],
)
def test_the_service_chooses_the_burst_size(rate: float, burst: int) -> None:
    engine = new_engine(
        rate_limits={"max_dispatches_per_second": rate, "max_burst_size": -3}
    )

    assert engine.get_queue(QUEUE).rate_limits.max_burst_size == burst


def test_queues_are_listed_by_name_in_pages() -> None:
    engine = new_engine()
    for name in ("c", "a", "b"):
        engine.create_queue(PARENT, queue(f"{PARENT}/queues/{name}"))
    elsewhere = "projects/demo/locations/elsewhere"
    engine.create_queue(elsewhere, queue(f"{elsewhere}/queues/x"))

    first, token = engine.list_queues(PARENT, page_size=3)
    second, end = engine.list_queues(PARENT, page_size=3, after=token)

    names = [each.name.rpartition("/")[2] for each in [*first, *second]]
    assert names == ["a", "b", "c", "default"]
    assert end == ""


def test_a_created_task_is_stored_with_its_defaults() -> None:
    engine = new_engine()
    message = task(
        "t1",
        http={"headers": {"x-Own": "1", "USER-AGENT": "me"}},
        dispatch_count=9,
        last_attempt={"dispatch_time": {"seconds": 1}},
    )

    stored = engine.create_task(QUEUE, message, NOW)

    assert stored.name == f"{QUEUE}/tasks/t1"
    assert instants.read(stored.schedule_time) == NOW
    assert instants.read(stored.create_time) == NOW // SECOND * SECOND
    assert instants.read(stored.dispatch_deadline) == 600 * SECOND
    assert stored.http_request.http_method == 1  # POST
    assert dict(stored.http_request.headers) == {
        "x-Own": "1",
        "User-Agent": "Google-Cloud-Tasks",
    }
    assert stored.view == BASIC
    assert stored.dispatch_count == 0
    assert not stored.HasField("last_attempt")


def test_an_unnamed_task_gets_an_id() -> None:
    engine = new_engine()

    names = [engine.create_task(QUEUE, task(), NOW).name for _ in range(2)]

    assert names == [f"{QUEUE}/tasks/1", f"{QUEUE}/tasks/2"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (NOW - HOUR, NOW),  # The past is now.
        (NOW + 1, NOW + 1),  # Microseconds are kept.
        (NOW + 720 * HOUR, NOW + 720 * HOUR),  # As far as it goes.
    ],
)
def test_a_schedule_time_is_kept_to_the_microsecond(asked: int, expected: int) -> None:
    engine = new_engine()
    message = task("t1")
    instants.write(message.schedule_time, asked)
    message.schedule_time.nanos += 999  # Truncated.

    engine.create_task(QUEUE, message, NOW)

    assert engine.next_due() == expected
    assert engine.take_due(expected - 1) == []
    assert len(engine.take_due(expected)) == 1


def test_only_the_full_view_has_the_body() -> None:
    stored = new_engine().create_task(QUEUE, task("t1", http={"body": b"hi"}), NOW)

    basic, full = view(stored, BASIC), view(stored, FULL)

    assert (basic.http_request.body, basic.view) == (b"", BASIC)
    assert basic.http_request.headers == stored.http_request.headers
    assert (full.http_request.body, full.view) == (b"hi", FULL)
    assert (stored.http_request.body, stored.view) == (b"hi", BASIC)


def test_a_task_without_a_body_is_shown_without_a_copy() -> None:
    stored = new_engine().create_task(QUEUE, task("t1"), NOW)

    assert view(stored, 0) is stored


def test_due_tasks_come_in_the_order_of_their_schedule_times() -> None:
    engine = new_engine()
    for task_id, wait in [("late", 30), ("early", 10), ("later", 99), ("mid", 20)]:
        message = task(task_id)
        instants.write(message.schedule_time, NOW + wait)
        engine.create_task(QUEUE, message, NOW)

    dispatches = engine.take_due(NOW + 30)

    assert [each.task.rpartition("/")[2] for each in dispatches] == [
        "early",
        "mid",
        "late",
    ]
    assert engine.next_due() == NOW + 99


def test_a_queue_sends_no_more_at_once_than_it_may() -> None:
    engine = new_engine(rate_limits={"max_concurrent_dispatches": 2})
    other = f"{PARENT}/queues/other"
    engine.create_queue(PARENT, queue(other))
    for _ in range(3):
        engine.create_task(QUEUE, task(), NOW)
    engine.create_task(other, task(), NOW)

    first = engine.take_due(NOW)

    assert [each.queue for each in first] == [QUEUE, QUEUE, other]
    assert engine.next_due() is None
    assert engine.take_due(NOW) == []
    engine.complete(first[0], Answer(200), NOW)
    assert len(engine.take_due(NOW)) == 1


def test_success_ends_a_task() -> None:
    engine = new_engine()
    engine.create_task(QUEUE, task("t1"), NOW)

    verdict = engine.complete(take_one(engine, NOW), Answer(204), NOW)

    assert (verdict.outcome, verdict.retry_at) == ("done", None)
    assert engine.pending == 0
    assert engine.next_due() is None


@pytest.mark.parametrize("status", [199, 300, 302, 404, 500])
def test_anything_but_2xx_is_tried_again(status: int) -> None:
    engine = new_engine()
    engine.create_task(QUEUE, task("t1"), NOW)

    verdict = engine.complete(take_one(engine, NOW), Answer(status), NOW + 5)

    assert verdict.outcome == "retry"
    assert verdict.retry_at == NOW + 5 + SECOND // 10
    assert engine.next_due() == verdict.retry_at


def test_counters_and_attempts_are_kept_on_the_task() -> None:
    engine = new_engine()
    stored = engine.create_task(QUEUE, task("t1"), NOW)
    dispatch = take_one(engine, NOW + 1)
    assert (stored.dispatch_count, stored.response_count) == (1, 0)
    assert not stored.last_attempt.HasField("response_time")

    engine.complete(dispatch, Answer(503), NOW + 2)
    retry = instants.read(stored.schedule_time)
    engine.complete(take_one(engine, retry), Answer(timed_out=True), retry + 9)

    assert (stored.dispatch_count, stored.response_count) == (2, 1)
    assert instants.read(stored.first_attempt.dispatch_time) == NOW + 1
    assert not stored.first_attempt.HasField("response_status")
    last = stored.last_attempt
    assert instants.read(last.schedule_time) == retry
    assert instants.read(last.dispatch_time) == retry
    assert not last.HasField("response_time")
    assert last.response_status.code == code_pb2.DEADLINE_EXCEEDED
    assert last.response_status.message == "DEADLINE_EXCEEDED(4): HTTP status code 504"


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (Answer(), code_pb2.UNKNOWN, "UNKNOWN(2): HTTP status code 0"),
        (Answer(404), code_pb2.NOT_FOUND, "NOT_FOUND(5): HTTP status code 404"),
        (Answer(418), code_pb2.UNKNOWN, "UNKNOWN(2): HTTP status code 418"),
        (Answer(201), code_pb2.OK, "OK(0): HTTP status code 201"),
    ],
)
def test_the_last_attempt_has_a_status(answer: Answer, code: int, message: str) -> None:
    engine = new_engine()
    stored = engine.create_task(QUEUE, task("t1"), NOW)

    engine.complete(take_one(engine, NOW), answer, NOW + 1)

    status = stored.last_attempt.response_status
    assert (status.code, status.message) == (code, message)


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        (NOW + 5 * SECOND, 5 * SECOND),  # Later than the backoff.
        (NOW + 1, SECOND // 10),  # Sooner: the backoff holds.
    ],
)
def test_retry_after_delays_but_never_hurries(asked: int, delay: int) -> None:
    engine = new_engine()
    engine.create_task(QUEUE, task("t1"), NOW)

    verdict = engine.complete(take_one(engine, NOW), Answer(503, retry_at=asked), NOW)

    assert verdict.retry_at == NOW + delay


def test_a_queues_retries_follow_its_configuration() -> None:
    engine = new_engine(
        retry_config={
            "max_attempts": 9,
            "min_backoff": {"seconds": 10},
            "max_backoff": {"seconds": 300},
            "max_doublings": 3,
        }
    )
    engine.create_task(QUEUE, task("t1"), NOW)

    delays, outcome, now = [], "retry", NOW
    while outcome == "retry":
        verdict = engine.complete(take_one(engine, now), Answer(500), now)
        outcome = verdict.outcome
        if verdict.retry_at is not None:
            delays.append((verdict.retry_at - now) // SECOND)
            now = verdict.retry_at

    assert delays == [10, 20, 40, 80, 160, 240, 300, 300]
    assert outcome == "gave up"
    assert engine.pending == 0


def test_a_tasks_own_retry_config_goes_over_the_queues() -> None:
    engine = new_engine(retry_config={"min_backoff": {"seconds": 3}})
    engine.create_task(QUEUE, task("t1", retry_config={"max_attempts": 2}), NOW)

    first = engine.complete(take_one(engine, NOW), Answer(500), NOW)
    assert first.retry_at == NOW + 3 * SECOND
    second = engine.complete(take_one(engine, first.retry_at), Answer(500), NOW)

    assert second.outcome == "gave up"


def test_a_retry_after_the_retention_is_none() -> None:
    engine = new_engine(
        retry_config={"max_attempts": -1, "max_backoff": {"seconds": 40 * 86400}}
    )
    engine.create_task(QUEUE, task("t1"), NOW)

    verdict = engine.complete(
        take_one(engine, NOW), Answer(500, retry_at=NOW + 31 * DAY), NOW
    )

    assert verdict.outcome == "gave up"


def test_a_name_is_blocked_for_the_life_of_its_tombstone() -> None:
    engine = new_engine(tombstone_ttl=HOUR)
    engine.create_task(QUEUE, task("t1"), NOW)
    engine.complete(take_one(engine, NOW), Answer(200), NOW)

    with pytest.raises(ApiError, match="already exists"):
        engine.create_task(QUEUE, task("t1"), NOW + HOUR - 1)
    with pytest.raises(ApiError, match="The task no longer exists"):
        engine.get_task(f"{QUEUE}/tasks/t1", NOW + HOUR - 1)
    with pytest.raises(ApiError, match="entity was not found"):
        engine.get_task(f"{QUEUE}/tasks/t1", NOW + HOUR)
    engine.create_task(QUEUE, task("t1"), NOW + HOUR)


def test_old_tombstones_are_forgotten() -> None:
    engine = new_engine(tombstone_ttl=HOUR)
    for when in (0, 1, 2 * HOUR):
        name = engine.create_task(QUEUE, task(), NOW + when).name
        engine.delete_task(name, NOW + when)

    assert len(engine._tombstones) == 1


def test_a_deleted_task_is_not_sent() -> None:
    engine = new_engine()
    for task_id in ("now", "soon"):
        message = task(task_id)
        instants.write(message.schedule_time, NOW + 5)
        engine.create_task(QUEUE, message, NOW)

    engine.delete_task(f"{QUEUE}/tasks/now", NOW)
    assert engine.next_due() == NOW + 5
    engine.delete_task(f"{QUEUE}/tasks/soon", NOW)

    assert engine.next_due() is None
    assert engine.take_due(NOW + 5) == []


def test_a_task_deleted_just_before_it_is_due_is_not_sent() -> None:
    engine = new_engine()
    engine.create_task(QUEUE, task("t1"), NOW)
    engine.delete_task(f"{QUEUE}/tasks/t1", NOW)

    assert engine.take_due(NOW) == []


def test_a_task_deleted_while_it_waits_for_a_slot_is_not_sent() -> None:
    engine = new_engine(rate_limits={"max_concurrent_dispatches": 1})
    for task_id in ("first", "second"):
        engine.create_task(QUEUE, task(task_id), NOW)
    dispatch = take_one(engine, NOW)
    engine.delete_task(f"{QUEUE}/tasks/second", NOW)

    engine.complete(dispatch, Answer(200), NOW)

    assert engine.take_due(NOW) == []


@pytest.mark.parametrize(("status", "outcome"), [(200, "done"), (500, "gave up")])
def test_a_task_deleted_in_flight_is_not_tried_again(status: int, outcome: str) -> None:
    engine = new_engine(tombstone_ttl=0)
    engine.create_task(QUEUE, task("t1"), NOW)
    dispatch = take_one(engine, NOW)
    engine.delete_task(f"{QUEUE}/tasks/t1", NOW)
    namesake = engine.create_task(QUEUE, task("t1"), NOW + HOUR)

    verdict = engine.complete(dispatch, Answer(status), NOW)

    assert verdict.outcome == outcome
    assert verdict.retry_at is None
    assert namesake.dispatch_count == 0


def test_get_task_returns_the_stored_task() -> None:
    engine = new_engine()
    engine.create_task(QUEUE, task("t1"), NOW)

    assert engine.get_task(f"{QUEUE}/tasks/t1", NOW).http_request.url == URL
