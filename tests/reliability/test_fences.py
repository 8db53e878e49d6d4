"""Who lost a task waits for its successor to commit, then writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any

import pytest
from django.db import OperationalError, transaction

from cloudtask.results import heartbeat
from cloudtask.results.control import cancel
from cloudtask.results.models import TaskError
from cloudtask.stores import Claim, Ending, Standing
from tests.reliability.rivals import (
    PATIENCE,
    SERVERS,
    Rival,
    Watcher,
    database,  # noqa: F401 - a fixture
    databases,
    servers,  # noqa: F401 - a fixture
    until,
)
from tests.results.conftest import _results, heart  # noqa: F401 - fixtures
from tests.results.samples import add, claim, expire, payload_of, post, row, values

pytestmark = pytest.mark.reliability


def show_progress(held: Claim) -> None:
    held.progress(1, 2, "late")
    heartbeat.HEART.write_progress()


#: What is written late, and what comes of it.
LATE: dict[str, tuple[Callable[[Claim], object], object]] = {
    "success": (lambda held: held.end(Ending(succeeded=True, value="late")), False),
    "failure": (lambda held: held.end(Ending(error=ValueError("late"))), False),
    "retry": (
        lambda held: held.end(Ending(final=False, error=ValueError("late"))),
        False,
    ),
    "heartbeat": (lambda held: heartbeat.HEART.prolong(), None),
    "progress": (show_progress, None),
}


@contextmanager
def uncommitted(watcher: Watcher, late: Callable[[], object]) -> Iterator[list[Any]]:
    """Commit what is written meanwhile, once somebody waits for it."""
    answers: list[Any] = []
    with Rival() as rival:
        with transaction.atomic():
            yield answers
            answer = rival.start(late)
            until(lambda: watcher() or answer.done())
            # It has waited, whatever it will say.
            assert not answer.done()
        answers.append(answer.result(PATIENCE))


@databases(*SERVERS)
@pytest.mark.parametrize(("write", "answer"), LATE.values(), ids=LATE)
def test_who_waited_for_its_successor_writes_nothing(
    write: Callable[[Claim], object], answer: object
) -> None:
    enqueued = add().delay()
    stale = claim(enqueued.id)
    expire(enqueued.id)

    def late() -> object:
        # Of two that write one row, this level has the second begin anew.
        # The heart does with its next beat.
        with suppress(OperationalError):
            return write(stale)
        return None

    with Watcher() as watcher, uncommitted(watcher, late) as answers:
        assert claim(enqueued.id, attempt=2).standing is Standing.FREE
        # Its own is prolonged with the stale one.
        heartbeat.HEART._leases.pop(row(enqueued.id).lease)
        before = values(enqueued.id)

    assert answers == [answer]
    assert values(enqueued.id) == before
    assert TaskError.objects.count() == 0


@databases(*SERVERS)
def test_a_late_dispatch_waits_for_the_one_that_took_the_task_over() -> None:
    enqueued = add().delay()
    wanted = payload_of(enqueued.id)
    claim(enqueued.id)
    expire(enqueued.id)

    def late() -> Standing:
        return claim(wanted, attempt=3).standing

    with Watcher() as watcher, uncommitted(watcher, late) as answers:
        claim(enqueued.id, attempt=2)
        before = values(enqueued.id)

    assert answers == [Standing.BUSY]
    assert values(enqueued.id) == before


@databases("postgresql", "mariadb")
def test_who_cancels_waits_for_an_end_and_leaves_it_alone() -> None:
    enqueued = add().delay()

    def late() -> bool:
        return cancel(enqueued.id)

    with Watcher() as watcher, uncommitted(watcher, late) as answers:
        held = claim(enqueued.id)
        assert held.end(Ending(succeeded=True, value="in time"))
        before = values(enqueued.id)

    assert answers == [False]
    assert values(enqueued.id) == before


@databases("postgresql", "mariadb")
@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_is_too_late_is_answered_409_and_logged(
    fails: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enqueued = add().delay()
    began, goes_on = Event(), Event()

    def func(*args: Any) -> int:
        began.set()
        assert goes_on.wait(PATIENCE)
        return 1 // (not fails)

    monkeypatch.setattr(add, "func", func)
    with Watcher() as watcher, Rival() as rival:
        late = rival.start(post, enqueued.id)
        assert began.wait(PATIENCE)
        expire(enqueued.id)
        with transaction.atomic():
            claim(enqueued.id, attempt=2)
            before = values(enqueued.id)
            goes_on.set()
            until(watcher)
        response = late.result(PATIENCE)

    assert (response.status_code, response.content) == (409, b'{"status": "busy"}')
    assert values(enqueued.id) == before
    assert TaskError.objects.count() == 0
    assert caplog.messages == [
        f"task={add.path} id={enqueued.id} attempt=1 status=busy "
        "reason='the lease was lost meanwhile'"
    ]
