"""Sending: tokens, what cannot be sent, full disks, hooks."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.auth import jwt
from google.cloud import scheduler_v1

from cloudtask.emulator.pace import pump
from cloudtask.emulator.storage.file import StoreFile
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.values.instants import SECOND, to_datetime

from .parts import Parts, running
from .samples import HOUR, JOB, MINUTE, NOW, PARENT, URL, at, job

SLOT = at("2026-10-01T05:21:00Z")
_Create = scheduler_v1.CreateJobRequest.pb()
_Run = scheduler_v1.RunJobRequest.pb()


def follow(scenario: Callable[[Parts], Awaitable[Any]], **options: Any) -> Any:
    """Return what a scenario comes to on parts that are at work."""

    async def main() -> Any:
        async with running(**options) as parts:
            return await scenario(parts)

    return asyncio.run(main())


async def create(parts: Parts, **fields: Any) -> None:
    await parts.call("CreateJob", _Create(parent=PARENT, job=job(**fields)))


def test_an_attempt_says_what_was_sent_and_what_came_of_it() -> None:
    async def scenario(parts: Parts) -> None:
        await create(parts, retry_config={"retry_count": 1})
        parts.delivery.answers = [Answer(500)]
        await parts.travel.advance(MINUTE, 10)

    seen: list[Any] = []
    follow(scenario, on_attempt=seen.append)

    first, second = seen
    assert (first.name, first.job_id, first.url) == (JOB, "nightly", URL)
    assert (first.number, first.status, first.outcome) == (1, 500, "retry")
    assert first.schedule_time == first.dispatch_time == to_datetime(SLOT)
    assert first.retry_time == to_datetime(SLOT + 5 * SECOND)
    assert (second.number, second.outcome, second.retry_time) == (2, "done", None)
    assert second.schedule_time == first.schedule_time
    assert not first.forced
    assert first.headers["X-CloudScheduler"] == "true"
    assert "X-CloudScheduler" not in repr(first)


def test_a_token_is_of_the_real_time() -> None:
    async def scenario(parts: Parts) -> Any:
        token = {"service_account_email": "a@b.example", "audience": "shop"}
        await create(parts, http={"oidc_token": token})
        await parts.travel.advance(2 * HOUR, 10)
        [*_, last] = parts.delivery.sent
        return jwt.decode(
            last.headers["Authorization"].removeprefix("Bearer "), verify=False
        )

    claims = follow(scenario)

    assert (claims["email"], claims["aud"]) == ("a@b.example", "shop")
    assert claims["iat"] == NOW // SECOND


def test_redirects_are_followed() -> None:
    async def scenario(parts: Parts) -> Any:
        await create(parts)
        await parts.travel.advance(MINUTE, 10)
        return parts.delivery.sent[0].follow_redirects

    assert follow(scenario)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (
            {
                "pubsub_target": {
                    "topic_name": "projects/demo/topics/ticks",
                    "data": b"x",
                }
            },
            "not delivered: the emulator has no Pub/Sub to publish to",
        ),
        (
            {"app_engine_http_target": {"relative_uri": "/a"}},
            "nowhere to send App Engine jobs to: set --app-engine-url",
        ),
    ],
)
def test_what_cannot_be_sent_is_recorded_as_failed(target: Any, error: str) -> None:
    async def scenario(parts: Parts) -> Any:
        await create(parts, **target)
        await parts.travel.advance(MINUTE, 10)
        log = parts.service.instrument.log(JOB)
        assert parts.delivery.sent == []
        return parts.attempts.list_all(), log[-1]["jsonPayload"]["debugInfo"]

    [attempt], debug_info = follow(scenario)

    assert (attempt.status, attempt.outcome) == (None, "gave up")
    assert attempt.error == error
    assert debug_info == f"URL_UNREACHABLE. {error}"


def test_a_hook_that_fails_does_not_end_the_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(attempt: Any) -> None:
        raise ZeroDivisionError

    async def scenario(parts: Parts) -> Any:
        await create(parts)
        await parts.travel.advance(2 * MINUTE, 10)
        return parts.attempts.count

    assert follow(scenario, on_attempt=fail) == 2
    assert [record.message for record in caplog.records] == [
        f"on_job_attempt failed job={JOB}"
    ] * 2


def test_a_forced_run_is_sent_while_a_natural_one_is_under_way() -> None:
    async def scenario(parts: Parts) -> Any:
        await create(parts)
        parts.delivery.gate.clear()
        moving = asyncio.create_task(parts.travel.advance(MINUTE, 10))
        while not parts.delivery.sent:
            await asyncio.sleep(0)
        answer = await parts.call("RunJob", _Run(name=JOB))
        while len(parts.delivery.sent) < 2:
            await asyncio.sleep(0)
        [view] = parts.service.instrument.jobs()
        parts.delivery.gate.set()
        await moving
        return answer, view.in_flight, parts.attempts.list_all()

    answer, in_flight, attempts = follow(scenario)

    assert answer.name == JOB
    assert in_flight == 2
    assert [each.forced for each in attempts] == [False, True]
    times = [each.schedule_time for each in attempts]
    assert times == [to_datetime(SLOT), to_datetime(SLOT + MINUTE)]


def test_a_run_that_was_forgotten_meanwhile_is_not_sent() -> None:
    async def scenario(parts: Parts) -> Any:
        await create(parts)
        now = parts.clock.now()
        run = parts.engine.launcher.run(parts.engine.jobs.find(JOB), now)
        parts.engine.store.file.clear()
        parts.engine.forget()
        parts.service.dispatcher.send(run)
        await parts.travel.wait_until_idle()
        return parts.delivery.sent

    assert follow(scenario) == []


@pytest.mark.parametrize("kept", [0, 1])
def test_what_is_not_kept_is_sent_again(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the start of an attempt is not kept, then its end."""
    monkeypatch.setattr(pump, "RETRY_SECONDS", 0.001)
    commit = StoreFile.commit
    results = [*[True] * kept, False]

    def try_to_commit(file: StoreFile) -> None:
        if file.is_dirty and results and not results.pop(0):
            raise sqlite3.OperationalError("database or disk is full")
        commit(file)

    async def scenario(parts: Parts) -> Any:
        await create(parts)
        with monkeypatch.context() as patch:
            patch.setattr(StoreFile, "commit", try_to_commit)
            await parts.travel.advance(MINUTE, 10)
        return len(parts.delivery.sent), parts.attempts.list_all()

    sent, [attempt] = follow(scenario)

    assert sent == kept + 1
    assert (attempt.number, attempt.outcome) == (kept + 1, "done")
    assert attempt.schedule_time == to_datetime(SLOT)
