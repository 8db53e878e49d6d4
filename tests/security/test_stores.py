"""What a dispatch is answered where it is kept what becomes of tasks."""

import logging
from typing import Any

import pytest

from cloudtask.stores import Ending, Standing
from cloudtask.wire.payload import decode
from tests import tasks
from tests.security.sending import AUTHENTIC, FORBIDDEN, Answer, Send, payload
from tests.unit.keeping import AWAY, FakeStore, keep_all_in

pytestmark = pytest.mark.usefixtures("secret")


@pytest.fixture
def store() -> FakeStore:
    """The store of every task."""
    store = FakeStore()
    keep_all_in(store)
    return store


def told(answer: Answer) -> tuple[int, str, str | None]:
    return answer.status, answer.word, answer.header("Retry-After")


def test_a_task_is_claimed_and_its_end_is_kept(send: Send, store: FakeStore) -> None:
    body = payload("tests.tasks.add", args=[1, 2])

    answer = send({**AUTHENTIC, "X-CloudTasks-TaskRetryCount": "1"}, body)

    assert told(answer) == (200, "done", None)
    [(_, claimed, request), end] = store.calls
    assert store.words == ["claim", "end"]
    assert claimed == decode(body)
    assert (request.id, request.attempt) == (claimed.id, 2)
    assert end == ("end", Ending(succeeded=True, value=3))


@pytest.mark.parametrize(
    ("task", "final"),
    [("tests.tasks.fail", False), ("tests.tasks.reject", True)],
)
def test_a_failure_is_kept_as_what_it_means(
    send: Send, store: FakeStore, task: str, final: bool
) -> None:
    args = ["words"] if task.endswith("fail") else []

    send(AUTHENTIC, payload(task, args=args))

    [_, (_, ending)] = store.calls
    assert (ending.succeeded, ending.final) == (False, final)
    assert ending.error is not None


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        # It comes back, lest the worker that has it dies.
        (Standing.BUSY, (409, "busy", None)),
        # Only a 2xx ends it.
        (Standing.FINISHED, (200, "duplicate", None)),
    ],
)
def test_a_task_that_is_not_free_does_not_run(
    send: Send,
    store: FakeStore,
    standing: Standing,
    expected: tuple[int, str, str | None],
) -> None:
    store.standing = standing

    assert told(send(AUTHENTIC, payload(args=[1, 2]))) == expected
    assert tasks.ran == []
    assert store.words == ["claim"]


@pytest.mark.parametrize(
    ("task", "args"),
    [
        ("tests.tasks.add", [1, 2]),
        ("tests.tasks.aadd", [1, 2]),
        ("tests.tasks.fail", ["words"]),
        ("tests.tasks.reject", []),
    ],
)
def test_an_attempt_whose_lease_was_lost_is_busy(
    send: Send, store: FakeStore, task: str, args: list[Any]
) -> None:
    store.holds = False

    assert told(send(AUTHENTIC, payload(task, args=args))) == (409, "busy", None)
    assert len(tasks.ran) == 1


@pytest.mark.parametrize(
    ("when", "ran"),
    [("is_away", []), ("is_away_at_the_end", [("add", 1, 2)])],
)
def test_a_dispatch_comes_back_when_the_store_is_away(
    send: Send,
    store: FakeStore,
    caplog: pytest.LogCaptureFixture,
    when: str,
    ran: list[object],
) -> None:
    setattr(store, when, True)

    answer = send(AUTHENTIC, payload(args=[1, 2]))

    assert told(answer) == (503, "unavailable", "10")
    assert tasks.ran == ran
    # Nothing of the database is told to whoever sent it.
    assert b"database" not in answer.body
    assert caplog.record_tuples == [
        ("cloudtask", logging.ERROR, f"refused a dispatch: {AWAY!r}")
    ]


def test_the_store_is_not_asked_for_whoever_is_not_let_in(
    send: Send, store: FakeStore
) -> None:
    for body in (payload(args=[1, 2]), payload("shop.tasks.unknown"), b"{}"):
        assert send({}, body) == FORBIDDEN
    assert send(AUTHENTIC, payload("shop.tasks.unknown")).status == 404
    assert send(AUTHENTIC, b"{}").status == 400

    assert store.calls == []
    assert tasks.ran == []


@pytest.mark.parametrize("results", ["errors", "none"])
def test_the_store_of_another_setting_is_not_asked(
    send: Send, store: FakeStore, settings: Any, results: str
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": results}

    assert told(send(AUTHENTIC, payload(args=[1, 2]))) == (200, "done", None)
    assert store.calls == []
