from typing import Any

import pytest
from google.cloud import tasks_v2
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.model.retries import RetryPolicy
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(-1, 1000),
    max_retry_duration=st.integers(0, 10**9),
    min_backoff=st.integers(0, 10**9),
    max_backoff=st.integers(10**9, 10**17),
    max_doublings=st.integers(1, 2**31 - 1),
)
attempts = st.integers(1, 10**6)


def test_delays_double_then_grow_linearly_then_stay_at_the_maximum() -> None:
    policy = RetryPolicy(
        min_backoff=10 * SECOND, max_backoff=300 * SECOND, max_doublings=3
    )

    delays = [policy.delay(attempt) // SECOND for attempt in range(1, 9)]

    assert delays == [10, 20, 40, 80, 160, 240, 300, 300]


def test_default_delays_reach_the_maximum_at_the_seventeenth_retry() -> None:
    policy = RetryPolicy()

    assert policy.delay(1) == SECOND // 10
    assert policy.delay(16) < policy.max_backoff
    assert policy.delay(17) == policy.max_backoff


@given(policies, attempts)
def test_delays_never_shrink_and_stay_in_range(policy: RetryPolicy, k: int) -> None:
    assert 0 <= policy.delay(k) <= policy.delay(k + 1) <= policy.max_backoff
    assert policy.delay(1) == policy.min_backoff


@given(policies, attempts)
def test_delays_follow_the_documented_formula(policy: RetryPolicy, k: int) -> None:
    k = k % 200 + 1
    low, doublings = policy.min_backoff, policy.max_doublings
    if k - 1 <= doublings:
        expected = low * 2 ** (k - 1)
    else:
        expected = low * 2**doublings * (k - doublings)

    assert policy.delay(k) == min(policy.max_backoff, expected)


@pytest.mark.parametrize(
    ("max_attempts", "max_retry_duration", "attempts", "elapsed", "exhausted"),
    [
        (3, 0, 2, 99, False),  # Attempts left.
        (3, 0, 3, 0, True),  # No duration: the attempts decide.
        (3, 60, 3, 59, False),  # Both set: enough attempts, too early.
        (3, 60, 2, 60, False),  # Both set: late enough, attempts left.
        (3, 60, 3, 60, True),  # Both reached.
        (3, 60, 9, 61, True),  # Both passed.
        (-1, 60, 999, 59, False),  # Unlimited attempts: the duration decides.
        (-1, 60, 1, 60, True),
        (-1, 0, 10**6, 10**6, False),  # Nothing set: never.
    ],
)
def test_retries_stop_when_every_limit_that_is_set_is_reached(
    max_attempts: int,
    max_retry_duration: int,
    attempts: int,
    elapsed: int,
    exhausted: bool,
) -> None:
    policy = RetryPolicy(
        max_attempts=max_attempts, max_retry_duration=max_retry_duration
    )

    assert policy.is_exhausted(attempts, elapsed) is exhausted


@given(policies, attempts, st.integers(0, 10**10))
def test_who_stops_stays_stopped(policy: RetryPolicy, k: int, elapsed: int) -> None:
    if policy.is_exhausted(k, elapsed):
        assert policy.is_exhausted(k + 1, elapsed)
        assert policy.is_exhausted(k, elapsed + 1)
        assert k >= policy.max_attempts
        assert elapsed >= policy.max_retry_duration


def test_a_config_overrides_only_what_it_sets() -> None:
    policy = RetryPolicy(max_attempts=7, max_doublings=2)
    config = tasks_v2.RetryConfig(
        min_backoff={"nanos": 0}, max_retry_duration={"seconds": 9}
    )

    assert policy.override(tasks_v2.RetryConfig.pb(config)) == RetryPolicy(
        max_attempts=7, max_doublings=2, min_backoff=0, max_retry_duration=9 * SECOND
    )


def test_a_policy_fills_a_config_with_every_value() -> None:
    config = tasks_v2.RetryConfig.pb()()

    RetryPolicy(max_retry_duration=SECOND).fill(config)

    assert RetryPolicy(max_attempts=1).override(config) == RetryPolicy(
        max_retry_duration=SECOND
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"max_attempts": -2},
            "RetryConfig.maxAttempts must be greater or equal to -1.",
        ),
        ({"max_doublings": -1}, "RetryConfig.maxDoublings cannot be negative."),
        (
            {"max_retry_duration": {"seconds": -1}},
            "RetryConfig.maxRetryDuration cannot be negative.",
        ),
        (
            {"min_backoff": {"nanos": -1000}},
            "RetryConfig.minBackoff cannot be negative.",
        ),
        (
            {"min_backoff": {"seconds": 2}, "max_backoff": {"seconds": 1}},
            "RetryConfig.minBackoff must be less than or equal to "
            "RetryConfig.maxBackoff.",
        ),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    config = tasks_v2.RetryConfig.pb(tasks_v2.RetryConfig(**fields))

    with pytest.raises(ApiError) as caught:
        RetryPolicy().override(config)

    assert caught.value.message == message
