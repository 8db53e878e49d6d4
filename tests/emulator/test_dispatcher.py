import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from google.auth import jwt
from google.cloud import tasks_v2

from cloudtask.emulator.pace import pump as module
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.faults import DispatchFaultKind, Fault
from cloudtask.emulator.tasks.sending.journal import Attempt
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND, to_datetime
from tests.emulator.parts import Parts, running
from tests.emulator.samples import HOUR, NOW, QUEUE, at, name_of, task


def follow(scenario: Callable[[Parts], Awaitable[Any]], *args: Any, **kw: Any) -> Any:
    """Return what a scenario comes to on parts that are at work."""

    async def main() -> Any:
        async with running(*args, **kw) as parts:
            return await scenario(parts)

    return asyncio.run(main())


async def create(parts: Parts, *task_ids: str, **fields: Any) -> None:
    for task_id in task_ids:
        message = task(task_id, **fields)
        now = parts.clock.now()
        await parts.commits.run(
            lambda m=message, n=now: parts.engine.tasks.create(QUEUE, m, n)
        )
        parts.dispatcher.poke()


async def turns(count: int = 20) -> None:
    """Let everything that is ready go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def real_time() -> Callable[[], int]:
    """Return a clock that goes on from NOW."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    return lambda: NOW + int((loop.time() - begun) * SECOND)


def idle(parts: Parts) -> Callable[[], bool]:
    return lambda: parts.journal.pending == 0


def test_due_tasks_are_sent_and_their_answers_taken_in() -> None:
    async def scenario(parts: Parts) -> list[Attempt]:
        await create(parts, "one", "two")
        await parts.until(idle(parts))
        return parts.journal.attempts

    first, second = follow(scenario)

    assert (first.task_id, second.task_id) == ("one", "two")
    assert (first.status, first.outcome, first.fault) == (200, "done", None)


def test_what_was_due_before_the_start_is_sent_then() -> None:
    async def scenario(parts: Parts) -> None:
        await create(parts, "t1")
        await turns()
        assert parts.delivery.sent == []
        parts.dispatcher.start()
        await parts.until(idle(parts))

    follow(scenario, start=False)


def test_nothing_is_sent_after_the_stop() -> None:
    async def scenario(parts: Parts) -> list[str]:
        await create(parts, "one")
        await parts.until(idle(parts))
        await parts.dispatcher.pump.stop(10)
        await create(parts, "two")
        await turns()
        return parts.delivery.task_ids

    assert follow(scenario) == ["one"]


