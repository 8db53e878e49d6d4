from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.rpc import code_pb2

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.tasks.engine.launcher import MAX_REORDERING, MAX_TAKEN
from cloudtask.emulator.tasks.faults import Fault, Faults
from cloudtask.emulator.tasks.model.dispatch import Dispatch, Verdict
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import (
    DAY,
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    at,
    attempt,
    name_of,
    queue,
    take_one,
    task,
)

Make = Callable[..., Engine]
TENTH = SECOND // 10
FAILED = Answer(500)
DONE = Answer(200)


def ids(dispatches: list[Dispatch]) -> list[str]:
    return [each.task.rpartition("/")[2] for each in dispatches]


def stored(engine: Engine, task_id: str, now: int = NOW) -> Any:
    return engine.tasks.get(name_of(task_id), now)


def create(engine: Engine, *task_ids: str, now: int = NOW) -> None:
    for task_id in task_ids:
        engine.tasks.create(QUEUE, task(task_id), now)


# When tasks are sent.


def test_due_tasks_come_in_the_order_of_their_schedule_times(engine: Engine) -> None:
    for task_id, wait in [("late", 30), ("early", 10), ("later", 99), ("mid", 20)]:
        engine.tasks.create(QUEUE, at(NOW + wait, task_id), NOW)

    assert ids(engine.launcher.take_due(NOW + 30)) == ["early", "mid", "late"]
    assert engine.launcher.next_wake(NOW + 30) == NOW + 99


def test_nothing_wakes_an_engine_without_tasks(engine: Engine) -> None:
    assert engine.launcher.next_wake(NOW) is None
    assert engine.launcher.take_due(NOW) == []


def test_a_task_is_taken_once(engine: Engine) -> None:
    create(engine, "t1")

    take_one(engine, NOW)

    assert engine.launcher.take_due(NOW + DAY) == []
    assert engine.launcher.next_wake(NOW) is None
    assert engine.pending == 1


def test_a_queue_sends_no_more_at_once_than_it_may(make_engine: Make) -> None:
    engine = make_engine({"rate_limits": {"max_concurrent_dispatches": 2}})
    other = f"{PARENT}/queues/other"
    engine.queues.create(PARENT, queue(other), NOW)
    create(engine, "a", "b", "c")
    engine.tasks.create(other, task(name=f"{other}/tasks/d"), NOW)

    first = engine.launcher.take_due(NOW)

    assert sorted(ids(first)) == ["a", "b", "d"]
    assert engine.launcher.next_wake(NOW) is None
    assert engine.launcher.take_due(NOW) == []
    engine.launcher.complete(first[0], DONE, NOW)
    assert len(engine.launcher.take_due(NOW)) == 1


def test_a_queue_sends_no_faster_than_its_rate(make_engine: Make) -> None:
    engine = make_engine({"rate_limits": {"max_dispatches_per_second": 2}})
    create(engine, *(f"t{number:02}" for number in range(13)))
    assert len(engine.launcher.take_due(NOW)) == 10  # Its burst size.

    now = NOW
    for _ in range(3):
        assert engine.launcher.next_wake(now) == now + SECOND // 2
        now += SECOND // 2
        assert engine.launcher.take_due(now - 1) == []
        take_one(engine, now)

    assert engine.launcher.take_due(now + SECOND) == []
    assert engine.launcher.next_wake(now + SECOND) is None


def test_a_large_backlog_is_taken_bit_by_bit(make_engine: Make) -> None:
    """What else the loop has to do does not wait for all of it."""
    engine = make_engine()
    [live] = engine.live_queues
    live.bucket.configure(10**6, 10**6, NOW)
    create(engine, *(f"t{number}" for number in range(MAX_TAKEN + 1)))

    assert len(engine.launcher.take_due(NOW + SECOND)) == MAX_TAKEN
    assert len(engine.launcher.take_due(NOW + SECOND)) == 1


def test_deleted_tasks_cost_no_tokens(make_engine: Make) -> None:
    engine = make_engine({"rate_limits": {"max_dispatches_per_second": 1}})
    create(engine, "a", "b")
    engine.tasks.delete(name_of("a"), NOW)
    engine.tasks.delete(name_of("b"), NOW)
    assert engine.launcher.take_due(NOW) == []

    create(engine, *(f"t{number}" for number in range(11)))

    assert len(engine.launcher.take_due(NOW)) == 10


