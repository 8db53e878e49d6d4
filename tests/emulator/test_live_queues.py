from collections import Counter
from typing import Any

import pytest

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.tasks.engine.live_queues import (
    LiveQueue,
    LiveQueues,
    RecentCount,
)
from cloudtask.emulator.tasks.engine.overview import Overview
from cloudtask.emulator.tasks.model import queues
from cloudtask.emulator.tasks.tables.queues import QueueRow
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import (
    DAY,
    NOW,
    QUEUE,
    at,
    queue,
    take_one,
    task,
)


def live_queue(**fields: Any) -> LiveQueue:
    message = queue(**fields)
    queues.fill(message)
    return LiveQueue(QueueRow(1, QUEUE, 1, message), depth=0, overview=Overview())


def test_a_recent_count_looks_back_a_minute() -> None:
    count = RecentCount()
    for second in (0, 0, 1, 59):
        count.add(NOW + second * SECOND)

    assert count.total(NOW + 59 * SECOND) == 4
    assert count.total(NOW + 60 * SECOND) == 2
    assert count.total(NOW + 61 * SECOND) == 1
    assert count.total(NOW + 119 * SECOND) == 0


def test_a_recent_count_forgets_what_is_old_without_being_asked() -> None:
    count = RecentCount()
    for second in range(0, 1000):
        count.add(NOW + second * SECOND)

    assert len(count._by_second) == 60


def test_a_queue_sends_nothing_before_something_is_due() -> None:
    idle = live_queue()

    assert (idle.ready(NOW), idle.next_wake(NOW)) == (0, None)
    idle.schedule(NOW + 5)
    idle.schedule(NOW + 9)
    assert (idle.ready(NOW + 4), idle.next_wake(NOW)) == (0, NOW + 5)
    assert idle.ready(NOW + 5) == 100


def test_a_queue_sends_no_more_than_it_has_slots_and_tokens() -> None:
    limited = live_queue(
        rate_limits={"max_concurrent_dispatches": 12, "max_dispatches_per_second": 1}
    )
    limited.schedule(NOW)
    assert limited.ready(NOW) == 10

    limited.bucket.take(10, NOW)
    assert (limited.ready(NOW), limited.next_wake(NOW)) == (0, NOW + SECOND)

    for number in range(11):
        limited.sent(number, NOW)
    assert limited.ready(NOW + 5 * SECOND) == 1
    limited.sent(11, NOW)
    assert (limited.ready(NOW + 5 * SECOND), limited.next_wake(NOW)) == (0, None)


def test_a_paused_queue_never_wakes() -> None:
    paused = live_queue()
    paused.schedule(NOW)

    paused.message.state = queues.PAUSED

    assert (paused.ready(NOW), paused.next_wake(NOW)) == (0, None)


def test_a_changed_rate_holds_from_then_on() -> None:
    changed = live_queue()
    changed.bucket.take(100, NOW)
    message = queues.copy_message(changed.message)
    message.rate_limits.max_dispatches_per_second = 0.5
    message.retry_config.max_attempts = 3

    changed.configure(message, NOW)

    changed.schedule(NOW)
    assert changed.next_wake(NOW) == NOW + 2 * SECOND
    assert changed.retry.max_attempts == 3


@pytest.mark.parametrize("is_set", [False, True])
def test_a_target_is_there_only_if_it_is_set(is_set: bool) -> None:
    target = {"uri_override": {"host": "127.0.0.1"}}

    queue = live_queue(**({"http_target": target} if is_set else {}))

    assert (queue.http_target is not None) is is_set


def test_a_queue_that_was_emptied_waits_for_nothing() -> None:
    emptied = live_queue()
    emptied.depth = 3
    emptied.schedule(NOW)
    emptied.held[7] = True

    emptied.empty(QueueRow(1, QUEUE, 2, emptied.message))

    assert (emptied.depth, emptied.next_wake(NOW), emptied.held) == (0, None, {})
    assert emptied.row.lane == 2


def test_answers_slow_a_queue_down_and_speed_it_up(engine: Engine) -> None:
    [queue] = engine.live_queues
    now = NOW
    for answer, rate in [
        (Answer(500), 500),
        (Answer(503), 250),
        (Answer(timed_out=True), 250),
        (Answer(429), 125),
        (Answer(200), 250),
        (Answer(200), 500),
    ]:
        now += SECOND
        engine.tasks.create(QUEUE, task(), now)
        dispatch, *_ = engine.launcher.take_due(now)
        assert queue.in_flight >= 1
        engine.launcher.complete(dispatch, answer, now)
        assert queue.bucket.effective_rate == rate


def test_queues_are_loaded_with_what_waits_and_what_is_under_way(
    engine: Engine,
) -> None:
    for due in (5, 3, 9):
        engine.tasks.create(QUEUE, at(NOW + due), NOW)
    take_one(engine, NOW + 3)
    engine.queues.pause(QUEUE, NOW)
    [before] = engine.live_queues

    live = LiveQueues(engine.store, DAY)
    live.load(Counter({before.row.id: 1}))

    [loaded] = live
    assert loaded is live.require(QUEUE)
    assert (loaded.depth, loaded.next_due, loaded.in_flight) == (3, NOW + 5, 1)
    assert not loaded.is_running


def test_a_rollback_leaves_a_queue_as_fast_as_it_was(engine: Engine) -> None:
    [before] = engine.live_queues
    engine.commit()
    before.bucket.take(100, NOW)
    before.recent.add(NOW)

    engine.rollback()

    [after] = engine.live_queues
    assert after is not before
    assert after.bucket.count_tokens(NOW) == 0
    assert after.recent.total(NOW) == 1


def test_a_rollback_takes_a_new_rate_back(engine: Engine) -> None:
    engine.commit()
    changed = queue(rate_limits={"max_dispatches_per_second": 1})
    engine.queues.update(changed, ["rate_limits"], NOW)

    engine.rollback()

    [after] = engine.live_queues
    assert after.bucket.effective_rate == 500


def test_tasks_are_found_by_their_names(engine: Engine) -> None:
    live = engine._live

    assert live.find(f"{QUEUE}-2/tasks/t1") == (None, None)
    assert live.find(f"{QUEUE}/tasks/t1") == (live.require(QUEUE), None)


def test_a_finished_task_is_counted_and_blocks_its_name(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)
    queue, stored = engine._live.find(f"{QUEUE}/tasks/t1")
    assert queue is not None
    assert stored is not None
    queue.held[stored.id] = False
    assert (queue.depth, engine._live.is_blocked(queue, "t1", NOW)) == (1, False)

    engine._live.finish(queue, stored, NOW)

    assert (queue.depth, queue.held) == (0, {})
    assert engine._live.is_blocked(queue, "t1", NOW + DAY - 1)
    assert not engine._live.is_blocked(queue, "t1", NOW + DAY)
