"""An attempt takes hold of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Case, DurationField, F, PositiveSmallIntegerField, Q, When
from django.db.models.functions import Coalesce

from cloudtask.exceptions import InvalidCredentials
from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.database.compiling import Placeholder
from cloudtask.results.database.connections import get_alias
from cloudtask.results.database.statements import Update, bind
from cloudtask.results.leases import MAX_INTERRUPTIONS, get_lease_time, make_expiry
from cloudtask.results.models import FINISHED, TaskRecord
from cloudtask.results.records import describe_attempt, identify, make_dispatched_row
from cloudtask.results.verbs.release import give_up
from cloudtask.stores import Standing

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from cloudtask.results.leases import Lease
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest

Status = TaskRecord.Status


def claim_row(
    payload: Payload, request: CloudTaskRequest, lease: Lease
) -> Standing | None:
    """
    Claim a task that has a row.

    Returns:
        How the task stands; None if it has no row.

    Raises:
        InvalidCredentials: The id is another task's.
    """
    claim = _CLAIM_ONCE if request.run_once else _CLAIM
    if claim.run(
        id=payload.id,
        **identify(payload),
        arming=request.arming.number,
        lease=lease.token,
        lasts=get_lease_time(),
        **describe_attempt(request),
    ):
        return Standing.FREE
    return _find_standing(payload, request, lease)


def claim_unknown_task(
    payload: Payload, request: CloudTaskRequest, lease: Lease
) -> Standing:
    """Claim a task without a row: older than the app, or pruned since."""
    row = make_dispatched_row(payload, request)
    row.status = Status.RUNNING
    row.lease = lease.token
    row.lease_expires_at = make_expiry()
    row.started_at = row.last_attempted_at = Now()
    try:
        with transaction.atomic(get_alias()):
            row.save(force_insert=True)
    except IntegrityError:
        # Another attempt was quicker, or the answer to this INSERT was lost.
        return Standing.FREE if lease.held_row.exists() else Standing.BUSY
    return Standing.FREE


def select_claimable(task_id: Any) -> QuerySet[TaskRecord]:
    """Select a task if it waits, or if its worker has died."""
    is_free = Q(status=Status.READY) | Q(
        status=Status.RUNNING,
        lease_expires_at__lt=Now(),
        interruptions__lt=MAX_INTERRUPTIONS - 1,
    )
    return TaskRecord.objects.filter(is_free, pk=task_id, cancelled_at=None)


def select_claimable_once(task_id: Any) -> QuerySet[TaskRecord]:
    """Select a task if it has never begun."""
    return select_claimable(task_id).filter(status=Status.READY, started_at=None)


def make_claim_values() -> dict[str, Any]:
    """Make what a claim writes."""
    return {
        # First: on some databases an UPDATE sees what it has set before.
        "interruptions": Case(
            When(status=Status.RUNNING, then=F("interruptions") + 1),
            default=F("interruptions"),
            output_field=PositiveSmallIntegerField(),
        ),
        "started_at": Coalesce("started_at", Now()),
        "status": Status.RUNNING,
        "lease": bind("lease"),
        "lease_expires_at": shift(Now(), Placeholder("lasts", DurationField())),
        "last_attempted_at": Now(),
        "attempt": bind("attempt"),
        "worker_id": bind("worker_id"),
        "trace_id": bind("trace_id"),
        # It was dispatched, so it was sent, even if nobody could note that.
        "sent_at": Coalesce("sent_at", Now()),
        "send_at": None,
        "look_at": None,
    }


def _match_alarm(rows: QuerySet[TaskRecord]) -> QuerySet[TaskRecord]:
    """Select a task if it is the same, and was not re-armed meanwhile."""
    columns = ("path", "kind", "backend", "arming")
    return rows.filter(**{column: bind(column) for column in columns})


_CLAIM = Update(
    lambda: (_match_alarm(select_claimable(bind("id"))), make_claim_values())
)
_CLAIM_ONCE = Update(
    lambda: (_match_alarm(select_claimable_once(bind("id"))), make_claim_values())
)


def _find_standing(
    payload: Payload, request: CloudTaskRequest, lease: Lease
) -> Standing | None:
    """Find out why a task could not be claimed."""
    row = TaskRecord.objects.filter(pk=payload.id).first()
    if row is None:
        return None
    if any(getattr(row, key) != value for key, value in identify(payload).items()):
        # The caller learns nothing of it, and nothing happens to it.
        raise InvalidCredentials(f"the id {payload.id} is another task's")
    if row.lease == lease.token:
        # It was claimed, and the answer was lost.
        return Standing.FREE
    if row.status in FINISHED or row.arming != request.arming.number:
        # What was re-armed comes with another Cloud Task: this one is over.
        return Standing.FINISHED
    return Standing.FINISHED if give_up(row) else Standing.BUSY
