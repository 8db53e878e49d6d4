"""An attempt ends: its task is over, or waits for another attempt."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.db.models import Case, DateTimeField, Value, When

from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.columns.values import dump_value
from cloudtask.results.database.statements import Update, bind
from cloudtask.results.leases import Lease
from cloudtask.results.models import TaskRecord
from cloudtask.results.verbs.note_sent import LOOK_AFTER

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from cloudtask.stores import Ending

Status = TaskRecord.Status


def end_row(lease: Lease, ending: Ending, *, is_short: bool = False) -> bool:
    """
    End an attempt, and let go of its lease.

    Args:
        lease: Its lease.
        ending: How it ended.
        is_short: Whether to leave out what the task has made: its value and
            its progress.

    Returns:
        False if the lease was lost.
    """
    progress = {} if is_short else lease.progress
    values = {**progress, **dump_return_value(ending, is_short=is_short)}
    end = _prepare_end(
        succeeded=ending.succeeded, final=ending.final, columns=tuple(values)
    )
    return end.run(id=lease.task_id, lease=lease.token, **values) == 1


def dump_return_value(ending: Ending, *, is_short: bool) -> dict[str, Any]:
    """Make the columns of a return value; none if the attempt failed."""
    if not ending.succeeded:
        return {}
    value, is_dropped = (None, True) if is_short else dump_value(ending.value)
    return {"return_value": value, "is_value_dropped": is_dropped}


def make_end_values(*, succeeded: bool, final: bool) -> dict[str, Any]:
    """Make what the end of an attempt writes, without what its task made."""
    values: dict[str, Any] = {"lease": "", "lease_expires_at": None}
    if final:
        status = Status.SUCCESSFUL if succeeded else Status.FAILED
        return {**values, "status": status, "finished_at": Now()}
    # A task that was cancelled meanwhile is not tried again.
    is_cancelled = When(cancelled_at__isnull=False, then=Value(Status.FAILED))
    finished = When(cancelled_at__isnull=False, then=Now())
    return {
        **values,
        "status": Case(is_cancelled, default=Value(Status.READY)),
        "finished_at": Case(finished, default=None, output_field=DateTimeField()),
        "look_at": shift(Now(), LOOK_AFTER),
    }


@cache
def _prepare_end(*, succeeded: bool, final: bool, columns: tuple[str, ...]) -> Update:
    """Prepare the UPDATE that ends an attempt and writes these columns."""

    def make() -> tuple[QuerySet[TaskRecord], dict[str, Any]]:
        values = {column: bind(column) for column in columns}
        held = Lease(bind("id"), bind("lease")).held_row
        return held, {**values, **make_end_values(succeeded=succeeded, final=final)}

    return Update(make)
