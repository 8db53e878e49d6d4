"""
The store over the database.

A task is claimed by one conditional UPDATE, and every later write holds only
while the claim's lease does: whoever lost it writes nothing.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta
from traceback import format_exception
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    router,
    transaction,
)
from django.db.models import (
    Case,
    DateTimeField,
    F,
    PositiveSmallIntegerField,
    Q,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.utils import timezone

from cloudtask.exceptions import StoreUnavailable
from cloudtask.payload import decode, encode, new_id
from cloudtask.results.clock import Now, after, stored
from cloudtask.results.leases import (
    HEART,
    MAX_INTERRUPTIONS,
    Lease,
    expiry,
    give_up,
)
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.sweeping import LOOK_AFTER, look_at, sweep_by_traffic
from cloudtask.results.values import restored, storable, text
from cloudtask.stores import (
    Claim,
    Ending,
    Progress,
    ResultStore,
    Standing,
    StoredError,
    StoredResult,
)
from cloudtask.workers import worker_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.attempts import CloudTaskRequest
    from cloudtask.payload import Payload
    from cloudtask.transports.base import OutgoingTask

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: Errors that are kept of one task.
MAX_ERRORS = 20
#: After which a task that was not sent is sent by the sweeper.
SEND_AFTER = timedelta(minutes=1)


class DatabaseStore(ResultStore):
    """A row for each task, from its enqueueing to its end."""

    keeps = True

    def shares(self, using: str | None) -> bool:
        return (using or DEFAULT_DB_ALIAS) == router.db_for_write(TaskRecord)

    def add(self, payload: Payload, task: OutgoingTask) -> None:
        _row(payload, task).save(force_insert=True)

    def sent(self, payload: Payload, name: str) -> None:
        # Its attempt may have begun by now, and ended.
        row = TaskRecord.objects.filter(pk=payload.id)
        try:
            row.update(name=name, sent_at=Now(), send_at=None, look_at=look_at())
        except (DatabaseError, InterfaceError) as error:
            # It was sent. The sweeper may send it again, for nothing.
            logger.warning("id=%s was sent, which is not noted: %r", payload.id, error)

    def drop(self, payload: Payload) -> None:
        unsent = TaskRecord.objects.filter(pk=payload.id, sent_at=None)
        unsent.filter(status=Status.READY).delete()

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        return _found(id)

    def claim(self, payload: Payload, request: CloudTaskRequest) -> Claim:
        return _answered(lambda: _claim(payload, request))


class ErrorStore(ResultStore):
    """Rows of tasks that failed for good, and of no others."""

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        return _found(id)

    def claim(self, payload: Payload, request: CloudTaskRequest) -> Claim:
        return ErrorClaim(payload, request)


class ErrorClaim(Claim):
    """Keeps a final failure, with what it takes to send the task again."""

    def __init__(self, payload: Payload, request: CloudTaskRequest) -> None:
        self._payload = payload
        self._request = request

    def end(self, ending: Ending) -> bool:
        if ending.succeeded:
            _answered(lambda: self._recovered(ending))
        elif ending.final:
            _answered(lambda: self._keep(ending))
        return True

    def _recovered(self, ending: Ending) -> None:
        # It has a row only if it failed before, and was redriven.
        redriven = TaskRecord.objects.filter(pk=self._payload.id, status=Status.READY)
        redriven.update(**_ended(ending))

    def _keep(self, ending: Ending) -> None:
        row = _found_row(self._payload, self._request)
        row.status = Status.FAILED
        row.finished_at = timezone.now()
        with transaction.atomic():
            row.save()
            _keep_error(row.pk, self._request, ending)


class LeaseClaim(Claim):
    """A claim that holds while its lease does."""

    def __init__(self, lease: Lease, request: CloudTaskRequest) -> None:
        self._lease = lease
        self._request = request
        HEART.add(lease)

    @property
    def is_cancelled(self) -> bool:
        return self._lease.is_cancelled

    def look(self) -> bool:
        held = self._lease.held.values_list("cancelled_at", flat=True)
        [cancelled_at] = list(held) or [timezone.now()]
        if cancelled_at is not None:
            self._lease.is_cancelled = True
        return self.is_cancelled

    def progress(self, done: int, total: int | None, message: str) -> None:
        self._lease.progress = {
            "progress_done": done,
            "progress_total": total,
            "progress_message": text(message)[:200],
        }

    def end(self, ending: Ending) -> bool:
        HEART.remove(self._lease)
        is_kept = _answered(lambda: self._end(ending))
        sweep_by_traffic()
        return is_kept

    def release(self) -> None:
        HEART.remove(self._lease)
        # Without a database it lapses. The process is ending.
        with suppress(DatabaseError, InterfaceError):
            self._lease.held.update(
                **self._lease.progress, **_ended(Ending(final=False))
            )

    def _end(self, ending: Ending) -> bool:
        values = {**self._lease.progress, **_ended(ending)}
        if ending.error is None:
            return self._lease.held.update(**values) == 1
        with transaction.atomic():
            if self._lease.held.update(**values) == 0:
                return False
            _keep_error(self._lease.task_id, self._request, ending)
        return True


class Refusal(Claim):
    """A task that is not to be run now."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing


def _answered(ask: Callable[[], _T]) -> _T:
    try:
        return ask()
    except (DatabaseError, InterfaceError) as error:
        raise StoreUnavailable(f"The database of results: {error!r}") from error


