"""What the results app's system check says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cloudtask import RetryPolicy
from cloudtask.results.checks import check_retries


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        ({"max_attempts": 1}, 0),
        ({"max_attempts": 2}, 0.1),
        ({"max_attempts": 5}, 0.1 + 0.2 + 0.4 + 0.8),
        # Google's own example: 10, 20, 40, 80, 160, 240, 300, 300.
        (
            {
                "max_attempts": 9,
                "min_backoff": timedelta(seconds=10),
                "max_backoff": timedelta(seconds=300),
                "max_doublings": 3,
            },
            1150,
        ),
        ({"max_attempts": 4, "max_doublings": 0}, 0.1 + 0.2 + 0.3),
        ({"max_attempts": 4, "max_backoff": timedelta(0)}, 0),
        ({"max_attempts": 3, "min_backoff": timedelta(0)}, 0),
    ],
)
def test_a_policy_lasts_as_long_as_its_waits_together(
    policy: dict[str, Any], seconds: float
) -> None:
    span = timedelta(seconds=seconds)

    assert RetryPolicy(**policy).lasts(span)
    assert not RetryPolicy(**policy).lasts(span + timedelta(microseconds=1))


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"max_attempts": -1},
        {"max_attempts": 3, "max_retry_duration": timedelta(hours=1)},
    ],
)
def test_a_policy_without_a_last_attempt_lasts(policy: dict[str, Any]) -> None:
    assert RetryPolicy(**policy).lasts(timedelta(days=365))


def test_many_attempts_do_not_take_long_to_add_up() -> None:
    many = RetryPolicy(max_attempts=2**31 - 1)

    assert many.lasts(timedelta(days=1))
    assert not replace(many, min_backoff=timedelta(0)).lasts(timedelta(seconds=1))


@pytest.mark.parametrize(
    "retry",
    [
        None,
        {"max_attempts": 1},
        {"max_attempts": -1},
        {"max_attempts": 10},
        {"max_attempts": 2, "min_backoff": timedelta(seconds=30)},
    ],
)
def test_attempts_that_outlive_a_lease_are_not_spoken_of(
    settings: Any, retry: Any
) -> None:
    settings.CLOUDTASK = {"RETRY": retry}

    assert check_retries() == []


def test_attempts_that_are_used_up_before_are_told(settings: Any) -> None:
    settings.CLOUDTASK = {"RETRY": {"max_attempts": 5}}

    [message] = check_retries()
    assert message.id == "cloudtask.W017"
    assert message.msg == (
        "The attempts of CLOUDTASK['RETRY'] may be used up while the lease of a worker "
        "that died holds, 0:00:30: the task then waits for the sweeper."
    )


def test_they_are_told_of_a_backend(settings: Any) -> None:
    settings.CLOUDTASK = {}
    settings.TASKS = {
        "default": {
            "BACKEND": "cloudtask.backends.CloudTasksBackend",
            "OPTIONS": {"RETRY": {"max_attempts": 2}},
        }
    }

    [message] = check_retries()
    assert message.msg.startswith("The attempts of TASKS['default']['OPTIONS']['RETRY'")


def test_wrong_settings_are_others_to_tell(settings: Any) -> None:
    settings.CLOUDTASK = {"RETRY": 1}

    assert check_retries() == []