@pytest.mark.parametrize("status", [429, 503])
def test_a_target_with_too_much_to_do_slows_its_queue(
    make_engine: Make, status: int
) -> None:
    engine = make_engine({"rate_limits": {"max_dispatches_per_second": 1}})
    create(engine, *(f"t{number:02}" for number in range(20)))
    first, *_ = engine.launcher.take_due(NOW)

    engine.launcher.complete(first, Answer(status), NOW)

    assert engine.launcher.next_wake(NOW) == NOW + 2 * SECOND


# What comes of it.


def test_success_ends_a_task(engine: Engine) -> None:
    create(engine, "t1")

    assert attempt(engine, Answer(204), NOW) == Verdict("done")
    assert engine.pending == 0
    assert engine.launcher.next_wake(NOW) is None


@pytest.mark.parametrize("status", [199, 300, 302, 404, 500])
def test_anything_but_2xx_is_tried_again(engine: Engine, status: int) -> None:
    create(engine, "t1")

    verdict = engine.launcher.complete(take_one(engine, NOW), Answer(status), NOW + 5)

    assert verdict == Verdict("retry", NOW + 5 + TENTH)
    assert engine.launcher.next_wake(NOW) == NOW + 5 + TENTH


def test_counters_and_attempts_are_kept_on_the_task(engine: Engine) -> None:
    create(engine, "t1")
    dispatch = take_one(engine, NOW + 1)
    message = stored(engine, "t1")
    assert (message.dispatch_count, message.response_count) == (1, 0)
    assert not message.last_attempt.HasField("response_time")

    engine.launcher.complete(dispatch, Answer(503), NOW + 2)
    retry = instants.read(stored(engine, "t1").schedule_time)
    engine.launcher.complete(take_one(engine, retry), Answer(timed_out=True), retry + 9)

    message = stored(engine, "t1")
    assert (message.dispatch_count, message.response_count) == (2, 1)
    assert instants.read(message.first_attempt.dispatch_time) == NOW + 1
    assert not message.first_attempt.HasField("response_status")
    last = message.last_attempt
    assert instants.read(last.schedule_time) == retry
    assert instants.read(last.dispatch_time) == retry
    assert not last.HasField("response_time")
    assert last.response_status.code == code_pb2.DEADLINE_EXCEEDED
    assert last.response_status.message == "DEADLINE_EXCEEDED(4): HTTP status code 504"


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        ("5", 5 * SECOND),  # Later than the backoff.
        ("0", TENTH),  # Sooner: the backoff holds.
    ],
)
def test_retry_after_delays_but_never_hurries(
    engine: Engine, asked: str, delay: int
) -> None:
    create(engine, "t1")

    verdict = attempt(engine, Answer(503, retry_after=asked), NOW)

    assert verdict.retry_at == NOW + delay


