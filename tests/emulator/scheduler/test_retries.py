"""A7: deadlines and retries. The table of recordings, row by row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from cloudtask.emulator.scheduler.engine.engine import Engine
from cloudtask.emulator.scheduler.model.retries import RetryPolicy
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.values.instants import SECOND

from .samples import (
    FAILURE,
    JOB,
    MINUTE,
    NOW,
    PARENT,
    complete,
    fail_attempts,
    job,
    take,
    take_one,
    wake,
)

Make = Callable[..., Engine]
YEARLY = "0 0 1 1 *"


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def config(count: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a RetryConfig; durations in seconds by short names."""
    names = {
        "window": "max_retry_duration",
        "least": "min_backoff_duration",
        "most": "max_backoff_duration",
    }
    durations = {
        names[name]: seconds(value) for name, value in fields.items() if name in names
    }
    rest = {name: value for name, value in fields.items() if name not in names}
    return {"retry_count": count, **durations, **rest}


def force(engine: Engine, retry_config: Any) -> list[float]:
    """Run a job whose attempts all fail at once; return their times."""
    fields = {} if retry_config is None else {"retry_config": retry_config}
    engine.jobs.create(PARENT, job(schedule=YEARLY, **fields), NOW)
    dispatch = engine.launcher.run(engine.jobs.find(JOB), NOW)
    complete(engine, dispatch, FAILURE, NOW)
    made = [NOW, *fail_attempts(engine, NOW + 3600 * SECOND)]
    return [(instant - NOW) / SECOND for instant in made]


# Without the half second or so of latency that the recordings have.
RECORDED: list[tuple[Any, list[float]]] = [
    (config(0), [0]),
    (config(4, least=4, most=50, max_doublings=2), [0, 4, 12, 28, 46]),
    (config(5), [0, 5, 15, 35, 75, 155]),
    (config(5, least=4, most=100, max_doublings=1), [0, 4, 12, 22, 34, 48]),
    (config(5, least=2, most=100, max_doublings=3), [0, 2, 6, 14, 30, 48]),
    (config(window=30, least=4, most=10), [0, 4, 12, 22]),
    (config(3, window=20, least=4, most=10), [0, 4, 12, 22]),
    (config(window=10, least=0, most=0), [0, 5]),
]


@pytest.mark.parametrize(("retry_config", "attempts"), RECORDED)
def test_attempts_are_made_as_recorded(
    retry_config: Any, attempts: list[float], engine: Engine
) -> None:
    assert force(engine, retry_config) == attempts


def test_without_a_config_there_is_one_attempt(engine: Engine) -> None:
    assert force(engine, None) == [0]


def test_the_window_goes_on_when_the_count_is_used_up(engine: Engine) -> None:
    assert force(engine, config(1, window=25, least=5, most=5)) == [
        *(0, 5, 10, 15, 20, 25)
    ]


def test_delays_may_grow_as_documented(make_engine: Make) -> None:
    engine = make_engine(growth="documented")

    made = force(engine, config(5, least=4, most=100, max_doublings=1))

    assert made == [0, 4, 12, 28, 52, 84]


def test_the_documents_have_an_example() -> None:
    policy = RetryPolicy(
        min_backoff=10 * SECOND, max_backoff=300 * SECOND, max_doublings=3
    )

    delays = [policy.delay(number, "documented") for number in range(1, 9)]

    assert [each / SECOND for each in delays] == [10, 20, 40, 80, 160, 240, 300, 300]


def test_no_number_of_doublings_is_too_large() -> None:
    policy = RetryPolicy(max_doublings=2**31 - 1)

    assert policy.delay(1_000_000, "recorded") == 3600 * SECOND


def test_the_window_counts_from_the_first_attempt(engine: Engine) -> None:
    retry_config = config(window=30, least=20, most=20)
    engine.jobs.create(PARENT, job(schedule=YEARLY, retry_config=retry_config), NOW)
    dispatch = engine.launcher.run(engine.jobs.find(JOB), NOW)

    # The answer took so long that the next attempt would be past the window.
    verdict = complete(engine, dispatch, FAILURE, NOW + 11 * SECOND)

    assert (verdict.outcome, verdict.retry_at) == ("gave up", None)