def _claim(payload: Payload, request: CloudTaskRequest) -> Claim:
    token = new_id()
    values = {
        # First: some databases see what the same UPDATE has set before.
        "interruptions": Case(
            When(status=Status.RUNNING, then=F("interruptions") + 1),
            default=F("interruptions"),
            output_field=PositiveSmallIntegerField(),
        ),
        "started_at": Coalesce("started_at", Now()),
        "status": Status.RUNNING,
        "lease": token,
        "lease_expires_at": expiry(),
        "last_attempted_at": Now(),
        "attempt": request.attempt,
        "worker_id": worker_id(),
        # It has come, so it was sent, even if nobody could note that.
        "sent_at": Coalesce("sent_at", Now()),
        "send_at": None,
        "look_at": None,
    }
    if _claimable(payload.id).update(**values):
        return LeaseClaim(Lease(payload.id, token), request)
    return _unclaimed(payload, request, token)


def _claimable(task_id: str) -> Any:
    is_free = Q(status=Status.READY) | Q(
        status=Status.RUNNING,
        lease_expires_at__lt=Now(),
        interruptions__lt=MAX_INTERRUPTIONS - 1,
    )
    return TaskRecord.objects.filter(is_free, pk=task_id, cancelled_at=None)


def _unclaimed(payload: Payload, request: CloudTaskRequest, token: str) -> Claim:
    """What to make of a task that could not be claimed."""
    row = TaskRecord.objects.filter(pk=payload.id).first()
    if row is None:
        return _claim_unknown(payload, request, token)
    if row.status in (Status.SUCCESSFUL, Status.FAILED):
        return Refusal(Standing.FINISHED)
    if give_up(row):
        return Refusal(Standing.FINISHED)
    return Refusal(Standing.BUSY)


def _claim_unknown(payload: Payload, request: CloudTaskRequest, token: str) -> Claim:
    # Enqueued before the app was, or pruned since.
    row = _found_row(payload, request)
    row.status = Status.RUNNING
    row.lease = token
    row.lease_expires_at = expiry()
    row.started_at = row.last_attempted_at = Now()
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        return Refusal(Standing.BUSY)
    return LeaseClaim(Lease(row.pk, token), request)


def _ended(ending: Ending) -> dict[str, Any]:
    values: dict[str, Any] = {"lease": "", "lease_expires_at": None}
    if not ending.final:
        # A task that was cancelled meanwhile is not tried again.
        is_cancelled = When(cancelled_at__isnull=False, then=Value(Status.FAILED))
        ended = When(cancelled_at__isnull=False, then=Now())
        return {
            **values,
            "status": Case(is_cancelled, default=Value(Status.READY)),
            "finished_at": Case(ended, default=None, output_field=DateTimeField()),
            "look_at": after(LOOK_AFTER),
        }
    values["finished_at"] = Now()
    if not ending.succeeded:
        return {**values, "status": Status.FAILED}
    value, is_dropped = storable(ending.value)
    return {
        **values,
        "status": Status.SUCCESSFUL,
        "return_value": value,
        "is_value_dropped": is_dropped,
    }


def _keep_error(task_id: str, request: CloudTaskRequest, ending: Ending) -> None:
    error = ending.error
    if error is None or (request.attempt >= MAX_ERRORS and not ending.final):
        return
    kind = type(error)
    TaskError.objects.create(
        task_id=task_id,
        attempt=request.attempt,
        type=text(f"{kind.__module__}.{kind.__qualname__}")[:255],
        message=text(_message(error)),
        traceback=text("".join(format_exception(error))),
        happened_at=timezone.now(),
    )


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # Its own __str__ is broken.
        return ""


def _found(task_id: str) -> StoredResult | None:
    row = TaskRecord.objects.filter(pk=task_id).first()
    return None if row is None else _stored(row)


def _row(payload: Payload, task: OutgoingTask) -> TaskRecord:
    return TaskRecord(
        id=payload.id,
        path=payload.task,
        kind=payload.kind,
        backend=payload.backend or "",
        queue=task.route.queue,
        body=task.body.decode(),
        url=task.route.url,
        task_id=task.task_id or "",
        schedule_time=stored(task.schedule_time) if task.schedule_time else None,
        enqueued_at=stored(payload.enqueued_at),
        send_at=stored(payload.enqueued_at + SEND_AFTER),
    )


def _stored(row: TaskRecord) -> StoredResult:
    return StoredResult(
        payload=decode(row.body.encode()),
        queue=row.queue,
        name=row.name or None,
        status=row.status,
        attempt=row.attempt,
        worker_id=row.worker_id,
        enqueued_at=row.enqueued_at,
        started_at=row.started_at,
        last_attempted_at=row.last_attempted_at,
        finished_at=row.finished_at,
        cancelled_at=row.cancelled_at,
        value=restored(row.return_value),
        is_value_dropped=row.is_value_dropped,
        progress=_progress_of(row),
        errors=tuple(
            StoredError(
                attempt=error.attempt,
                type=error.type,
                message=error.message,
                traceback=error.traceback,
            )
            for error in row.errors.all()
        ),
    )


def _progress_of(row: TaskRecord) -> Progress | None:
    if row.progress_done is None:
        return None
    return Progress(
        done=row.progress_done, total=row.progress_total, message=row.progress_message
    )


def _found_row(payload: Payload, request: CloudTaskRequest) -> TaskRecord:
    """The row of a task that is known by its dispatch alone."""
    return TaskRecord(
        id=payload.id,
        path=payload.task,
        kind=payload.kind,
        backend=payload.backend or "",
        queue=request.queue or "",
        name=request.task_name or "",
        body=encode(payload).decode(),
        enqueued_at=stored(payload.enqueued_at),
        sent_at=stored(payload.enqueued_at),
        attempt=request.attempt,
        worker_id=worker_id(),
    )
