"""Runs: the task of a slot, or of a person who wants it now, is enqueued."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from django.db import transaction

from cloudtask.conf import clock
from cloudtask.dispatch.kinds import find_settings
from cloudtask.enqueue.payloads import enqueue_payload
from cloudtask.results.database.connections import get_alias
from cloudtask.results.models import FINISHED, TaskRecord
from cloudtask.results.store import DATABASE_STORE
from cloudtask.schedules.arguments import read_arguments
from cloudtask.schedules.decisions import compute_jitter
from cloudtask.schedules.models import Slot
from cloudtask.stores import get_store
from cloudtask.wire.naming import make_task_id
from cloudtask.wire.payload import Payload, Using

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.schedules.models import ScheduledTask

#: Slots whose runs may not be over.
_RUN = (Slot.State.ENQUEUED, Slot.State.MANUAL)


def make_payload(row: ScheduledTask, run_id: str) -> Payload:
    """
    Make the payload of a schedule's task.

    Raises:
        InvalidSchedule: Its arguments cannot be read.
    """
    args, kwargs = read_arguments(row.arguments)
    return Payload(
        id=run_id,
        task=row.path,
        args=tuple(args),
        kwargs=kwargs,
        enqueued_at=clock.now(),
        kind=row.kind,
        backend=row.backend or None,
        using=Using(row.queue_name, row.priority) if row.backend else None,
    )


def make_run_id(row: ScheduledTask, instant: datetime) -> str:
    """Make the id of a slot's run: the same, however often it is decided."""
    return sha256(f"{row.uid}\0{instant.isoformat()}".encode()).hexdigest()[:32]


def enqueue_run(row: ScheduledTask, slot: datetime) -> None:
    """
    Enqueue the run of a slot, in the transaction that is open.

    Its row in the results, and its name at Cloud Tasks, let it be only once.

    Raises:
        TaskNotFound: This process has no such task.
        CloudTaskError: It cannot be enqueued now.
    """
    due = slot + compute_jitter(row.uid, slot, row.plan.spread)
    _enqueue(row, make_run_id(row, slot), due if due > clock.now() else None)


def is_busy(row: ScheduledTask) -> bool:
    """Whether a run of a schedule is not over."""
    runs = Slot.objects.filter(schedule=row, state__in=_RUN)
    unfinished = TaskRecord.objects.exclude(status__in=FINISHED)
    return unfinished.filter(pk__in=runs.values("task_id")).exists()


def run_by_hand(row: ScheduledTask, instant: datetime) -> str:
    """
    Enqueue a run beside the slots, once for each instant.

    Args:
        row: The schedule.
        instant: When it was asked for.

    Returns:
        The run's id.
    """
    run_id = make_run_id(row, instant)
    with transaction.atomic(get_alias()):
        _, is_new = Slot.objects.get_or_create(
            schedule=row,
            instant=instant,
            defaults={
                "state": Slot.State.MANUAL,
                "task_id": run_id,
                "decided_at": clock.now(),
            },
        )
        if is_new:
            _enqueue(row, run_id, None)
    return run_id


def _enqueue(row: ScheduledTask, run_id: str, schedule_time: datetime | None) -> None:
    settings = find_settings(row.backend or None)
    if not get_store(settings).keeps:
        raise settings.error("RESULTS", "must be 'all' for tasks that have schedules.")
    enqueue_payload(
        make_payload(row, run_id),
        task_id=make_task_id(row.path, run_id),
        schedule_time=schedule_time,
        store=DATABASE_STORE,
        using=get_alias(),
    )
