"""Ticks: dispatches that say that a slot of a schedule may be due."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cloudtask.conf import clock, get_settings
from cloudtask.dispatch.kinds import find_settings
from cloudtask.dispatch.outcomes import Rearm
from cloudtask.planning.plans import Overlap
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.runs import run_by_hand
from cloudtask.schedules.settings import CLOUD_TASKS, get_schedules_settings
from cloudtask.schedules.slots import decide_due
from cloudtask.transports import get_transport
from cloudtask.wire.payload import Payload, Using

if TYPE_CHECKING:
    from typing import Any

    from cloudtask.wire.request import CloudTaskRequest

#: What payloads and rows call ticks.
TICK, TICK_PATH = "tick", "cloudtask.schedules.tick"
#: How much a queue's clock may be ahead of this machine's.
SKEW = timedelta(minutes=1)
#: Until it is looked again whether the run before a slot is over.
_WAIT = timedelta(minutes=1)
#: Of Cloud Scheduler's ticks, whose job never changes by itself.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = re.compile(r"[0-9T:.+-]{19,40}|[0-9T:.-]{19,40}Z", re.ASCII)


def make_armed_tick(row: ScheduledTask) -> Payload:
    """Make the tick that one generation of a schedule arms again and again."""
    return _make_tick(
        row,
        id=make_tick_id(row.uid, row.generation),
        kwargs={"generation": row.generation},
        enqueued_at=clock.now(),
    )


def make_standing_tick(row: ScheduledTask) -> Payload:
    """Make the tick that a job of Cloud Scheduler sends for each slot."""
    return _make_tick(row, id=row.uid, kwargs={}, enqueued_at=_EPOCH)


def make_tick_id(uid: str, generation: int) -> str:
    """Make the id of the tick of a schedule's generation."""
    return sha256(f"tick\0{uid}\0{generation}".encode()).hexdigest()[:32]


def _make_tick(row: ScheduledTask, **values: Any) -> Payload:
    return Payload(
        task=TICK_PATH,
        kind=TICK,
        args=(row.uid,),
        backend=row.backend or None,
        using=Using(row.queue_name, row.priority) if row.backend else None,
        **values,
    )


def run_tick(
    request: CloudTaskRequest, uid: str, *, generation: int | None = None
) -> None:
    """
    Decide what becomes of the slots that are due.

    Args:
        request: The dispatch.
        uid: Of the schedule.
        generation: That it was armed in; None for Cloud Scheduler's tick.

    Raises:
        Rearm: It is to come again.
        CloudTaskError: A run cannot be enqueued. Nothing is decided.
    """
    row = ScheduledTask.objects.filter(uid=uid).first()
    if row is None or generation not in (None, row.generation):
        return  # A late tick of a former plan.
    if generation is None:
        _run_standing_tick(request, row)
        return
    moment = _choose_moment(row, request.eta)
    decided = decide_due(uid, moment)
    if decided is None or decided.generation != generation:
        return
    again = _find_next_look(decided, moment)
    # Where another engine was chosen meanwhile, it has done its part.
    if again is not None and _arms_ticks():
        raise Rearm(again)


def _arms_ticks() -> bool:
    return get_schedules_settings(get_settings()).scheduler == CLOUD_TASKS


def _run_standing_tick(request: CloudTaskRequest, row: ScheduledTask) -> None:
    now = clock.now()
    slot = _read_slot(request)
    # A forced run says the time of the next slot, which stays as it is.
    is_forced = slot is not None and slot > now + SKEW
    decide_due(row.uid, now if is_forced or slot is None else max(now, slot))
    if is_forced:
        # Once a minute: its repetition looks like another one. No slot is at
        # this microsecond.
        run_by_hand(row, now.replace(second=0, microsecond=1))


def _choose_moment(row: ScheduledTask, eta: datetime | None) -> datetime:
    """Choose by which moment slots are due: a queue's clock may be ahead."""
    now = clock.now()
    if eta is None or eta <= now:
        return now
    transport = get_transport(find_settings(row.backend or None))
    return eta if eta <= now + SKEW or transport.has_own_clock else now


def _read_slot(request: CloudTaskRequest) -> datetime | None:
    """Read the slot that Cloud Scheduler's tick is for."""
    text = str(request.headers.get("X-CloudScheduler-ScheduleTime", ""))
    if _MOMENT.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _find_next_look(row: ScheduledTask, now: datetime) -> datetime | None:
    """When the next tick is due; None if there is nothing to come."""
    next_at: datetime | None = row.next_at
    is_waiting = (
        row.plan.overlap is Overlap.WAIT
        and Slot.objects.filter(schedule=row, state=Slot.State.WAITING).exists()
    )
    if not is_waiting:
        return next_at
    soon = now + _WAIT
    return soon if next_at is None else min(soon, next_at)
