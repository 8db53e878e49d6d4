from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from cloudtask import RetryPolicy
from cloudtask.exceptions import InvalidTask

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    "fields",
    [
        {},  # All of it is the queue's.
        {"max_attempts": 1},  # Never again.
        {"max_attempts": -1},  # Always again.
        {"max_doublings": 0},
        {"max_attempts": 2**31 - 1, "max_doublings": 2**31 - 1},
        {"min_backoff": timedelta(0)},
        {"min_backoff": MINUTE},  # The queue's maximum is not known here.
        {"max_backoff": SECOND},
        {"min_backoff": MINUTE, "max_backoff": MINUTE},
        {"max_retry_duration": timedelta(0)},  # No limit.
    ],
)
def test_a_policy_takes_every_field_in_its_range(fields: dict[str, Any]) -> None:
    policy = RetryPolicy(**fields)

    given = {k: v for k, v in dataclasses.asdict(policy).items() if v is not None}
    assert given == fields


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_attempts": 0}, "max_attempts=0): must be at least 1, or -1."),
        ({"max_attempts": -2}, "max_attempts=-2): must be at least 1, or -1."),
        (
            {"max_attempts": True},  # An int to Python.
            "max_attempts=True): must be a whole number, at least 1, or -1.",
        ),
        (
            {"max_attempts": 2.0},
            "max_attempts=2.0): must be a whole number, at least 1, or -1.",
        ),
        (
            {"max_attempts": "3"},
            "max_attempts='3'): must be a whole number, at least 1, or -1.",
        ),
        # More than the API's fields hold.
        (
            {"max_attempts": 2**31},
            "max_attempts=2147483648): must be at most 2147483647.",
        ),
        (
            {"max_doublings": 2**31},
            "max_doublings=2147483648): must be at most 2147483647.",
        ),
        ({"max_doublings": -1}, "max_doublings=-1): must be zero or more."),
        (
            {"max_doublings": 1.5},
            "max_doublings=1.5): must be a whole number, zero or more.",
        ),
        ({"min_backoff": 1}, "min_backoff=1): must be a timedelta."),
        ({"max_backoff": "1s"}, "max_backoff='1s'): must be a timedelta."),
        (
            {"min_backoff": -SECOND},
            f"min_backoff={-SECOND!r}): must be zero or more.",
        ),
        (
            {"max_backoff": -SECOND},
            f"max_backoff={-SECOND!r}): must be zero or more.",
        ),
        (
            {"max_retry_duration": -SECOND},
            f"max_retry_duration={-SECOND!r}): must be zero or more.",
        ),
        (
            {"min_backoff": MINUTE, "max_backoff": SECOND},
            f"min_backoff={MINUTE!r}): must be at most max_backoff.",
        ),
    ],
)
def test_a_field_out_of_its_range_is_named(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        RetryPolicy(**fields)

    assert str(caught.value) == f"RetryPolicy({text}"


@pytest.mark.parametrize(
    ("policy", "last"),
    [
        (RetryPolicy(), None),  # The queue decides.
        (RetryPolicy(max_attempts=5), 5),
        (RetryPolicy(max_attempts=-1), None),  # There is none.
        (RetryPolicy(max_attempts=5, max_retry_duration=MINUTE), None),  # Time does.
        (RetryPolicy(max_attempts=5, max_retry_duration=timedelta(0)), 5),
        (RetryPolicy(max_retry_duration=MINUTE), None),
    ],
)
def test_the_last_attempt_is_known_where_only_attempts_count(
    policy: RetryPolicy, last: int | None
) -> None:
    assert policy.last_attempt == last


def test_a_policy_cannot_be_changed() -> None:
    policy = RetryPolicy(max_attempts=5)

    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.max_attempts = 6  # type: ignore[misc]
