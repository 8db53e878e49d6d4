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

from cloudtask.conf import get_settings
from cloudtask.exceptions import ResultNotFound, StoreUnavailable
from cloudtask.payload import decode, encode, new_id
from cloudtask.results.clock import Now, after, stored
from cloudtask.results.leases import (
    HEART,
    MAX_INTERRUPTIONS,
    Lease,
    expiry,
    give_up,
)
from cloudtask.results.loaded import sensitive_of
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.sweeping import LOOK_AFTER, note_sent, sweep_by_traffic
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
    from collections.abc import Callable, Collection, Mapping

    from cloudtask.attempts import CloudTaskRequest
    from cloudtask.payload import Payload
    from cloudtask.transports.base import OutgoingTask

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: After which a task that was not sent is sent by the sweeper.
SEND_AFTER = timedelta(minutes=1)
#: Times that a write is tried which the database undoes for another's sake.
TRIES = 4
#: SQLSTATE of those: a serialization failure and a deadlock.
_CONFLICTS = frozenset({"40001", "40P01"})
#: What MySQL calls a deadlock.
_MYSQL_DEADLOCK = 1213


class DatabaseStore(ResultStore):
    """A row for each task, from its enqueueing to its end."""

    keeps = True

    def shares(self, using: str | None) -> bool:
        return (using or DEFAULT_DB_ALIAS) == router.db_for_write(TaskRecord)

    def add(self, payload: Payload, task: OutgoingTask) -> None:
        _row(payload, task).save(force_insert=True)

    def unsent(self, ids: Collection[str]) -> Collection[str]:
        try:
            # Where they were committed, whatever is read elsewhere.
            rows = TaskRecord.objects.using(router.db_for_write(TaskRecord))
            kept = rows.filter(pk__in=ids, status=Status.READY, send_at__isnull=False)
            return set(kept.values_list("pk", flat=True))
        except (DatabaseError, InterfaceError) as error:
            logger.warning("%d tasks are sent later: %r", len(ids), error)
            return ()

    def sent(self, names: Mapping[str, str]) -> None:
        try:
            note_sent(names)
        except (DatabaseError, InterfaceError) as error:
            # They were sent. The sweeper may send them again, for nothing.
            ids = ", ".join(names)
            logger.warning("id=%s was sent, which is not noted: %r", ids, error)

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
            _keep_error(self._payload, self._request, ending)


class LeaseClaim(Claim):
    """A claim that holds while its lease does."""

    def __init__(
        self, lease: Lease, payload: Payload, request: CloudTaskRequest
    ) -> None:
        self._lease = lease
        self._payload = payload
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
            self._let_go()

    def _let_go(self) -> None:
        held, progress = self._lease.held, self._lease.progress
        if not self._request.run_once:
            held.update(**progress, **_ended(Ending(final=False)))
            return
        held.update(**progress, lease_expires_at=Now())
        for row in held:
            give_up(row)

    def _end(self, ending: Ending) -> bool:
        values = {**self._lease.progress, **_ended(ending)}
        if ending.error is None:
            return self._lease.held.update(**values) == 1
        with transaction.atomic():
            if self._lease.held.update(**values) == 0:
                return False
            _keep_error(self._payload, self._request, ending)
        return True


class Refusal(Claim):
    """A task that is not to be run now."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing


def _answered(ask: Callable[[], _T], tries: int = TRIES) -> _T:
    try:
        return ask()
    except (DatabaseError, InterfaceError) as error:
        # Nothing was written. Within a transaction, more than that is undone.
        is_alone = not transaction.get_connection().in_atomic_block
        if tries > 1 and is_alone and _is_conflict(error):
            return _answered(ask, tries - 1)
        raise StoreUnavailable(f"The database of results: {error!r}") from error


def _is_conflict(error: Exception) -> bool:
    cause = error.__cause__
    # As psycopg names it, or its predecessor.
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state in _CONFLICTS or error.args[:1] == (_MYSQL_DEADLOCK,)


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
    claimable = _claimable(payload.id)
    if request.run_once:
        claimable = claimable.filter(status=Status.READY, started_at=None)
    if claimable.update(**values):
        return LeaseClaim(Lease(payload.id, token), payload, request)
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
    return LeaseClaim(Lease(row.pk, token), payload, request)


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


def _keep_error(payload: Payload, request: CloudTaskRequest, ending: Ending) -> None:
    error = ending.error
    is_one_too_many = request.attempt > get_settings().max_errors
    if error is None or (is_one_too_many and not ending.final):
        return
    kind = type(error)
    sensitive = sensitive_of(payload)

    def shown(words: str) -> str:
        return text(sensitive.scrubbed(words, payload.args, payload.kwargs))

    TaskError.objects.create(
        task_id=payload.id,
        attempt=request.attempt,
        type=text(f"{kind.__module__}.{kind.__qualname__}")[:255],
        message=shown(_message(error)),
        traceback=shown("".join(format_exception(error))),
        happened_at=timezone.now(),
    )


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # Its own __str__ is broken.
        return ""


def found(task_id: str) -> StoredResult:
    """
    What is known of a task.

    Raises:
        ResultNotFound: Nothing is.
    """
    result = _found(task_id)
    if result is None:
        raise ResultNotFound(
            f"Nothing is known of the task {task_id}: it was pruned, it was rolled "
            "back, or cloudtask.results does not keep it."
        )
    return result


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