def test_a_queues_retries_follow_its_configuration(make_engine: Make) -> None:
    """The worked example of Google's documentation."""
    engine = make_engine(
        {
            "retry_config": {
                "max_attempts": 9,
                "min_backoff": {"seconds": 10},
                "max_backoff": {"seconds": 300},
                "max_doublings": 3,
            }
        }
    )
    create(engine, "t1")

    delays, verdict, now = [], Verdict("retry", NOW), NOW
    while verdict.retry_at is not None:
        delays.append((verdict.retry_at - now) // SECOND)
        now = verdict.retry_at
        verdict = attempt(engine, FAILED, now)

    assert delays == [0, 10, 20, 40, 80, 160, 240, 300, 300]
    assert verdict == Verdict("gave up")
    assert engine.pending == 0


def outcomes(engine: Engine, failures: int) -> list[str]:
    """Return what becomes of a task that fails once a second."""
    create(engine, "t1")
    found, now = [], NOW
    for _ in range(failures):
        verdict = attempt(engine, FAILED, now)
        found.append(verdict.outcome)
        if verdict.retry_at is None:
            break
        now = verdict.retry_at
    return found


SECONDS = {"min_backoff": timedelta(seconds=1), "max_backoff": timedelta(seconds=1)}


@pytest.mark.parametrize(
    ("max_attempts", "max_retry_duration", "attempts"),
    [
        (3, None, 3),
        (3, timedelta(seconds=5), 6),  # Both have to be reached.
        (7, timedelta(seconds=5), 7),
        (-1, timedelta(seconds=5), 6),
        (-1, None, None),
        (1, None, 1),
    ],
)
def test_retries_end_as_the_table_says(
    make_engine: Make,
    max_attempts: int,
    max_retry_duration: timedelta | None,
    attempts: int | None,
) -> None:
    config = {
        **SECONDS,
        "max_attempts": max_attempts,
        "max_retry_duration": max_retry_duration,
    }
    engine = make_engine({"retry_config": config})

    found = outcomes(engine, failures=300)

    if attempts is None:
        assert found == ["retry"] * 300
    else:
        assert found == ["retry"] * (attempts - 1) + ["gave up"]


def test_a_tasks_own_retry_config_goes_over_the_queues(make_engine: Make) -> None:
    engine = make_engine({"retry_config": {"min_backoff": {"seconds": 3}}})
    engine.tasks.create(QUEUE, task("t1", retry_config={"max_attempts": 2}), NOW)

    first = attempt(engine, FAILED, NOW)
    assert first.retry_at == NOW + 3 * SECOND

    assert attempt(engine, FAILED, first.retry_at) == Verdict("gave up")


def test_a_changed_queue_counts_for_tasks_that_are_there(engine: Engine) -> None:
    create(engine, "t1")
    wanted = queue(retry_config={"max_attempts": 1})
    engine.queues.update(wanted, ["retry_config.max_attempts"], NOW)

    assert attempt(engine, FAILED, NOW) == Verdict("gave up")


def test_a_retry_after_the_retention_is_none(make_engine: Make) -> None:
    engine = make_engine({"retry_config": {"max_attempts": -1}})
    create(engine, "t1")
    created = NOW // SECOND * SECOND

    almost_a_month = str(31 * DAY // SECOND - 1)
    soon = attempt(engine, Answer(500, retry_after=almost_a_month), NOW)
    assert soon.outcome == "retry"
    late = attempt(engine, FAILED, created + 31 * DAY - 1)

    assert late == Verdict("gave up")


@pytest.mark.parametrize(
    ("answer", "outcome"), [(DONE, "done"), (FAILED, "gave up")], ids=["200", "500"]
)
def test_a_task_deleted_in_flight_is_not_tried_again(
    make_engine: Make, answer: Answer, outcome: str
) -> None:
    engine = make_engine(tombstone_ttl=0)
    create(engine, "t1")
    dispatch = take_one(engine, NOW)
    engine.tasks.delete(name_of("t1"), NOW)
    create(engine, "t1", now=NOW + 1)

    verdict = engine.launcher.complete(dispatch, answer, NOW)

    assert verdict == Verdict(outcome)  # type: ignore[arg-type]
    assert stored(engine, "t1").dispatch_count == 0
    assert engine.pending == 1


def test_the_slot_of_a_deleted_task_is_free_once_its_answer_is_there(
    make_engine: Make,
) -> None:
    engine = make_engine({"rate_limits": {"max_concurrent_dispatches": 1}})
    create(engine, "a", "b")
    dispatch = take_one(engine, NOW)
    engine.tasks.delete(name_of("a"), NOW)
    assert engine.launcher.take_due(NOW) == []

    engine.launcher.complete(dispatch, DONE, NOW)

    assert take_one(engine, NOW).task == name_of("b")


def test_the_answer_to_a_purged_task_changes_nothing(engine: Engine) -> None:
    create(engine, "t1")
    dispatch = take_one(engine, NOW)
    engine.queues.purge(QUEUE, NOW)

    verdict = engine.launcher.complete(dispatch, FAILED, NOW)

    assert verdict == Verdict("gave up")
    assert engine.pending == 0


@pytest.mark.parametrize("made_again", [False, True])
def test_the_answer_to_a_task_of_a_deleted_queue_changes_nothing(
    make_engine: Make, made_again: bool
) -> None:
    engine = make_engine(queue_tombstone_ttl=0)
    create(engine, "t1")
    dispatch = take_one(engine, NOW)
    engine.queues.delete(QUEUE, NOW)
    if made_again:
        engine.queues.create(PARENT, queue(), NOW)
        create(engine, "t1")

    verdict = engine.launcher.complete(dispatch, DONE, NOW)

    assert verdict == Verdict("done")
    assert engine.pending == made_again
    assert [live.in_flight for live in engine.live_queues] == [0] * made_again


# RunTask.


def test_a_task_runs_before_its_time(engine: Engine) -> None:
    engine.tasks.create(QUEUE, at(NOW + DAY, "t1"), NOW)

    shown, dispatch = engine.launcher.run(name_of("t1"), NOW)

    assert shown.dispatch_count == 1
    assert instants.read(shown.schedule_time) == NOW + DAY
    assert not shown.last_attempt.HasField("response_time")
    assert (dispatch.attempt, dispatch.forced) == (1, True)
    assert engine.launcher.complete(dispatch, DONE, NOW) == Verdict("done")
    assert engine.pending == 0


def test_a_task_runs_whatever_its_queue_says(make_engine: Make) -> None:
    engine = make_engine(
        {
            "rate_limits": {
                "max_dispatches_per_second": 1,
                "max_concurrent_dispatches": 1,
            }
        }
    )
    [live] = engine.live_queues
    live.bucket.take(10, NOW)
    create(engine, "a", "b")
    engine.queues.pause(QUEUE, NOW)

    for task_id in ("a", "b"):
        engine.launcher.run(name_of(task_id), NOW)

    assert live.in_flight == 2


def test_a_task_that_is_run_takes_no_token(make_engine: Make) -> None:
    engine = make_engine({"rate_limits": {"max_dispatches_per_second": 1}})
    create(engine, *(f"t{number:02}" for number in range(11)))

    engine.launcher.run(name_of("t00"), NOW)

    assert len(engine.launcher.take_due(NOW)) == 10


def test_a_run_that_fails_counts_its_delay_from_when_it_was_run(
    engine: Engine,
) -> None:
    engine.tasks.create(QUEUE, at(NOW + DAY, "t1"), NOW)
    _, dispatch = engine.launcher.run(name_of("t1"), NOW)

    verdict = engine.launcher.complete(dispatch, FAILED, NOW + TENTH - 1)

    assert verdict == Verdict("retry", NOW + TENTH)
    assert instants.read(stored(engine, "t1").schedule_time) == NOW + TENTH
    assert engine.launcher.next_wake(NOW) == NOW + TENTH


@pytest.mark.parametrize("last", [DONE, FAILED], ids=["200", "500"])
def test_a_task_can_be_run_while_it_is_being_sent(engine: Engine, last: Answer) -> None:
    create(engine, "t1")
    first = take_one(engine, NOW)
    _, second = engine.launcher.run(name_of("t1"), NOW + 1)
    assert (first.attempt, second.attempt) == (1, 2)
    assert stored(engine, "t1").dispatch_count == 2

    # The last answer decides.
    assert engine.launcher.complete(second, FAILED, NOW + 2) == Verdict("retry")
    assert engine.launcher.take_due(NOW + HOUR) == []
    verdict = engine.launcher.complete(first, last, NOW + 3)

    assert verdict.outcome == ("done" if last is DONE else "retry")
    assert engine.pending == (last is not DONE)


def test_the_success_of_one_attempt_is_enough(engine: Engine) -> None:
    create(engine, "t1")
    first = take_one(engine, NOW)
    _, second = engine.launcher.run(name_of("t1"), NOW)

    assert engine.launcher.complete(first, DONE, NOW) == Verdict("done")
    assert engine.launcher.complete(second, FAILED, NOW) == Verdict("gave up")
    assert engine.pending == 0


# Faults.


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def faulty(make_engine: Make, faults: Faults) -> Engine:
    return make_engine(faults=faults)


def test_a_fault_goes_with_the_dispatch_that_it_matches(
    faulty: Engine, faults: Faults
) -> None:
    added = faults.add(Fault("timeout", task="b"))
    create(faulty, "a", "b")

    first, second = faulty.launcher.take_due(NOW)

    assert first.fault is None
    assert second.fault == added


def test_a_fault_can_meet_a_task_that_is_run(faulty: Engine, faults: Faults) -> None:
    added = faults.add(Fault("unreachable"))
    create(faulty, "a")

    _, dispatch = faulty.launcher.run(name_of("a"), NOW)

    assert dispatch.fault == added


def test_a_delayed_task_is_sent_later_and_told_its_own_time(
    faulty: Engine, faults: Faults
) -> None:
    faults.add(Fault("delay", delay=timedelta(seconds=5)))
    create(faulty, "t1")

    assert faulty.launcher.take_due(NOW) == []
    assert faulty.launcher.next_wake(NOW) == NOW + 5 * SECOND

    dispatch = take_one(faulty, NOW + 5 * SECOND)
    seconds, micros = divmod(NOW, SECOND)
    assert dispatch.headers["X-CloudTasks-TaskETA"] == f"{seconds}.{micros:06}"


def test_every_dispatch_is_delayed_once_however_long_that_is_to_go_on(
    faulty: Engine, faults: Faults
) -> None:
    faults.add(Fault("delay", delay=timedelta(seconds=5), times=None))
    create(faulty, "t1")

    assert faulty.launcher.take_due(NOW) == []
    failed = attempt(faulty, FAILED, NOW + 5 * SECOND)
    assert failed.retry_at == NOW + 5 * SECOND + TENTH
    assert faulty.launcher.take_due(failed.retry_at) == []
    assert attempt(faulty, DONE, failed.retry_at + 5 * SECOND) == Verdict("done")


def test_a_task_can_be_overtaken_by_one_that_is_taken_with_it(
    faulty: Engine, faults: Faults
) -> None:
    faults.add(Fault("reorder", task="a"))
    create(faulty, "a", "b", "c")

    assert ids(faulty.launcher.take_due(NOW)) == ["b", "c"]
    assert ids(faulty.launcher.take_due(NOW)) == ["a"]


def test_a_task_can_be_overtaken_by_one_that_comes_later(
    faulty: Engine, faults: Faults
) -> None:
    faults.add(Fault("reorder", task="a", times=None))
    create(faulty, "a")
    assert faulty.launcher.take_due(NOW) == []

    create(faulty, "b", now=NOW + 5)

    assert ids(faulty.launcher.take_due(NOW + 5)) == ["b"]
    assert ids(faulty.launcher.take_due(NOW + 5)) == ["a"]


def test_a_task_is_overtaken_once(make_engine: Make, faults: Faults) -> None:
    limits = {"max_concurrent_dispatches": 1}
    engine = make_engine({"rate_limits": limits}, faults=faults)
    faults.add(Fault("reorder", task="a"))
    create(engine, "a", "b", "c")
    assert engine.launcher.take_due(NOW) == []

    order = []
    for second in range(1, 5):
        now = NOW + second * SECOND
        dispatch = take_one(engine, now)
        order += ids([dispatch])
        engine.launcher.complete(dispatch, DONE, now)
        if second == 1:
            create(engine, "d", now=now + 1)

    # "c" was due before "a" was let go, "d" was not.
    assert order == ["b", "c", "a", "d"]


def test_a_task_that_nothing_overtakes_goes_in_the_end(
    faulty: Engine, faults: Faults
) -> None:
    faults.add(Fault("reorder", times=None))
    create(faulty, "a")
    assert faulty.launcher.take_due(NOW) == []

    assert faulty.launcher.next_wake(NOW) == NOW + MAX_REORDERING
    assert ids(faulty.launcher.take_due(NOW + MAX_REORDERING)) == ["a"]


def test_a_delayed_task_does_not_go_early_because_another_one_is_sent(
    faulty: Engine, faults: Faults
) -> None:
    faults.add(Fault("delay", task="a", delay=timedelta(seconds=5)))
    create(faulty, "a", "b")

    assert ids(faulty.launcher.take_due(NOW)) == ["b"]
    assert faulty.launcher.take_due(NOW + SECOND) == []


def test_a_held_task_that_is_run_keeps_to_its_backoff(
    faulty: Engine, faults: Faults
) -> None:
    faults.add(Fault("reorder", task="a"))
    create(faulty, "a")
    assert faulty.launcher.take_due(NOW) == []
    _, dispatch = faulty.launcher.run(name_of("a"), NOW)
    faulty.launcher.complete(dispatch, FAILED, NOW)

    create(faulty, "b")
    assert ids(faulty.launcher.take_due(NOW)) == ["b"]

    assert faulty.launcher.take_due(NOW + TENTH - 1) == []
    assert ids(faulty.launcher.take_due(NOW + TENTH)) == ["a"]


def test_a_held_task_can_be_deleted(faulty: Engine, faults: Faults) -> None:
    faults.add(Fault("reorder", task="a"))
    create(faulty, "a")
    assert faulty.launcher.take_due(NOW) == []
    faulty.tasks.delete(name_of("a"), NOW)

    create(faulty, "b")

    assert ids(faulty.launcher.take_due(NOW)) == ["b"]
    assert faulty.pending == 1


# Rollbacks.


def test_a_dispatch_that_is_undone_is_due_again(engine: Engine) -> None:
    create(engine, "t1")
    engine.commit()
    undone = take_one(engine, NOW)

    engine.rollback()

    assert undone.serial not in engine.launcher.flights
    again = take_one(engine, NOW)
    assert (again.attempt, again.serial) == (1, undone.serial + 1)
    [live] = engine.live_queues
    assert live.in_flight == 1


@pytest.mark.parametrize("answer", [DONE, FAILED], ids=["200", "500"])
def test_an_answer_that_is_undone_is_asked_for_again(
    engine: Engine, answer: Answer
) -> None:
    create(engine, "t1")
    dispatch = take_one(engine, NOW)
    engine.commit()
    engine.launcher.complete(dispatch, answer, NOW)

    engine.rollback()

    assert engine.launcher.next_wake(NOW) == NOW
    assert engine.pending == 1
    again = take_one(engine, NOW)
    assert again.attempt == 2
    assert stored(engine, "t1").response_count == 0
    [live] = engine.live_queues
    assert live.in_flight == 1


def test_an_undone_answer_does_not_hurry_an_attempt_that_is_under_way(
    engine: Engine,
) -> None:
    create(engine, "t1")
    first = take_one(engine, NOW)
    _, second = engine.launcher.run(name_of("t1"), NOW)
    engine.commit()
    engine.launcher.complete(first, FAILED, NOW)
    engine.rollback()

    assert engine.launcher.take_due(NOW) == []
    verdict = engine.launcher.complete(second, FAILED, NOW)

    assert verdict.outcome == "retry"
    assert verdict.retry_at is not None
    assert take_one(engine, verdict.retry_at).attempt == 3


def test_an_undone_answer_does_not_count_in_a_run_that_follows(
    engine: Engine,
) -> None:
    create(engine, "t1")
    first = take_one(engine, NOW)
    engine.commit()
    engine.launcher.complete(first, FAILED, NOW)
    engine.rollback()

    _, second = engine.launcher.run(name_of("t1"), NOW)
    verdict = engine.launcher.complete(second, FAILED, NOW)

    assert verdict == Verdict("retry", NOW + 2 * TENTH)


def test_an_undone_answer_does_not_count_in_one_that_follows(engine: Engine) -> None:
    create(engine, "t1")
    first = take_one(engine, NOW)
    _, second = engine.launcher.run(name_of("t1"), NOW)
    engine.commit()
    engine.launcher.complete(first, FAILED, NOW)
    engine.rollback()

    verdict = engine.launcher.complete(second, FAILED, NOW)

    assert verdict == Verdict("retry", NOW + 2 * TENTH)


def test_a_task_is_not_lost_if_its_rescue_is_undone_too(engine: Engine) -> None:
    """The disk stays full for a while."""
    create(engine, "t1")
    dispatch = take_one(engine, NOW)
    engine.commit()
    engine.launcher.complete(dispatch, DONE, NOW)
    engine.rollback()

    for _ in range(3):
        assert take_one(engine, NOW).task == name_of("t1")
        engine.rollback()

    assert take_one(engine, NOW).task == name_of("t1")
    engine.commit()
    assert engine.launcher.next_wake(NOW) is None
