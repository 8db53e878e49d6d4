"""`EnqueuedTask.result()`: what is known of a task, now or when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from cloudtask import stores
from cloudtask.enqueue.enqueued import EnqueuedTask
from cloudtask.exceptions import ResultNotFound
from cloudtask.stores import ResultStore, StoredResult
from cloudtask.wire.payload import Payload

ID = "0" * 32

Ask = Callable[..., StoredResult]


def known(status: str) -> StoredResult:
    now = datetime.now(UTC)
    return StoredResult(
        payload=Payload(id=ID, task="tests.tasks.add", kwargs={}, enqueued_at=now),
        queue="default",
        name=None,
        status=status,
        attempt=1,
        worker_id="",
        trace_id=None,
        enqueued_at=now,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        cancelled_at=None,
        value=3,
        is_value_dropped=False,
        progress=None,
        errors=(),
    )


class Told(ResultStore):
    """Gives one answer after the other, and the last one for ever."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.asked = 0

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        assert id == ID
        self.asked += 1
        if not self.statuses:
            return None
        status = self.statuses[0]
        if len(self.statuses) > 1:
            self.statuses.pop(0)
        return known(status)


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[..., Told]:
    def use(*statuses: str) -> Told:
        store = Told(*statuses)
        settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "all"}
        monkeypatch.setattr(stores, "_choose", lambda settings: store)
        return store

    return use


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    enqueued = EnqueuedTask(ID, "default")
    if request.param == "sync":
        return enqueued.result
    return lambda *args: asyncio.run(enqueued.aresult(*args))


def test_without_a_timeout_it_is_told_at_once(
    tell: Callable[..., Told], ask: Ask
) -> None:
    store = tell("RUNNING")

    found = ask()

    assert (found.status, found.is_finished, store.asked) == ("RUNNING", False, 1)


def test_with_one_it_waits_for_the_end(tell: Callable[..., Told], ask: Ask) -> None:
    store = tell("READY", "RUNNING", "SUCCESSFUL")

    assert ask(30).return_value == 3
    assert store.asked == 3


def test_it_does_not_wait_for_what_is_over(tell: Callable[..., Told], ask: Ask) -> None:
    store = tell("FAILED")

    assert ask(0).status == "FAILED"
    assert store.asked == 1


def test_what_does_not_end_in_time_is_an_error(
    tell: Callable[..., Told], ask: Ask
) -> None:
    tell("RUNNING")

    with pytest.raises(TimeoutError, match=r"^The task has not finished in time\.$"):
        ask(0.1)


@pytest.mark.parametrize("timeout", [None, 30])
def test_what_nobody_knows_is_an_error(
    tell: Callable[..., Told], ask: Ask, timeout: float | None
) -> None:
    tell()

    with pytest.raises(ResultNotFound) as caught:
        ask(timeout)
    assert isinstance(caught.value, LookupError)
    assert str(caught.value) == (
        f"Nothing is known of the task {ID}: it was pruned, it was rolled back, or "
        "cloudtask.results does not keep it."
    )