def test_a_paused_job_is_not_retried(engine: Engine) -> None:
    retry_config = config(5)
    engine.jobs.create(PARENT, job(retry_config=retry_config), NOW)
    first = take_one(engine, wake(engine))
    engine.jobs.pause(JOB, NOW + MINUTE)

    verdict = complete(engine, first, FAILURE, NOW + MINUTE)

    assert verdict.outcome == "gave up"
    assert engine.launcher.next_wake(0) is None


def test_a_pause_ends_the_retries(engine: Engine) -> None:
    engine.jobs.create(PARENT, job(retry_config=config(5)), NOW)
    slot = wake(engine)
    complete(engine, take_one(engine, slot), FAILURE, slot)

    engine.jobs.pause(JOB, slot)
    resumed = engine.jobs.resume(JOB, slot + SECOND)

    assert resumed.schedule_time.seconds * SECOND == slot + MINUTE
    assert wake(engine) == slot + MINUTE


def test_503_of_app_engine_is_retried_outside_of_all_limits(
    make_engine: Make,
) -> None:
    engine = make_engine(app_engine_url="http://127.0.0.1:9")
    message = job(app_engine_http_target={"relative_uri": "/a"}, schedule=YEARLY)
    engine.jobs.create(PARENT, message, NOW)
    dispatch = engine.launcher.run(engine.jobs.find(JOB), NOW)

    first = complete(engine, dispatch, Answer(503), NOW)
    assert (first.outcome, first.retry_at) == ("retry", NOW + 5 * SECOND)
    again = take_one(engine, NOW + 5 * SECOND)
    second = complete(engine, again, FAILURE, NOW + 5 * SECOND)

    assert second.outcome == "gave up"


# Retries and the next slot.


def test_a_slot_is_left_out_while_the_one_before_is_retried(engine: Engine) -> None:
    retry_config = config(2, least=50, most=50)
    engine.jobs.create(PARENT, job(retry_config=retry_config), NOW)
    first_slot = wake(engine)

    made = []
    while wake(engine) < first_slot + 5 * MINUTE:
        instant = wake(engine)
        for dispatch in take(engine, instant):
            made.append(
                ((instant - first_slot) / SECOND, (dispatch.slot - first_slot) / SECOND)
            )
            complete(engine, dispatch, FAILURE, instant)

    # The slot after 60 seconds came while the first was retried.
    assert made == [
        *((0, 0), (50, 0), (100, 0)),
        *((120, 120), (170, 120), (220, 120)),
        *((240, 240), (290, 240)),
    ]


def test_a_slot_may_end_the_retries_of_the_one_before(make_engine: Make) -> None:
    engine = make_engine(busy_slots="end-retries")
    retry_config = config(2, least=50, most=50)
    engine.jobs.create(PARENT, job(retry_config=retry_config), NOW)
    slot = wake(engine)

    first = complete(engine, take_one(engine, slot), FAILURE, slot)
    again = take_one(engine, slot + 50 * SECOND)
    second = complete(engine, again, FAILURE, slot + 50 * SECOND)

    assert (first.outcome, second.outcome) == ("retry", "gave up")
    assert take_one(engine, slot + MINUTE).slot == slot + MINUTE


def test_a_slot_that_comes_sooner_than_before_ends_retries_too(
    make_engine: Make,
) -> None:
    engine = make_engine(busy_slots="end-retries")
    retry_config = config(2, least=50, most=50)
    engine.jobs.create(PARENT, job(schedule=YEARLY, retry_config=retry_config), NOW)
    engine.jobs.update(job(schedule="*/2 * * * *"), ["schedule"], NOW)
    slot = wake(engine)
    complete(engine, take_one(engine, slot), FAILURE, slot)
    engine.jobs.update(job(schedule="* * * * *"), ["schedule"], slot - 30 * SECOND)

    [dispatch] = take(engine, slot)

    assert (dispatch.slot, dispatch.attempt) == (slot, 1)
    assert complete(engine, dispatch, Answer(200), slot).outcome == "done"
    assert wake(engine) == slot + MINUTE


def test_retries_of_a_forced_run_go_on_through_slots(make_engine: Make) -> None:
    engine = make_engine(busy_slots="end-retries")
    retry_config = config(2, least=50, most=50)
    engine.jobs.create(PARENT, job(retry_config=retry_config), NOW)
    forced = engine.launcher.run(engine.jobs.find(JOB), NOW)

    verdict = complete(engine, forced, FAILURE, NOW)

    assert verdict.outcome == "retry"
    [natural] = take(engine, wake(engine))
    assert not natural.forced
