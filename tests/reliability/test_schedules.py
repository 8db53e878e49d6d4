"""Schedules on Cloud Tasks alone: each slot once, whoever dies."""

from __future__ import annotations

import math
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cloudtask.planning.plans import make_plan
from tests.reliability.conftest import Scene
from tests.reliability.harness import IS_LONG, poll, send_signal
from tests.reliability.story import Story

pytestmark = pytest.mark.reliability

#: How many schedules, and how many kills of workers and sweepers.
SCHEDULES, KILLS = (20_000, 100) if IS_LONG else (120, 12)
DAY = timedelta(hours=24)
#: By how much the clock is moved at once.
STEP = timedelta(minutes=30 if IS_LONG else 240)
#: One of so many schedules is due often.
OFTEN = 400 if IS_LONG else 20
#: Real seconds between two kills.
PAUSES = (2, 6) if IS_LONG else (0.2, 0.6)
#: Real seconds for one step.
STEP_SECONDS = 600 if IS_LONG else 60
ZONES = (
    *("Europe/Zurich", "Europe/London", "Europe/Lisbon", "Europe/Bucharest"),
    *("America/New_York", "America/Sao_Paulo", "Asia/Tokyo", "Asia/Kolkata"),
    *("Australia/Lord_Howe", "Africa/Cairo", "Pacific/Chatham", "UTC"),
)


@dataclass(frozen=True)
class Wanted:
    """A schedule of the scenario."""

    name: str
    cron: str
    zone: str

    def slots(self, since: datetime, until: datetime) -> set[datetime]:
        plan = make_plan(cron=self.cron, timezone=self.zone)
        return set(plan.iterate_slots(since, until))


def test_each_slot_is_enqueued_once(scene: Scene) -> None:
    with scene(workers=4, threads=6) as story:
        start = find_noon_before_change()
        move_clock(story, start)
        wanted = [invent(story, number) for number in range(SCHEDULES)]
        story.ground.ask(
            "schedule", {"wanted": [(w.name, w.cron, w.zone) for w in wanted]}
        )
        # What was due while they were made belongs to nobody.
        begun = story.ground.emulator.now
        with story.ground.sweepers(2), killing(story) as killed:
            while story.ground.emulator.now < start + DAY:
                move_clock(story, story.ground.emulator.now + STEP)
        # What the last kills have left behind.
        move_clock(story, story.ground.emulator.now + timedelta(minutes=5))
        with story.ground.sweepers(1), suppress(TimeoutError):
            poll(lambda: not late_schedules(story) + unfinished_runs(story))

        assert late_schedules(story) + unfinished_runs(story) == []
        story.faults.update(killed)
        assert violations(story, wanted, start, begun) == {}
        assert killed.total() >= KILLS


def find_noon_before_change() -> datetime:
    """The noon before clocks in Europe are next put forward or back."""
    noon = datetime.now(ZoneInfo("Europe/Zurich")).replace(
        hour=12, minute=0, second=0, microsecond=0
    )
    while (noon + timedelta(days=1)).utcoffset() == noon.utcoffset():
        noon += timedelta(days=1)
    return noon.astimezone(UTC)


def move_clock(story: Story, moment: datetime) -> None:
    """Move the queue's clock, and have that of all processes follow."""
    emulator = story.ground.emulator
    left = moment - emulator.now
    emulator.advance(
        microseconds=left // timedelta(microseconds=1), timeout=STEP_SECONDS
    )
    story.ground.set_clock(emulator.now - datetime.now(UTC))


def invent(story: Story, number: int) -> Wanted:
    """Most are due once a day, and some often."""
    dice = story.dice
    minute, hour = dice.randrange(60), dice.randrange(24)
    cron = f"{minute} {hour} * * *"
    if number % (3 * OFTEN) == 0:
        cron = "*/15 * * * *"
    elif number % OFTEN == 0:
        cron = f"{minute} * * * *"
    return Wanted(f"schedule {number}", cron, dice.choice(ZONES))


@contextmanager
def killing(story: Story) -> Iterator[Counter[str]]:
    """SIGKILL workers and sweepers meanwhile, at any moment."""
    killed: Counter[str] = Counter()
    over = threading.Event()

    def kill_on() -> None:
        most = math.inf if IS_LONG else KILLS
        while killed.total() < most and not over.wait(story.dice.uniform(*PAUSES)):
            if story.dice.random() < 0.3:
                killed["sweepers"] += kill(story, story.ground.sweeping())
            else:
                killed["workers"] += kill(story, story.servers.workers())

    thread = threading.Thread(target=kill_on)
    thread.start()
    try:
        yield killed
        # A quick machine is done before.
        poll(lambda: killed.total() >= KILLS)
    finally:
        over.set()
        thread.join()


def kill(story: Story, pids: list[int]) -> bool:
    return bool(pids) and send_signal(story.dice.choice(pids), signal.SIGKILL)


def late_schedules(story: Story) -> list[object]:
    moment = story.ground.emulator.now - timedelta(minutes=2)
    return [
        row
        for row in story.ground.database.rows(
            "SELECT next_at, name FROM cloudtask_schedules_scheduledtask"
        )
        if row[0] <= moment
    ]


def unfinished_runs(story: Story) -> list[object]:
    return story.ground.database.rows(
        "SELECT id, status, attempt, send_at, sent_at, lease_expires_at, name "
        "FROM record WHERE kind <> 'tick' AND finished_at IS NULL"
    )


def violations(
    story: Story, wanted: list[Wanted], start: datetime, begun: datetime
) -> dict[str, object]:
    """
    What does not hold of the slots, by schedules.

    Args:
        story: What came of them.
        wanted: The schedules.
        start: Before they were made.
        begun: When all were made.
    """
    found: dict[str, object] = {}
    names = {w.name: w for w in wanted}
    decided: dict[str, Counter[datetime]] = {name: Counter() for name in names}
    gaps: dict[str, list[tuple[datetime, datetime]]] = {name: [] for name in names}
    runs: Counter[str] = Counter()
    for name, instant, state, first, task_id in story.ground.database.rows(
        "SELECT s.name, slot.instant, slot.state, slot.first, slot.task_id "
        "FROM cloudtask_schedules_slot slot "
        "JOIN cloudtask_schedules_scheduledtask s ON s.id = slot.schedule_id"
    ):
        if state == "missed":
            gaps[name].append((first, instant))
        else:
            decided[name][instant] += 1
            runs[task_id] += 1
    until = story.ground.emulator.now
    for name, schedule in names.items():
        slots = schedule.slots(begun, until - timedelta(minutes=2))
        missed = {slot for slot in slots for a, b in gaps[name] if a <= slot <= b}
        enqueued = set(decided[name])
        if twice := {s for s, number in decided[name].items() if number > 1}:
            found[f"{name}: twice"] = twice
        if silent := slots - missed - enqueued:
            found[f"{name}: silent"] = silent
        if enqueued & missed:
            found[f"{name}: both"] = enqueued & missed
        if foreign := enqueued - schedule.slots(start, until + timedelta(minutes=1)):
            found[f"{name}: not a slot"] = foreign
    records = dict(
        story.ground.database.rows("SELECT id, status FROM record WHERE kind <> 'tick'")
    )
    if unknown := set(runs) ^ set(records):
        found["runs and tasks"] = unknown
    if failed := [run for run, status in records.items() if status != "SUCCESSFUL"]:
        found["not successful"] = failed
    story.faults["slots"] = sum(sum(each.values()) for each in decided.values())
    story.faults["missed"] = sum(len(each) for each in gaps.values())
    return found
