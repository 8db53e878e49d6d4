"""What becomes of slots that are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudtask.planning.plans import make_plan
from cloudtask.schedules import decisions
from cloudtask.schedules.decisions import Decision, Gap, compute_jitter, decide

DAY = datetime(2026, 6, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return DAY + timedelta(hours=hours)


def decide_hourly(
    after: float, now: float, *, is_busy: bool = False, **options: Any
) -> Decision:
    plan = make_plan(cron="0 * * * *", timezone="UTC", **options)
    return decide(plan, at(after), at(now), is_busy=is_busy)


def test_nothing_is_due() -> None:
    assert decide_hourly(1, 1.9) == Decision()


def test_a_slot_in_time_is_run() -> None:
    assert decide_hourly(1, 2) == Decision(run=[at(2)], until=at(2))


@pytest.mark.parametrize("late", [1 / 12, 0.9])
def test_the_latest_slot_is_run_however_late(late: float) -> None:
    assert decide_hourly(1, 2 + late).run == [at(2)]


def test_the_others_are_missed() -> None:
    decision = decide_hourly(1, 6.5)
    assert decision.run == [at(6)]
    assert decision.missed == Gap(at(2), at(5), 4)
    assert decision.until == at(6)


@pytest.mark.parametrize(
    ("catch_up", "run", "missed"),
    [
        ("none", [], Gap(at(2), at(6), 5)),
        (3, [at(4), at(5), at(6)], Gap(at(2), at(3), 2)),
        ("all", [at(each) for each in range(2, 7)], None),
    ],
)
def test_as_many_are_caught_up_as_the_plan_says(
    catch_up: Any, run: list[datetime], missed: Gap | None
) -> None:
    decision = decide_hourly(1, 6.5, catch_up=catch_up)
    assert (decision.run, decision.missed) == (run, missed)


def test_what_is_in_time_is_run_without_catching_up() -> None:
    decision = decide_hourly(1, 3 + 1 / 60, catch_up="none")
    assert (decision.run, decision.missed) == ([at(3)], Gap(at(2), at(2), 1))


def test_several_slots_may_be_in_time() -> None:
    plan = make_plan(cron="* * * * *", timezone="UTC")
    decision = decide(plan, at(1), at(1) + timedelta(minutes=4), is_busy=False)
    assert len(decision.run) == 4


def test_a_long_outage_is_decided_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decisions, "MAX_SLOTS", 3)
    first = decide_hourly(0, 5)
    assert (first.run, first.missed) == ([], Gap(at(1), at(3), 3))
    second = decide_hourly(3, 5)
    assert (second.run, second.missed) == ([at(5)], Gap(at(4), at(4), 1))


def test_a_piece_may_be_all_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MAX_SLOTS", 3)
    decision = decide_hourly(0, 3)
    assert (decision.run, decision.missed) == ([at(3)], Gap(at(1), at(2), 2))


def test_the_last_slot_of_all_is_run() -> None:
    assert decide_hourly(1, 9, ends=at(2)).run == [at(2)]


@pytest.mark.parametrize(
    ("overlap", "is_busy", "run", "skip", "wait"),
    [
        ("run", False, [4, 5, 6], [], None),
        ("run", True, [4, 5, 6], [], None),
        ("skip", False, [6], [4, 5], None),
        ("skip", True, [], [4, 5, 6], None),
        ("wait", False, [4], [5], 6),
        ("wait", True, [], [4, 5], 6),
    ],
)
def test_runs_overlap_as_the_plan_says(
    overlap: str, is_busy: bool, run: list[int], skip: list[int], wait: int | None
) -> None:
    decision = decide_hourly(3, 6.5, catch_up=3, overlap=overlap, is_busy=is_busy)
    assert decision.run == [at(each) for each in run]
    assert decision.skip == [at(each) for each in skip]
    assert decision.wait == (None if wait is None else at(wait))


@pytest.mark.parametrize("overlap", ["skip", "wait"])
def test_one_slot_overlaps_nothing(overlap: str) -> None:
    assert decide_hourly(1, 2, overlap=overlap).run == [at(2)]


def test_a_gap_ends_before_what_is_caught_up() -> None:
    plan = make_plan(cron="* * * * *", timezone="UTC", catch_up="all")
    decision = decide(plan, at(0), at(3), is_busy=False)
    assert len(decision.run) == 100
    assert decision.missed is not None
    assert decision.missed.last == decision.run[0] - timedelta(minutes=1)
    assert decision.missed.count == 80


def test_runs_are_spread_by_a_hash() -> None:
    spread = timedelta(minutes=10)
    jitters = {compute_jitter(f"{n:032x}", at(1), spread) for n in range(200)}
    assert len(jitters) > 100
    assert all(timedelta(0) <= each < spread for each in jitters)
    assert compute_jitter("a", at(1), spread) == compute_jitter("a", at(1), spread)
    assert compute_jitter("a", at(1), timedelta(0)) == timedelta(0)
