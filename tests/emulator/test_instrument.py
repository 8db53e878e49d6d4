import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from google.cloud import tasks_v2

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.faults import Fault
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.parts import Parts, running
from tests.emulator.samples import (
    DAY,
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    at,
    name_of,
    queue,
    task,
)

OTHER = f"{PARENT}/queues/other"


def follow(scenario: Callable[[Parts], Awaitable[Any]], *args: Any, **kw: Any) -> Any:
    """Return what a scenario comes to on parts that are at work."""

    async def main() -> Any:
        async with running(*args, **kw) as parts:
            return await scenario(parts)

    return asyncio.run(main())


async def create(parts: Parts, message: Any) -> None:
    now = parts.clock.now()
    await parts.commits.run(lambda: parts.engine.tasks.create(QUEUE, message, now))
    parts.dispatcher.poke()


def seconds(attempts: list[Any]) -> list[float]:
    """Return when attempts were made, counted from NOW."""
    return [
        (instants.from_datetime(each.dispatch_time) - NOW) / SECOND for each in attempts
    ]


# The clock.


def test_advancing_stops_wherever_something_is_due() -> None:
    async def scenario(parts: Parts) -> tuple[list[Any], int]:
        for due in (30, 10, 3700):
            await create(parts, at(NOW + due * SECOND, f"t{due}"))
        attempts = await parts.instrument.advance(HOUR, 10)
        return attempts, parts.clock.now()

    attempts, now = follow(scenario)

    assert [each.task_id for each in attempts] == ["t10", "t30"]
    assert seconds(attempts) == [10, 30]
    assert now == NOW + HOUR


def test_retries_happen_at_their_time() -> None:
    """The worked example of Google's documentation."""
    config = {
        "max_attempts": 9,
        "min_backoff": {"seconds": 10},
        "max_backoff": {"seconds": 300},
        "max_doublings": 3,
    }

    async def scenario(parts: Parts) -> list[Any]:
        parts.delivery.answers = [Answer(500)] * 20
        await create(parts, task("t1"))
        return await parts.instrument.advance(DAY, 10)

    attempts = follow(scenario, fields={"retry_config": config})

    times = seconds(attempts)
    delays = [after - before for before, after in pairwise(times)]
    assert delays == [10, 20, 40, 80, 160, 240, 300, 300]
    assert [each.outcome for each in attempts] == ["retry"] * 8 + ["gave up"]


def test_a_slow_queue_is_waited_for() -> None:
    limits = {"max_dispatches_per_second": 0.1}

    async def scenario(parts: Parts) -> list[Any]:
        for number in range(8):
            await create(parts, task(f"t{number}"))
        await parts.instrument.advance(HOUR, 10)
        return parts.journal.attempts

    times = seconds(follow(scenario, fields={"rate_limits": limits}))

    assert times == [0, 0, 0, 0, 0, 10, 20, 30]


def test_draining_sends_what_is_due_and_no_more() -> None:
    async def scenario(parts: Parts) -> tuple[list[Any], int, int]:
        parts.delivery.answers = [Answer(500)]
        await create(parts, task("failed"))
        await create(parts, task("done"))
        await create(parts, at(NOW + HOUR, "later"))
        attempts = await parts.instrument.drain(10)
        return attempts, parts.clock.now(), parts.journal.pending

    attempts, now, pending = follow(scenario)

    assert [each.task_id for each in attempts] == ["failed", "done"]
    assert (now, pending) == (NOW, 2)


def test_only_the_attempts_made_meanwhile_are_returned() -> None:
    async def scenario(parts: Parts) -> list[list[Any]]:
        found = []
        for task_id in ("one", "two"):
            await create(parts, task(task_id))
            found.append(await parts.instrument.drain(10))
        found.append(await parts.instrument.drain(10))
        return found

    assert [[each.task_id for each in part] for part in follow(scenario)] == [
        ["one"],
        ["two"],
        [],
    ]


