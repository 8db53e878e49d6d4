from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.limits import RETENTION
from cloudtask.emulator.tasks.model.previews import (
    MAX_SHOWN,
    End,
    is_under_way,
    preview,
)
from cloudtask.emulator.tasks.model.retries import RetryPolicy
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.instants import SECOND

from .samples import DAY, HOUR, NOW, task

# The documentation's example of a schedule.
DOCUMENTED = RetryPolicy(
    max_attempts=9, min_backoff=10 * SECOND, max_backoff=300 * SECOND, max_doublings=3
)


def waiting(due: int = NOW, created: int = NOW) -> Any:
    """Return a task that was not sent yet."""
    message = task("t")
    instants.write(message.create_time, created)
    instants.write(message.schedule_time, due)
    return message


def sent(attempts: int, since: int, due: int = NOW, *, answered: bool = True) -> Any:
    """Return a task that was sent so often."""
    message = waiting(due)
    message.dispatch_count = attempts
    instants.write(message.first_attempt.dispatch_time, since)
    instants.write(message.last_attempt.dispatch_time, since)
    if answered:
        message.last_attempt.response_status.code = 14
    return message


def test_the_documented_schedule_is_foreseen() -> None:
    foreseen = preview(waiting(), DOCUMENTED, NOW)

    waits = [
        (later - earlier) // SECOND for earlier, later in pairwise(foreseen.attempts)
    ]
    assert foreseen.attempts[0] == NOW
    assert waits == [10, 20, 40, 80, 160, 240, 300, 300]
    assert foreseen.end == End(9, NOW + 1150 * SECOND, "attempts")


@pytest.mark.parametrize(
    ("message", "first"),
    [
        pytest.param(waiting(NOW + HOUR), NOW + HOUR, id="scheduled"),
        pytest.param(waiting(NOW - HOUR), NOW, id="overdue"),
        pytest.param(sent(3, NOW - HOUR, NOW + 5), NOW + 5, id="to be retried"),
        pytest.param(
            sent(3, NOW - HOUR, NOW - HOUR, answered=False),
            NOW + 40 * SECOND,
            id="under way",
        ),
    ],
)
def test_the_next_attempt_comes_first(message: Any, first: int) -> None:
    assert preview(message, DOCUMENTED, NOW).attempts[0] == first


def test_the_last_attempt_may_be_under_way() -> None:
    foreseen = preview(sent(9, NOW - HOUR, answered=False), DOCUMENTED, NOW)

    assert foreseen.attempts == []
    assert foreseen.end == End(9, NOW, "attempts")


def test_time_counts_from_the_first_attempt() -> None:
    policy = RetryPolicy(
        max_attempts=-1,
        max_retry_duration=100 * SECOND,
        min_backoff=60 * SECOND,
        max_backoff=60 * SECOND,
    )

    fresh = preview(waiting(NOW + DAY), policy, NOW)
    known = preview(sent(1, NOW - 90 * SECOND), policy, NOW)

    assert fresh.end == End(3, NOW + DAY + 120 * SECOND, "attempts")
    assert known.end == End(3, NOW + 60 * SECOND, "attempts")


def test_a_task_grows_too_old() -> None:
    policy = RetryPolicy(max_attempts=-1, min_backoff=3600 * SECOND)

    end = preview(waiting(created=NOW - RETENTION + 3 * HOUR), policy, NOW).end

    assert end == End(3, NOW + 2 * HOUR, "age")


def test_the_end_may_be_out_of_sight() -> None:
    policy = RetryPolicy(max_attempts=-1, min_backoff=0, max_backoff=0)

    foreseen = preview(waiting(), policy, NOW)

    assert foreseen.attempts == [NOW] * MAX_SHOWN
    assert foreseen.end is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(waiting(), False, id="not sent"),
        pytest.param(sent(1, NOW), False, id="answered"),
        pytest.param(sent(1, NOW, answered=False), True, id="sent"),
    ],
)
def test_a_task_is_under_way_until_there_is_an_outcome(
    message: Any, expected: bool
) -> None:
    assert is_under_way(message) is expected


@given(
    attempts=st.integers(0, 20),
    max_attempts=st.integers(1, 60),
    min_backoff=st.integers(0, HOUR),
    max_doublings=st.integers(0, 20),
)
def test_a_preview_agrees_with_the_policy(
    attempts: int, max_attempts: int, min_backoff: int, max_doublings: int
) -> None:
    policy = RetryPolicy(
        max_attempts=max_attempts,
        min_backoff=min_backoff,
        max_backoff=HOUR,
        max_doublings=max_doublings,
    )
    message = sent(attempts, NOW) if attempts else waiting()

    foreseen = preview(message, policy, NOW)

    assert foreseen.end is not None
    assert foreseen.end.attempt == max(attempts + 1, max_attempts)
    assert len(foreseen.attempts) == min(foreseen.end.attempt - attempts, MAX_SHOWN)
    for number, (earlier, later) in enumerate(
        pairwise(foreseen.attempts), attempts + 1
    ):
        assert later - earlier == policy.delay(number)
