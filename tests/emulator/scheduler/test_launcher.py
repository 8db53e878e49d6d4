"""When jobs are sent: slots, overlap, forced runs, intervals, lost answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.rpc import code_pb2

from cloudtask.emulator.scheduler.engine.engine import Engine
from cloudtask.emulator.scheduler.engine.launcher import MAX_TAKEN
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.values.instants import SECOND

from .samples import (
    FAILURE,
    HOUR,
    JOB,
    MINUTE,
    NOW,
    PARENT,
    at,
    complete,
    job,
    open_engine,
    take,
    take_one,
    wake,
)

Make = Callable[..., Engine]
OK = Answer(204)
#: The first slot after NOW.
SLOT = at("2026-10-01T05:21:00Z")


@pytest.fixture
def minutely(engine: Engine) -> Engine:
    """An engine with a job for every minute."""
    engine.jobs.create(PARENT, job(), NOW)
    return engine


# Slots.


def test_a_job_is_sent_in_its_slot(minutely: Engine) -> None:
    assert wake(minutely) == SLOT
    assert take(minutely, SLOT - 1) == []

    dispatch = take_one(minutely, SLOT)

    assert (dispatch.job, dispatch.slot, dispatch.attempt) == (JOB, SLOT, 1)
    assert not dispatch.forced
    assert complete(minutely, dispatch, OK, SLOT + SECOND).outcome == "done"
    assert wake(minutely) == SLOT + MINUTE


def test_slots_that_nobody_was_there_for_are_left_out_but_the_first(
    minutely: Engine,
) -> None:
    late = SLOT + 3 * MINUTE + SECOND

    dispatch = take_one(minutely, late)

    assert dispatch.slot == SLOT
    complete(minutely, dispatch, OK, late)
    assert wake(minutely) == SLOT + 4 * MINUTE


def test_a_job_that_is_deleted_is_not_sent(minutely: Engine) -> None:
    minutely.jobs.delete(JOB)

    assert minutely.launcher.next_wake(0) is None
    assert take(minutely, SLOT) == []


@pytest.mark.parametrize(("answer", "outcome"), [(OK, "done"), (FAILURE, "gave up")])
def test_the_answer_to_a_job_that_was_deleted_changes_nothing(
    answer: Answer, outcome: str, minutely: Engine
) -> None:
    dispatch = take_one(minutely, SLOT)
    minutely.jobs.delete(JOB)
    minutely.jobs.create(PARENT, job(), SLOT)

    assert complete(minutely, dispatch, answer, SLOT).outcome == outcome
    assert minutely.jobs.get(JOB).status.code == -1
    assert not minutely.launcher.flights


def test_many_jobs_are_sent_in_turns(engine: Engine) -> None:
    for number in range(MAX_TAKEN + 1):
        engine.jobs.create(PARENT, job(f"j{number}"), NOW)

    first = take(engine, SLOT)
    assert wake(engine) == SLOT
    second = take(engine, SLOT)

    assert (len(first), len(second)) == (MAX_TAKEN, 1)
    assert len({each.job for each in first + second}) == MAX_TAKEN + 1
    assert wake(engine) == SLOT + MINUTE if not engine.launcher.flights else True
    assert take(engine, SLOT) == []


# Overlap.


def test_a_slot_waits_until_the_one_before_has_ended(minutely: Engine) -> None:
    first = take_one(minutely, SLOT)
    assert minutely.launcher.next_wake(SLOT) is None
    assert take(minutely, SLOT + MINUTE) == []

    complete(minutely, first, OK, SLOT + 90 * SECOND)

    second = take_one(minutely, SLOT + 90 * SECOND)
    assert second.slot == SLOT + MINUTE
    complete(minutely, second, OK, SLOT + 91 * SECOND)
    assert wake(minutely) == SLOT + 2 * MINUTE


def test_a_forced_run_does_not_wait(minutely: Engine) -> None:
    natural = take_one(minutely, SLOT)

    forced = minutely.launcher.run(minutely.jobs.find(JOB), SLOT + SECOND)
    minutely.commit()

    assert forced.forced
    assert minutely.launcher.flights == {natural.execution, forced.execution}
    complete(minutely, natural, OK, SLOT + 2 * SECOND)
    # Nor does a slot wait for it.
    assert take_one(minutely, SLOT + MINUTE).slot == SLOT + MINUTE


# Forced runs.


def test_a_forced_run_carries_the_next_scheduled_time(minutely: Engine) -> None:
    forced = minutely.launcher.run(minutely.jobs.find(JOB), NOW)

    assert (forced.slot, forced.dispatch_time) == (SLOT, NOW)
    assert complete(minutely, forced, OK, NOW).outcome == "done"
    # The slot is still to come.
    assert take_one(minutely, SLOT).slot == SLOT


def test_a_paused_job_can_be_forced(minutely: Engine) -> None:
    minutely.jobs.pause(JOB, NOW)

    forced = minutely.launcher.run(minutely.jobs.find(JOB), NOW + HOUR)

    assert forced.slot == SLOT + HOUR
    assert complete(minutely, forced, FAILURE, NOW + HOUR).outcome == "gave up"
    assert minutely.jobs.get(JOB).status.code == code_pb2.INTERNAL


def test_only_a_job_can_be_forced(engine: Engine) -> None:
    with pytest.raises(Exception, match="Job not found"):
        engine.jobs.find(JOB)


# Intervals.


def test_an_interval_counts_from_its_first_run(engine: Engine) -> None:
    engine.jobs.create(PARENT, job(schedule="every 1 minutes"), NOW)
    latency = 416_739

    slots = []
    for _ in range(4):
        slot = wake(engine)
        dispatch = take_one(engine, slot + latency)
        slots.append(dispatch.slot - SLOT)
        complete(engine, dispatch, OK, slot + 2 * latency)

    # Recorded: the first on the whole minute, then one fraction for all.
    assert slots == [0, *(number * MINUTE + latency for number in (1, 2, 3))]


def test_an_interval_is_delayed_by_a_long_run(engine: Engine) -> None:
    engine.jobs.create(PARENT, job(schedule="every 1 minutes"), NOW)
    first = take_one(engine, SLOT)
    assert take(engine, SLOT + MINUTE) == []

    complete(engine, first, OK, SLOT + 150 * SECOND)
    second = take_one(engine, SLOT + 150 * SECOND)
    complete(engine, second, OK, SLOT + 151 * SECOND)

    assert second.slot == SLOT + MINUTE
    assert wake(engine) == SLOT + 3 * MINUTE


def test_a_forced_run_leaves_an_interval_alone(engine: Engine) -> None:
    engine.jobs.create(PARENT, job(schedule="every 5 minutes"), NOW)
    slot = wake(engine)

    engine.launcher.run(engine.jobs.find(JOB), NOW + 7 * SECOND)

    assert wake(engine) == slot == at("2026-10-01T05:25:00Z")


def test_a_forced_run_may_move_an_interval(make_engine: Make) -> None:
    engine = make_engine(rephase=True)
    for job_id, schedule in (("nightly", "every 5 minutes"), ("cron", "0 9 * * *")):
        engine.jobs.create(PARENT, job(job_id, schedule=schedule), NOW)
        engine.launcher.run(engine.jobs.find(f"{PARENT}/jobs/{job_id}"), NOW + 7)

    assert wake(engine) == NOW + 7 + 5 * MINUTE
    assert engine.jobs.find(f"{PARENT}/jobs/cron").phase is None


def test_a_forced_run_of_a_paused_interval_moves_it_for_later(
    make_engine: Make,
) -> None:
    engine = make_engine(rephase=True)
    engine.jobs.create(PARENT, job(schedule="every 5 minutes"), NOW)
    engine.jobs.pause(JOB, NOW)
    engine.launcher.run(engine.jobs.find(JOB), NOW)

    engine.jobs.resume(JOB, NOW + MINUTE)

    assert wake(engine) == NOW + 5 * MINUTE


def test_a_new_schedule_gives_an_interval_a_new_phase(engine: Engine) -> None:
    engine.jobs.create(PARENT, job(schedule="every 1 minutes"), NOW)
    complete(engine, take_one(engine, SLOT + 7), OK, SLOT + 7)

    engine.jobs.update(job(schedule="every 2 minutes"), ["schedule"], SLOT + SECOND)

    assert wake(engine) == SLOT + 2 * MINUTE


# What is lost on the way.


def test_an_attempt_that_was_not_kept_is_made_by_the_next_call(
    minutely: Engine,
) -> None:
    minutely.commit()
    assert len(minutely.launcher.take_due(SLOT)) == 1

    minutely.rollback()

    assert not minutely.launcher.flights
    assert take_one(minutely, SLOT).attempt == 1


def test_an_attempt_whose_answer_was_not_kept_is_made_again(
    minutely: Engine,
) -> None:
    minutely.commit()
    first = take_one(minutely, SLOT)
    minutely.launcher.complete(first, OK, SLOT)

    minutely.rollback()

    assert minutely.launcher.next_wake(SLOT + 1) == SLOT + 1
    again = take_one(minutely, SLOT + 1)
    assert (again.slot, again.attempt) == (SLOT, 2)
    # The same headers, as of a retry.
    assert again.headers == first.headers
    assert complete(minutely, again, OK, SLOT + 1).outcome == "done"


def test_what_was_under_way_at_the_end_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    with open_engine(path) as engine:
        engine.jobs.create(PARENT, job(), NOW)
        take_one(engine, SLOT)

    with open_engine(path) as engine:
        [again] = take(engine, SLOT + SECOND)
        assert (again.slot, again.attempt) == (SLOT, 2)
        assert complete(engine, again, OK, SLOT + SECOND).outcome == "done"
        assert wake(engine) == SLOT + MINUTE
        assert engine.jobs.get(JOB).status.code == code_pb2.OK


def test_forgetting_drops_what_is_under_way(minutely: Engine) -> None:
    dispatch = take_one(minutely, SLOT)
    minutely.store.file.clear()

    minutely.forget()

    assert not minutely.launcher.flights
    assert minutely.launcher.next_wake(0) is None
    assert complete(minutely, dispatch, OK, SLOT).outcome == "done"