def test_names_are_free_when_their_time_is_over() -> None:
    async def scenario(parts: Parts) -> None:
        await create(parts, task("t1"))
        await parts.instrument.drain(10)
        await parts.instrument.advance(DAY - SECOND, 10)
        with pytest.raises(ApiError, match="already exists"):
            await create(parts, task("t1"))
        await parts.instrument.advance(SECOND, 10)
        await create(parts, task("t1"))

    follow(scenario)


@pytest.mark.parametrize("state", ["running", "paused"])
def test_tasks_are_gone_after_31_days(state: str) -> None:
    config = {"max_attempts": -1}

    async def scenario(parts: Parts) -> int:
        parts.delivery.answers = [Answer(500)] * 2000
        if state == "paused":
            parts.engine.queues.pause(QUEUE, NOW)
        await create(parts, task("t1"))
        await parts.instrument.advance(31 * DAY, 60)
        return parts.journal.pending

    assert follow(scenario, fields={"retry_config": config}) == 0


def test_the_clock_cannot_go_back() -> None:
    async def scenario(parts: Parts) -> None:
        with pytest.raises(ValueError, match="cannot go back"):
            await parts.instrument.advance(-1, 10)

    follow(scenario)


def test_a_target_that_hangs_is_not_waited_for_without_end() -> None:
    async def scenario(parts: Parts) -> None:
        parts.delivery.gate.clear()
        await create(parts, task("t1"))
        with pytest.raises(TimeoutError, match=r"still being sent after 0\.05 s"):
            await parts.instrument.drain(0.05)

    follow(scenario)


# What can be seen.


def test_queues_are_shown_as_they_are() -> None:
    async def scenario(parts: Parts) -> list[Any]:
        parts.engine.queues.create(PARENT, queue(OTHER), NOW)
        parts.delivery.answers = [Answer(503)]
        await create(parts, task("t1"))
        await parts.until(lambda: parts.journal.attempts)
        parts.delivery.gate.clear()
        await create(parts, task("t2"))
        await parts.until(lambda: len(parts.delivery.sent) == 2)
        await create(parts, at(NOW + HOUR, "t3"))
        return parts.instrument.queues()

    default, other = follow(scenario)

    assert (default.path, other.path) == (QUEUE, OTHER)
    assert (default.depth, default.in_flight, default.dispatched_last_minute) == (
        *(3, 1),
        2,
    )
    assert default.effective_rate == 250
    assert default.oldest == NOW + SECOND // 10
    assert (other.depth, other.in_flight, other.oldest) == (0, 0, None)
    assert other.message.rate_limits.max_dispatches_per_second == 500


def test_the_oldest_task_is_one_that_is_still_there() -> None:
    async def scenario(parts: Parts) -> list[int | None]:
        parts.engine.queues.pause(QUEUE, NOW)
        await create(parts, task("t1"))
        await create(parts, at(NOW + 5, "t2"))
        found = []
        for task_id in ("t1", "t2"):
            found.append(parts.instrument.queues()[0].oldest)
            parts.engine.tasks.delete(name_of(task_id), NOW)
        return [*found, parts.instrument.queues()[0].oldest]

    assert follow(scenario) == [NOW, NOW + 5, None]


# Resetting.


def test_a_reset_begins_anew() -> None:
    async def scenario(parts: Parts) -> None:
        await create(parts, task("t1"))
        await parts.instrument.advance(40 * DAY, 10)
        parts.engine.queues.create(PARENT, queue(OTHER), parts.clock.now())
        parts.engine.queues.delete(OTHER, parts.clock.now())
        parts.engine.queues.pause(QUEUE, parts.clock.now())
        parts.faults.add(Fault("unavailable"))
        await create(parts, task("t2"))

        await parts.instrument.reset()

        assert parts.clock.now() == NOW
        assert (parts.journal.attempts, parts.journal.pending) == ([], 0)
        assert list(parts.faults) == []
        assert [view.path for view in parts.instrument.queues()] == [QUEUE]
        parts.engine.queues.create(PARENT, queue(OTHER), NOW)
        await create(parts, task("t1"))
        [attempt] = await parts.instrument.drain(10)
        assert attempt.outcome == "done"

    follow(scenario)