def test_a_task_is_sent_when_its_time_has_come() -> None:
    async def scenario(parts: Parts) -> datetime:
        message = at(NOW + SECOND // 50, "t1")
        parts.clock._real_time = real_time()
        await parts.commits.run(lambda: parts.engine.tasks.create(QUEUE, message, NOW))
        parts.dispatcher.poke()
        await parts.until(idle(parts))
        return parts.journal.attempts[0].dispatch_time

    assert follow(scenario) >= to_datetime(NOW + SECOND // 50)


def test_an_earlier_task_wakes_a_dispatcher_that_waits_for_a_later_one() -> None:
    async def scenario(parts: Parts) -> list[str]:
        message = at(NOW + HOUR, "later")
        await parts.commits.run(lambda: parts.engine.tasks.create(QUEUE, message, NOW))
        parts.dispatcher.poke()
        await parts.travel.wait_until_idle()
        await create(parts, "now")
        await parts.until(lambda: parts.journal.attempts)
        return parts.delivery.task_ids

    assert follow(scenario) == ["now"]


def test_a_failed_attempt_is_recorded_with_its_retry() -> None:
    async def scenario(parts: Parts) -> list[Attempt]:
        parts.delivery.answers = [Answer(503), Answer(error="nobody there")]
        await create(parts, "t1")
        await parts.until(lambda: parts.journal.attempts)
        await parts.instrument.advance(HOUR, 10)
        return parts.journal.attempts

    failed, unanswered, done = follow(scenario)

    assert (failed.status, failed.outcome) == (503, "retry")
    assert failed.retry_time == unanswered.dispatch_time
    assert (unanswered.status, unanswered.error) == (None, "nobody there")
    assert [each.number for each in (failed, unanswered, done)] == [1, 2, 3]


def test_a_token_counts_from_the_real_time() -> None:
    """Whoever verifies it knows nothing of a clock that was moved."""

    async def scenario(parts: Parts) -> dict[str, str]:
        parts.clock.advance(HOUR)
        token = {"service_account_email": "a@b.example"}
        await create(parts, "t1", http={"oidc_token": token})
        await parts.until(idle(parts))
        return parts.delivery.sent[0].headers

    scheme, _, token = follow(scenario)["Authorization"].partition(" ")

    assert scheme == "Bearer"
    assert jwt.decode(token, verify=False)["iat"] == NOW // SECOND


def test_a_task_for_app_engine_is_not_sent_if_there_is_none() -> None:
    async def scenario(parts: Parts) -> tuple[Attempt, list[str]]:
        task = tasks_v2.Task.pb()(app_engine_http_request={})
        await parts.commits.run(lambda: parts.engine.tasks.create(QUEUE, task, NOW))
        parts.dispatcher.poke()
        await parts.until(lambda: parts.journal.attempts)
        return parts.journal.attempts[0], parts.delivery.task_ids

    attempt, sent = follow(scenario)

    assert sent == []
    assert attempt.status is None
    assert attempt.error == (
        "nowhere to send App Engine tasks to: set --app-engine-url"
    )


# Faults.


@pytest.mark.parametrize(
    ("kind", "sent", "statuses", "outcomes", "error"),
    [
        ("unreachable", 1, [None], ["retry"], "fault: the target was not reached"),
        ("timeout", 2, [None], ["retry"], "fault: no answer in time"),
        ("drop_answer", 2, [None], ["retry"], "fault: the answer was lost"),
        ("duplicate", 2, [200, 200], ["done", "done"], None),
    ],
)
def test_a_fault_spoils_an_attempt(
    kind: DispatchFaultKind,
    sent: int,
    statuses: list[int | None],
    outcomes: list[str],
    error: str | None,
) -> None:
    async def scenario(parts: Parts) -> tuple[list[Attempt], int]:
        parts.faults.add(Fault(kind))
        await create(parts, "t1")
        await parts.instrument.advance(HOUR, 10)
        return parts.journal.attempts, len(parts.delivery.sent)

    attempts, count = follow(scenario)

    assert count == sent
    spoiled = attempts[: len(statuses)]
    assert [each.status for each in spoiled] == statuses
    assert [each.outcome for each in spoiled] == outcomes
    assert {(each.fault, each.error, each.number) for each in spoiled} == {
        (kind, error, 1)
    }
    assert attempts[-1].outcome == "done"


def test_a_target_sees_a_timeout_as_one() -> None:
    async def scenario(parts: Parts) -> dict[str, str]:
        parts.faults.add(Fault("timeout"))
        await create(parts, "t1")
        await parts.instrument.advance(HOUR, 10)
        return parts.delivery.sent[-1].headers

    assert follow(scenario)["X-CloudTasks-TaskPreviousResponse"] == "504"


# Whoever wants to know of each attempt.


def test_the_hook_sees_every_attempt() -> None:
    seen: list[Attempt] = []

    async def scenario(parts: Parts) -> list[Attempt]:
        parts.delivery.answers = [Answer(500)]
        await create(parts, "t1")
        await parts.instrument.advance(HOUR, 10)
        return parts.journal.attempts

    assert seen == [] != follow(scenario, on_attempt=seen.append) == seen


def test_a_hook_that_fails_is_logged_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(attempt: Attempt) -> None:
        raise LookupError("mine")

    async def scenario(parts: Parts) -> None:
        await create(parts, "one", "two")
        await parts.until(idle(parts))

    with caplog.at_level(logging.ERROR, "cloudtask.emulator"):
        follow(scenario, on_attempt=fail)

    assert caplog.messages == [
        f"on_attempt failed task={name_of(task_id)}" for task_id in ("one", "two")
    ]


# Waiting until all is settled.


def test_settled_waits_for_answers() -> None:
    async def scenario(parts: Parts) -> None:
        parts.delivery.gate.clear()
        await create(parts, "t1")
        settled = asyncio.create_task(parts.travel.wait_until_idle())
        await parts.until(lambda: parts.delivery.sent)
        await turns()
        assert not settled.done()
        parts.delivery.gate.set()
        await settled
        assert parts.journal.pending == 0

    follow(scenario)


def test_settled_waits_for_what_is_swept() -> None:
    async def scenario(parts: Parts) -> int:
        parts.engine.queues.pause(QUEUE, NOW)
        await create(parts, "t1")
        parts.clock.advance(32 * 24 * HOUR)
        parts.dispatcher.poke()
        await parts.travel.wait_until_idle()
        return parts.journal.pending

    assert follow(scenario) == 0


def test_waiting_for_an_answer_costs_nothing() -> None:
    """Nobody looks again and again whether it is there."""

    async def scenario(parts: Parts) -> int:
        parts.delivery.gate.clear()
        await create(parts, "t1")
        await parts.until(lambda: parts.delivery.sent)
        looks = 0
        next_work = parts.engine.next_work

        def counted(now: int) -> int:
            nonlocal looks
            looks += 1
            return next_work(now)

        parts.engine.next_work = counted  # type: ignore[method-assign]
        settled = asyncio.create_task(parts.travel.wait_until_idle())
        await turns(200)
        seen = looks
        parts.delivery.gate.set()
        await settled
        return seen

    assert follow(scenario) < 5


# Stopping with requests on their way.


def test_a_stop_waits_for_answers() -> None:
    async def scenario(parts: Parts) -> list[Attempt]:
        parts.delivery.gate.clear()
        await create(parts, "t1")
        await parts.until(lambda: parts.delivery.sent)
        stopping = asyncio.create_task(parts.dispatcher.pump.stop(10))
        await turns()
        parts.delivery.gate.set()
        await stopping
        return parts.journal.attempts

    [attempt] = follow(scenario)
    assert attempt.outcome == "done"


def test_a_stop_cuts_what_takes_too_long_and_the_next_start_sends_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite3"

    async def scenario(parts: Parts) -> list[Attempt]:
        parts.delivery.gate.clear()
        await create(parts, "t1")
        await parts.until(lambda: parts.delivery.sent)
        await parts.dispatcher.pump.stop(0)
        return parts.journal.attempts

    assert follow(scenario, path) == []

    async def again(parts: Parts) -> list[Attempt]:
        await parts.until(lambda: parts.journal.attempts)
        return parts.journal.attempts

    [attempt] = follow(again, path)
    assert (attempt.number, attempt.outcome) == (2, "done")


# A store that cannot be written.


@pytest.fixture
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)


@pytest.mark.usefixtures("_no_wait")
def test_a_full_disk_stops_dispatches_only_while_it_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(parts: Parts) -> None:
        await create(parts, *(f"t{n:03}" for n in range(100)), http={"body": b"x"})
        parts.dispatcher.start()
        parts.fill_disk()
        # To count a dispatch takes room, too.
        while not caplog.messages:
            await asyncio.sleep(0)
            if not parts.journal.pending:
                await create(parts, f"more-{parts.journal.count}")
        parts.free_disk()
        await parts.until(idle(parts))

    with caplog.at_level(logging.ERROR, "cloudtask.emulator"):
        follow(scenario, tmp_path / "store.sqlite3", start=False)

    assert set(caplog.messages) == {
        "the store cannot be written: database or disk is full"
    }


def fail_commits(parts: Parts, count: int) -> None:
    """Let the next commits find the disk full."""
    commit = parts.engine.store.file.commit
    left = count

    def fail() -> None:
        nonlocal left
        if parts.engine.store.file.is_dirty and left:
            left -= 1
            raise sqlite3.OperationalError("database or disk is full")
        commit()

    parts.engine.store.file.commit = fail  # type: ignore[method-assign]


@pytest.mark.usefixtures("_no_wait")
@pytest.mark.parametrize("failures", [1, 2, 5])
def test_a_dispatch_that_is_not_kept_is_not_sent(failures: int) -> None:
    async def scenario(parts: Parts) -> list[Attempt]:
        await create(parts, "t1")
        fail_commits(parts, failures)
        parts.dispatcher.start()
        await parts.until(idle(parts))
        assert len(parts.delivery.sent) == 1
        return parts.journal.attempts

    [attempt] = follow(scenario, start=False)
    assert attempt.number == 1


@pytest.mark.usefixtures("_no_wait")
@pytest.mark.parametrize("failures", [1, 2, 5])
def test_a_task_whose_answer_is_not_kept_is_sent_again(failures: int) -> None:
    async def scenario(parts: Parts) -> list[int]:
        parts.delivery.gate.clear()
        await create(parts, "t1")
        await parts.until(lambda: parts.delivery.sent)
        fail_commits(parts, failures)
        parts.delivery.gate.set()
        await parts.until(idle(parts))
        await parts.travel.wait_until_idle()
        return [each.number for each in parts.journal.attempts]

    # Of what was not kept there is no record.
    assert follow(scenario) == [2]


@pytest.mark.usefixtures("_no_wait")
def test_settled_waits_for_a_task_whose_answer_was_not_kept() -> None:
    async def scenario(parts: Parts) -> int:
        parts.delivery.gate.clear()
        await create(parts, "t1")
        await parts.until(lambda: parts.delivery.sent)
        fail_commits(parts, 3)
        settled = asyncio.create_task(parts.travel.wait_until_idle())
        parts.delivery.gate.set()
        await settled
        return parts.journal.pending

    assert follow(scenario) == 0


def test_a_store_that_cannot_be_written_is_not_tried_all_the_time() -> None:
    async def scenario(parts: Parts) -> int:
        await create(parts, "t1")
        tries = 0
        run = parts.commits.run

        async def counted(action: Callable[[], Any]) -> Any:
            nonlocal tries
            tries += 1
            raise ApiError(14, "full")

        parts.commits.run = counted  # type: ignore[method-assign]
        parts.dispatcher.start()
        for _ in range(50):
            parts.dispatcher.poke()
            await turns(5)
        parts.commits.run = run  # type: ignore[method-assign]
        return tries

    assert follow(scenario, start=False) == 1


# Errors of the emulator's own.


@pytest.mark.usefixtures("_no_wait")
def test_an_error_is_logged_and_does_not_end_the_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(parts: Parts) -> None:
        take_due = parts.engine.launcher.take_due

        def fail_once(now: int) -> Any:
            parts.engine.launcher.take_due = take_due  # type: ignore[method-assign]
            raise LookupError("a bug")

        parts.engine.launcher.take_due = fail_once  # type: ignore[method-assign]
        await create(parts, "t1")
        parts.dispatcher.start()
        await parts.until(idle(parts))

    with caplog.at_level(logging.ERROR, "cloudtask.emulator"):
        follow(scenario, start=False)

    [record] = caplog.records
    assert record.message == "what is due could not be sent"
    assert "a bug" in str(record.exc_info)


def test_an_attempt_that_ends_in_an_error_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(parts: Parts) -> None:
        async def fail(*args: Any) -> Answer:
            raise LookupError("a bug")

        parts.delivery.send = fail  # type: ignore[method-assign]
        await create(parts, "t1")
        while not caplog.records:
            await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR, "cloudtask.emulator"):
        follow(scenario)

    [record] = caplog.records
    assert record.message == "an attempt was not completed"


def test_what_was_reset_meanwhile_is_not_sent() -> None:
    async def scenario(parts: Parts) -> list[str]:
        await create(parts, "t1")
        [dispatch] = parts.engine.launcher.take_due(NOW)
        parts.engine.reset()

        parts.dispatcher.send(dispatch)
        await turns()
        return parts.delivery.task_ids

    assert follow(scenario, start=False) == []
