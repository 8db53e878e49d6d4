"""`task_failed`: once, for the final failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from cloudtask import RetryPolicy
from cloudtask.conf import Settings
from cloudtask.dispatch.attempts import Attempt, make_request
from cloudtask.dispatch.execution import arun, run
from cloudtask.enqueue import registry
from cloudtask.enqueue.kind import OBSERVERS
from cloudtask.signals import task_failed
from cloudtask.wire.payload import Payload
from tests import tasks
from tests.unit.test_execution import payload

Run = Callable[[Attempt], Any]

both_ways = pytest.mark.parametrize("go", [run, async_to_sync(arun)])


@pytest.fixture
def told() -> Iterator[list[tuple[Any, ...]]]:
    received: list[tuple[Any, ...]] = []

    def receive(sender: Any, task_id: Any, request: Any, error: Any, **_: Any) -> None:
        received.append((sender, task_id, request.attempt, type(error)))

    task_failed.connect(receive)
    yield received
    task_failed.disconnect(receive)


def attempt_of(path: str, number: int, *args: Any) -> Attempt:
    sent: Payload = payload(path, *args)
    definition = registry.get(path)
    meta = {"HTTP_X_CLOUDTASKS_TASKRETRYCOUNT": str(number - 1)}
    settings = Settings(retry=RetryPolicy(max_attempts=2))
    request = make_request(sent, definition, settings, meta, None)
    return Attempt(definition, sent, request, observers=OBSERVERS)


@both_ways
@pytest.mark.parametrize(
    ("name", "number", "error"),
    [
        ("fail", 2, ValueError),
        ("reject", 1, tasks.Reject),
        # Its worker died in the last attempt.
        ("add", 3, type(None)),
    ],
)
def test_it_is_sent_when_no_attempt_follows(
    told: list[tuple[Any, ...]], go: Run, name: str, number: int, error: type
) -> None:
    go(attempt_of(f"tests.tasks.{name}", number))

    assert told == [(f"tests.tasks.{name}", "0" * 32, number, error)]


@both_ways
@pytest.mark.parametrize(
    ("name", "number"), [("fail", 1), ("try_again", 1), ("add", 2)]
)
def test_it_is_not_sent_for_anything_else(
    told: list[tuple[Any, ...]], go: Run, name: str, number: int
) -> None:
    go(attempt_of(f"tests.tasks.{name}", number))

    assert told == []


@both_ways
def test_a_receiver_that_raises_harms_nothing(
    told: list[tuple[Any, ...]], go: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> None:
        raise LookupError("broken receiver")

    caplog.set_level(logging.CRITICAL)
    task_failed.connect(broken)
    try:
        outcome = go(attempt_of("tests.tasks.reject", 1))
    finally:
        task_failed.disconnect(broken)

    assert outcome.status.value == "rejected"
    assert len(told) == 1


@both_ways
def test_without_receivers_nothing_is_sent(go: Run) -> None:
    assert go(attempt_of("tests.tasks.reject", 1)).status.value == "rejected"