def test_a_reset_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"

    async def scenario(parts: Parts) -> None:
        await create(parts, at(NOW + HOUR, "t1"))
        await parts.instrument.reset()

    async def again(parts: Parts) -> int:
        return parts.engine.pending

    follow(scenario, path)
    assert follow(again, path) == 0


def test_a_reset_cuts_what_is_on_its_way(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(parts: Parts) -> None:
        parts.delivery.gate.clear()
        for number in range(3):
            await create(parts, task(f"t{number}"))
        await parts.until(lambda: len(parts.delivery.sent) == 3)

        await parts.instrument.reset()
        parts.delivery.gate.set()

        await create(parts, task("t0"))
        await parts.until(lambda: parts.journal.attempts)
        await parts.travel.wait_until_idle()
        [attempt] = parts.journal.attempts
        assert (attempt.task_id, attempt.number) == ("t0", 1)
        [view] = parts.instrument.queues()
        assert (view.depth, view.in_flight) == (0, 0)

    follow(scenario)
    assert caplog.messages == []


@pytest.mark.parametrize("turns", range(12))
def test_a_reset_may_come_at_any_moment(
    turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, while and after tasks are taken, sent and answered."""

    async def scenario(parts: Parts) -> None:
        now = parts.clock.now()
        for task_id in ("due", "later"):
            parts.engine.tasks.create(QUEUE, task(task_id), now)
        parts.engine.queues.pause(QUEUE, now)
        running = asyncio.create_task(
            parts.api.call("RunTask", _run_request(name_of("later")))
        )
        parts.engine.queues.resume(QUEUE, now)
        parts.dispatcher.poke()
        for _ in range(turns):
            await asyncio.sleep(0)

        await parts.instrument.reset()

        await asyncio.gather(running, return_exceptions=True)
        await parts.travel.wait_until_idle()
        assert (parts.journal.attempts, parts.journal.pending) == ([], 0)
        await create(parts, task("new"))
        [attempt] = await parts.instrument.drain(10)
        assert attempt.task_id == "new"

    follow(scenario)
    assert caplog.messages == []


def _run_request(name: str) -> Any:
    return tasks_v2.RunTaskRequest.pb()(name=name)


def test_a_reset_that_cannot_be_kept_leaves_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scenario(parts: Parts) -> None:
        parts.delivery.gate.clear()
        await create(parts, task("sent"))
        await create(parts, at(NOW + HOUR, "later"))
        await parts.until(lambda: parts.delivery.sent)

        def fail() -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(parts.engine.store.file, "clear", fail)
            with pytest.raises(ApiError, match="cannot write its store"):
                await parts.instrument.reset()
        parts.delivery.gate.set()

        attempts = await parts.instrument.advance(HOUR, 10)
        assert [(each.task_id, each.number) for each in attempts] == [
            ("sent", 2),
            ("later", 1),
        ]

    follow(scenario, tmp_path / "store.sqlite3")


def test_time_can_be_moved_while_faults_hold_tasks_back() -> None:
    async def scenario(parts: Parts) -> list[Any]:
        parts.faults.add(
            Fault("delay", delay=timedelta(minutes=5), times=None, task="slow")
        )
        await create(parts, task("slow"))
        await create(parts, task("quick"))
        return await parts.instrument.advance(HOUR, 10)

    attempts = follow(scenario)

    assert [each.task_id for each in attempts] == ["quick", "slow"]
    assert seconds(attempts) == [0, 300]


def test_faults_are_added_and_taken_back_one_by_one() -> None:
    async def scenario(parts: Parts) -> list[Any]:
        with parts.journal.changes.watch() as changed:
            kept = parts.instrument.inject(Fault("delay", delay=timedelta(hours=1)))
            gone = parts.instrument.inject(Fault("reorder"))
            assert changed.is_set()
        assert parts.instrument.remove_fault(gone.id)
        assert not parts.instrument.remove_fault(gone.id)
        assert list(parts.faults) == [kept]
        parts.instrument.clear_faults()
        return list(parts.faults)

    assert follow(scenario) == []
