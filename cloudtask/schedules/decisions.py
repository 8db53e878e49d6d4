"""What becomes of slots that are due. Values in, values out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cloudtask.planning.plans import Overlap

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.planning.plans import Plan

#: A slot that is older has not been run in time.
ON_TIME = timedelta(minutes=5)
#: The most slots that are in time: one a minute.
_MAX_ON_TIME = int(ON_TIME / timedelta(minutes=1)) + 1
#: The most slots that one decision is about. Another one is about the rest.
MAX_SLOTS = 10_000


@dataclass(frozen=True, slots=True)
class Gap:
    """Slots that were missed, one after the other."""

    first: datetime
    last: datetime
    count: int


@dataclass(slots=True)
class Decision:
    """What becomes of the slots that were due."""

    run: list[datetime] = field(default_factory=list)
    wait: datetime | None = None  # Runs once the run before it is over.
    skip: list[datetime] = field(default_factory=list)
    missed: Gap | None = None
    until: datetime | None = None  # The last slot that it is about.


def decide(plan: Plan, after: datetime, now: datetime, *, is_busy: bool) -> Decision:
    """
    Decide what becomes of the slots that are due.

    Args:
        plan: Of the schedule.
        after: Until when it was decided before.
        now: The present.
        is_busy: Whether a run of the schedule is not over.
    """
    decision = Decision()
    run = _split_by_lateness(plan, after, now, decision)
    if plan.overlap is Overlap.RUN:
        decision.run = run
    elif run and not is_busy:
        _run_one(plan, run, decision)
    elif run:
        _run_none(plan, run, decision)
    return decision


def _split_by_lateness(
    plan: Plan, after: datetime, now: datetime, decision: Decision
) -> list[datetime]:
    """Note what was missed in a decision, and return what is to be run."""
    # The latest ones, of which some may still be run.
    latest: deque[datetime] = deque(maxlen=max(plan.catch_up, _MAX_ON_TIME))
    first, count = None, 0
    for slot in plan.iterate_slots(after, now):
        first = first or slot
        count += 1
        latest.append(slot)
        if count == MAX_SLOTS:
            break
    if first is None:
        return []
    decision.until = latest[-1]
    run = _choose_run(plan, latest, now)
    if count > len(run):
        last = _find_last_missed(plan, latest, run)
        decision.missed = Gap(first, last, count - len(run))
    return run


def _choose_run(plan: Plan, latest: deque[datetime], now: datetime) -> list[datetime]:
    following = plan.find_next(latest[-1])
    if following is not None and following <= now:
        return []  # Later ones are due, too, in the next decision.
    in_time = sum(slot >= now - ON_TIME for slot in latest)
    number = max(plan.catch_up, in_time)
    return list(latest)[-number:] if number else []


def _find_last_missed(
    plan: Plan, latest: deque[datetime], run: list[datetime]
) -> datetime:
    if len(run) < len(latest):
        return latest[-1 - len(run)]
    return plan.cron.previous(run[0] - timedelta(microseconds=1), plan.zone)


def _run_one(plan: Plan, run: list[datetime], decision: Decision) -> None:
    """Run one of several slots, of which no two may overlap."""
    if plan.overlap is Overlap.SKIP or len(run) == 1:
        *decision.skip, last = run
        decision.run = [last]
        return
    earliest, *decision.skip, decision.wait = run
    decision.run = [earliest]


def _run_none(plan: Plan, run: list[datetime], decision: Decision) -> None:
    if plan.overlap is Overlap.SKIP:
        decision.skip = run
    else:
        *decision.skip, decision.wait = run


def compute_jitter(uid: str, slot: datetime, spread: timedelta) -> timedelta:
    """
    Compute how much later the run of a slot is due, the same for each try.

    Args:
        uid: Of the schedule.
        slot: When it is due without.
        spread: Over which runs are spread.
    """
    seconds = int(spread.total_seconds())
    if not seconds:
        return timedelta(0)
    digest = sha256(f"{uid}\0{slot.isoformat()}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8]) % seconds)
