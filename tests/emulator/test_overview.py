"""What many queues cost: only those that change are asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.engine import overview
from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.tasks.engine.live_queues import LiveQueue
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import NOW, PARENT, at, open_engine, queue

DONE = Answer(200)


def path_of(number: int) -> str:
    return f"{PARENT}/queues/q{number:04}"


@pytest.fixture
def bare() -> Iterator[Engine]:
    """An engine without queues."""
    made = open_engine(None)
    yield made
    made.store.file.close()


@pytest.fixture
def engine(bare: Engine) -> Engine:
    """The same with 500 queues, each with a task that is due in an hour."""
    for number in range(500):
        bare.queues.create(PARENT, queue(path_of(number)), NOW)
        add(bare, number, "later", NOW + 3600 * SECOND)
    return bare


def add(engine: Engine, number: int, task_id: str, due: int = NOW) -> None:
    message = at(due)
    message.name = f"{path_of(number)}/tasks/{task_id}"
    engine.tasks.create(path_of(number), message, NOW)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each queue is asked when it can send."""
    asked: Counter[str] = Counter()
    next_wake = LiveQueue.next_wake

    def count(self: LiveQueue, now: int) -> int | None:
        asked[self.path] += 1
        return next_wake(self, now)

    monkeypatch.setattr(LiveQueue, "next_wake", count)
    return asked


def test_a_task_asks_its_own_queue_alone(engine: Engine, asked: Counter[str]) -> None:
    engine.next_work(NOW)
    assert len(asked) == 500
    asked.clear()

    for number in (3, 499):
        add(engine, number, "now")
        assert engine.launcher.next_wake(NOW) == NOW
        [dispatch] = engine.launcher.take_due(NOW)
        assert dispatch.queue == path_of(number)
        engine.launcher.complete(dispatch, DONE, NOW)
        assert engine.launcher.next_wake(NOW) == NOW + 3600 * SECOND

    assert set(asked) == {path_of(3), path_of(499)}
    assert asked.total() < 20


def test_queues_send_in_the_order_in_which_they_can(engine: Engine) -> None:
    for number, due in ((7, 3), (5, 1), (6, 2)):
        add(engine, number, "soon", NOW + due * SECOND)

    taken = engine.launcher.take_due(NOW + 2 * SECOND)
    assert [each.queue for each in taken] == [path_of(5), path_of(6)]
    assert engine.launcher.next_wake(NOW + 2 * SECOND) == NOW + 3 * SECOND
    assert engine.launcher.take_due(NOW + 2 * SECOND) == []


def test_a_queue_that_is_gone_sends_nothing(engine: Engine) -> None:
    add(engine, 5, "now")
    add(engine, 6, "now")
    engine.queues.delete(path_of(5), NOW)
    engine.queues.pause(path_of(6), NOW)

    assert engine.launcher.take_due(NOW) == []
    assert engine.pending == 500 + 1 - 1
    engine.queues.resume(path_of(6), NOW)
    assert len(engine.launcher.take_due(NOW)) == 1


def test_a_clock_that_goes_back_has_queues_asked_again(bare: Engine) -> None:
    engine = bare
    rate = {"max_dispatches_per_second": 0.01}
    engine.queues.create(PARENT, queue(path_of(1), rate_limits=rate), NOW)
    for number in range(6):
        add(engine, 1, f"t{number}")
    assert len(engine.launcher.take_due(NOW)) == 5
    waits = engine.launcher.next_wake(NOW)
    assert waits == NOW + 100 * SECOND

    earlier = NOW - 3600 * SECOND
    assert engine.launcher.next_wake(earlier) == NOW


def test_what_is_outdated_does_not_pile_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "_MAX_OUTDATED", 10)
    for number in range(90):
        add(engine, 1, f"t{number}")
        [dispatch] = engine.launcher.take_due(NOW)
        engine.launcher.complete(dispatch, DONE, NOW)
        # It waits for what is due in an hour once more.
        engine.launcher.next_wake(NOW)

    assert len(engine._live.overview._heap) <= 500 + 10
    assert len(engine.launcher.take_due(NOW + 3600 * SECOND)) == 500
