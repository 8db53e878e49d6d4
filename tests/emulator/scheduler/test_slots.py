"""No slot is lost or doubled, however the clock is advanced."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from google.cloud import scheduler_v1
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtask.cron import Doubled
from cloudtask.emulator.scheduler.schedules.reading import read_schedule
from cloudtask.emulator.values import instants

from .parts import running
from .samples import HOUR, MINUTE, NOW, PARENT, at, job

SCHEDULES = [
    *(("*/7 * * * *", "UTC"), ("30 * * * *", "Europe/Berlin")),
    *(("0,30 1-3 * * *", "America/New_York"), ("every day 02:30", "Europe/Berlin")),
    *(("every 40 minutes from 22:00 to 02:00", "America/New_York"), ("0 9 1 * *", "")),
    ("every 3 hours synchronized", "Australia/Lord_Howe"),
]
#: Shortly before clocks change: none, back in New York, ahead in Berlin, and
#: by half an hour on Lord Howe Island.
STARTS = [
    NOW,
    at("2026-10-31T20:17:03Z"),
    at("2027-03-27T20:00:00Z"),
    at("2027-04-03T12:00:00Z"),
]


@settings(max_examples=30, deadline=None)
@given(
    schedule=st.sampled_from(SCHEDULES),
    start=st.sampled_from(STARTS),
    both=st.booleans(),
    steps=st.lists(
        st.one_of(
            st.integers(0, 90 * MINUTE).map(lambda step: ("advance", step)),
            st.integers(0, 30 * HOUR).map(lambda step: ("advance", step)),
            st.just(("restart", 0)),
        ),
        max_size=6,
    ),
)
def test_no_slot_is_lost_or_doubled(
    schedule: tuple[str, str], start: int, both: bool, steps: list[tuple[str, int]]
) -> None:
    doubled = Doubled.BOTH if both else Doubled.FIRST
    text, zone = schedule
    slots: list[int] = []
    now = start

    async def follow(path: Path, steps: list[int], *, fresh: bool) -> None:
        nonlocal now
        async with running(path, now=now, doubled=doubled) as parts:
            if fresh:
                message = job(schedule=text, time_zone=zone)
                request = scheduler_v1.CreateJobRequest.pb()(parent=PARENT, job=message)
                await parts.call("CreateJob", request)
            for step in steps:
                await parts.travel.advance(step, 30)
            now = parts.clock.now()
            slots.extend(
                instants.from_datetime(each.schedule_time)
                for each in parts.attempts.list_all()
            )

    with tempfile.TemporaryDirectory() as directory:
        path, run, fresh = Path(directory) / "store.sqlite3", [], True
        for kind, step in [*steps, ("restart", 0)]:
            if kind == "advance":
                run.append(step)
            else:
                asyncio.run(follow(path, run, fresh=fresh))
                run, fresh = [], False

    expected, slot = [], start
    rule = read_schedule(text, zone, doubled)
    while (following := rule.next(slot, None)) is not None and following <= now:
        slot = following
        expected.append(slot)
    assert slots == expected


@pytest.mark.parametrize("steps", [[6 * HOUR], [HOUR] * 6, [1, 6 * HOUR - 1]])
def test_an_interval_keeps_its_phase_in_any_steps(steps: list[int]) -> None:
    async def scenario() -> list[int]:
        async with running() as parts:
            message = job(schedule="every 50 minutes")
            request = scheduler_v1.CreateJobRequest.pb()(parent=PARENT, job=message)
            await parts.call("CreateJob", request)
            for step in steps:
                await parts.travel.advance(step, 30)
            return [
                instants.from_datetime(each.schedule_time)
                for each in parts.attempts.list_all()
            ]

    first = at("2026-10-01T06:10:00Z")
    slots = asyncio.run(scenario())
    assert slots == [first + number * 50 * MINUTE for number in range(7)]
