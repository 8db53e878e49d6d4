import re
from datetime import timedelta

import pytest

from cloudtask.emulator.tasks.declarations import parse_queue
from cloudtask.emulator.tasks.model.queues import QueueOptions, declared
from cloudtask.emulator.values import instants
from tests.emulator.samples import QUEUE


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("emails", "emails", {}),
        ("emails:", "emails", {}),
        (
            "emails:max_attempts=5,min_backoff=0.2",
            "emails",
            {"max_attempts": 5, "min_backoff": timedelta(milliseconds=200)},
        ),
        (  # Spaces and the unit are fine.
            "e-1: max_backoff = 3s, max_dispatches_per_second=0.5",
            "e-1",
            {"max_backoff": timedelta(seconds=3), "max_dispatches_per_second": 0.5},
        ),
        (
            "emails:rate=5,concurrency=2",
            "emails",
            {"max_dispatches_per_second": 5, "max_concurrent_dispatches": 2},
        ),
    ],
)
def test_a_queue_is_read_from_its_declaration(
    text: str, name: str, options: QueueOptions
) -> None:
    assert parse_queue(text) == (name, options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a queue name: 1 to 100 letters, digits and hyphens."),
        (
            "a_b",
            "'a_b' is not a queue name: 1 to 100 letters, digits and hyphens.",
        ),
        (
            "a:attempts=1",
            "'attempts' is not an option of a queue. Options: max_attempts, "
            "max_retry_duration, min_backoff, max_backoff, max_doublings, "
            "max_dispatches_per_second, max_concurrent_dispatches, "
            "rate, concurrency.",
        ),
        ("a:max_attempts=many", "max_attempts must be a whole number, not 'many'."),
        ("a:max_attempts", "max_attempts must be a whole number, not ''."),
        (
            "a:max_attempts=2147483648",
            "max_attempts must be a whole number, not '2147483648'.",
        ),
        ("a:rate=fast", "rate must be a number, not 'fast'."),
        ("a:min_backoff=1h", "min_backoff must be seconds, not '1h'."),
        ("a:min_backoff=1e99", "min_backoff must be seconds, not '1e99'."),
    ],
)
def test_a_wrong_declaration_says_what_is_right(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_queue(text)


def test_options_become_the_apis_message() -> None:
    message = declared(
        QUEUE,
        {
            "max_attempts": 5,
            "max_doublings": 2,
            "max_retry_duration": timedelta(seconds=60),
            "min_backoff": timedelta(milliseconds=200),
            "max_backoff": timedelta(seconds=3),
            "max_dispatches_per_second": 7.5,
            "max_concurrent_dispatches": 3,
        },
    )

    retry, rates = message.retry_config, message.rate_limits
    assert message.name == QUEUE
    assert (retry.max_attempts, retry.max_doublings) == (5, 2)
    assert instants.read(retry.max_retry_duration) == 60_000_000
    assert instants.read(retry.min_backoff) == 200_000
    assert instants.read(retry.max_backoff) == 3_000_000
    assert rates.max_dispatches_per_second == 7.5
    assert rates.max_concurrent_dispatches == 3
