"""An attempt lets go of its task, which another Cloud Task is to dispatch."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.db.models import Case, F, When

from cloudtask.results.columns.moments import MomentField, Now
from cloudtask.results.database.connections import ask
from cloudtask.results.database.statements import Update, bind
from cloudtask.results.leases import Lease
from cloudtask.results.models import TaskRecord
from cloudtask.results.records import make_send_time
from cloudtask.results.verbs.end import make_end_values

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from cloudtask.stores import Rearming
    from cloudtask.wire.request import CloudTaskRequest


def rearm_row(
    lease: Lease,
    request: CloudTaskRequest,
    rearming: Rearming,
    *,
    is_short: bool = False,
) -> bool:
    """
    Let go of a task that is due at another time. It is to be sent anew.

    One that was cancelled meanwhile is over.

    Args:
        lease: The attempt's.
        request: The attempt.
        rearming: When the task is due, and what counts as done.
        is_short: Whether to leave out the progress.

    Returns:
        False if the lease was lost.
    """
    values = {
        **({} if is_short else lease.progress),
        **_make_values(request, rearming),
        "attempts_before": rearming.attempts,
    }
    rearm = _prepare_rearm(tuple(values))
    return rearm.run(id=lease.task_id, lease=lease.token, **values) == 1


def was_rearmed(task_id: str, request: CloudTaskRequest) -> bool:
    """Whether an attempt, which held the task, has re-armed it."""
    arming = request.arming.number + 1
    return TaskRecord.objects.filter(pk=task_id, arming=arming).exists()


def bring_forward(row: TaskRecord) -> None:
    """Have a task that waits be due now, whenever it is dispatched."""
    waiting = TaskRecord.objects.filter(
        pk=row.pk, arming=row.arming, status=TaskRecord.Status.READY
    )
    ask(lambda: waiting.filter(schedule_time__gt=Now()).update(schedule_time=Now()))


def _make_values(request: CloudTaskRequest, rearming: Rearming) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if rearming.at is not None:
        values["schedule_time"] = rearming.at
    if not rearming.has_begun:
        values["attempt"] = rearming.attempts
    if request.run_once or not (rearming.has_begun or rearming.attempts):
        # What never began may begin once; and what asked to go on has to.
        values["started_at"] = None
    return values


@cache
def _prepare_rearm(columns: tuple[str, ...]) -> Update:
    """Prepare the UPDATE that re-arms a task and writes these columns."""

    def make() -> tuple[QuerySet[TaskRecord], dict[str, Any]]:
        held = Lease(bind("id"), bind("lease")).held_row
        is_to_send = When(cancelled_at=None, then=make_send_time())
        return held, {
            **make_end_values(succeeded=False, final=False),
            **{column: bind(column) for column in columns},
            "arming": F("arming") + 1,
            "name": "",
            "sent_at": None,
            "send_at": Case(is_to_send, output_field=MomentField()),
            "look_at": None,
        }

    return Update(make)
