"""
The store over the database.

A task is claimed by one conditional UPDATE, and every later write holds only
while the claim's lease does: whoever lost it writes nothing.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from time import monotonic
from traceback import format_exception
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import (
    Error,
    IntegrityError,
    router,
    transaction,
)
from django.db.models import (
    Case,
    DateTimeField,
    DurationField,
    F,
    PositiveSmallIntegerField,
    Q,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from cloudtask.conf import clock, get_settings
from cloudtask.dispatch.workers import worker_id
from cloudtask.exceptions import InvalidCredentials, StoreUnavailable, text_of
from cloudtask.results.clock import Now, after
from cloudtask.results.connections import Session, ask, is_of_values, may_pass
from cloudtask.results.leases import (
    HEART,
    MAX_INTERRUPTIONS,
    Lease,
    expiry,
    give_up,
    lease_time,
)
from cloudtask.results.loaded import sensitive_of
from cloudtask.results.missing import ADVICE, advise, is_missing
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.reading import find
from cloudtask.results.settings import get_results_settings
from cloudtask.results.statements import Given, Update, given
from cloudtask.results.sweeping import LOOK_AFTER, note_sent, sweep_by_traffic
from cloudtask.results.values import storable, text
from cloudtask.stores import Claim, Ending, ResultStore, Standing
from cloudtask.wire.payload import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from django.db.models import QuerySet

    from cloudtask.stores import StoredResult
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: After which a task that was not sent is sent by the sweeper.
SEND_AFTER = timedelta(minutes=1)


class DatabaseStore(ResultStore):
    """A row for each task, from its enqueueing to its end."""

    keeps = True

    def alias(self) -> str:
        return router.db_for_write(TaskRecord)

    def add(self, payload: Payload, task: OutgoingTask) -> None:
        with advise():
            _row(payload, task).save(force_insert=True)

    def unsent(self, ids: Collection[str]) -> Collection[str]:
        try:
            kept = TaskRecord.objects.filter(
                pk__in=ids, status=Status.READY, send_at__isnull=False
            )
            return ask(lambda: set(kept.values_list("pk", flat=True)))
        except Error as error:
            logger.warning("%d tasks are sent later: %r", len(ids), error)
            return ()

    def sent(self, names: Mapping[str, str]) -> None:
        try:
            note_sent(names)
        except Error as error:
            # They were sent. The sweeper may send them again, for nothing.
            ids = ", ".join(names)
            logger.warning("id=%s was sent, which is not noted: %r", ids, error)

    def drop(self, payload: Payload) -> None:
        unsent = TaskRecord.objects.filter(pk=payload.id, sent_at=None)
        try:
            ask(unsent.filter(status=Status.READY).delete)
        except Error as error:
            # Where there is no table, nothing is kept.
            if not is_missing(error):
                raise

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        return find(id)

    def claim(self, payload: Payload, request: CloudTaskRequest) -> Claim:
        return _reach(lambda: _claim_on_good_connection(payload, request))


class ErrorStore(ResultStore):
    """Rows of tasks that failed for good, and of no others."""

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        return find(id)

    def claim(self, payload: Payload, request: CloudTaskRequest) -> Claim:
        return ErrorClaim(payload, request)


class ErrorClaim(Claim):
    """Keeps a final failure, with what it takes to send the task again."""

    def __init__(self, payload: Payload, request: CloudTaskRequest) -> None:
        self._payload = payload
        self._request = request
        self._session = _begin_session(request)

    def end(self, ending: Ending) -> bool:
        until = monotonic() + lease_time().total_seconds()

        def insist(write: Callable[..., bool]) -> bool:
            return _insist(self._session, write, lambda: monotonic() < until)

        if ending.succeeded:
            _reach(lambda: insist(partial(self._recover, ending)))
        elif ending.final:
            _reach(lambda: insist(partial(self._keep, ending)))
        return True

    def _recover(self, ending: Ending, *, is_short: bool = False) -> bool:
        # It has a row only if it failed before, and was redriven.
        redriven = _rows_of(self._payload).filter(status=Status.READY)
        values = _returned(ending, is_short=is_short)
        redriven.update(**values, **_ended(succeeded=True, final=True))
        return True

    def _keep(self, ending: Ending, *, is_short: bool = False) -> bool:
        row = _found_row(self._payload, self._request)
        row.status = Status.FAILED
        row.finished_at = Now()
        with transaction.atomic(router.db_for_write(TaskRecord)):
            if _is_written(row, _rows_of(self._payload)):
                _keep_error(self._payload, self._request, ending, is_short=is_short)
            else:
                logger.error(
                    "task=%s id=%s has failed, which is not kept: the id is another "
                    "task's",
                    row.path,
                    row.pk,
                )
        return True


def _is_written(row: TaskRecord, same: QuerySet[TaskRecord]) -> bool:
    """Write a row, over none but the same task's."""
    values = {
        each.attname: getattr(row, each.attname)
        for each in TaskRecord._meta.concrete_fields
        if not each.primary_key and not each.generated
    }
    if same.update(**values):
        return True
    using = router.db_for_write(TaskRecord)
    with suppress(IntegrityError), transaction.atomic(using):
        row.save(force_insert=True)
        return True
    # Another attempt of the same task was quicker, or it is another's.
    return bool(same.update(**values))


class LeaseClaim(Claim):
    """A claim that holds while its lease does."""

    def __init__(
        self,
        lease: Lease,
        payload: Payload,
        request: CloudTaskRequest,
        session: Session,
    ) -> None:
        self._lease = lease
        self._payload = payload
        self._request = request
        self._session = session
        HEART.add(lease)

    @property
    def is_cancelled(self) -> bool:
        return self._lease.is_cancelled

    def look(self) -> bool:
        held = self._lease.held.values_list("cancelled_at", flat=True)
        found = self._session.look(lambda: list(held.all()))
        [cancelled_at] = found or [clock.now()]
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
        is_kept = _reach(lambda: self._end_for_good(ending))
        sweep_by_traffic()
        return is_kept

    def _end_for_good(self, ending: Ending) -> bool:
        """
        Write the end, as long as the lease is held.

        Meanwhile it is prolonged. What cannot be written before it lapses is
        left to the thread that prolongs leases.
        """
        session, lease = self._session, self._lease
        write = partial(self._end, ending)
        # What ends the process does not wait.
        may_wait = ending.error is None or isinstance(ending.error, Exception)
        try:
            return self._write_on(session, write, lambda: may_wait and lease.holds())
        except Error as error:
            if may_pass(error) and not session.is_nested:
                HEART.leave(lease, lambda: self._write_late(write))
            raise
        finally:
            HEART.remove(lease)

    def _write_on(
        self,
        session: Session,
        write: Callable[..., bool],
        may_wait: Callable[[], bool],
    ) -> bool:
        if _insist(session, write, may_wait):
            return True
        if not session.has_failed:
            return False
        if ask(self._was_written):
            return True
        ask(self._take_death_back)
        return False

    def _write_late(self, write: Callable[..., bool]) -> None:
        session = _begin_session(self._request)
        session.has_failed = True
        is_kept = self._write_on(session, write, lambda: False)
        logger.warning(
            "id=%s its end is written late"
            if is_kept
            else "id=%s was taken over before its end could be written",
            self._lease.task_id,
        )

    def _was_written(self) -> bool:
        """Whether an end was written, of which the database could not tell."""
        mine = TaskRecord.objects.filter(
            pk=self._lease.task_id,
            lease="",
            attempt=self._request.attempt,
            worker_id=worker_id(),
        )
        return mine.exists()

    def _take_death_back(self) -> int:
        """
        Have a takeover not count as a death.

        Another worker has the task since the database was away, and not since
        this one died.
        """
        taken_over = TaskRecord.objects.filter(
            pk=self._lease.task_id,
            status__in=(Status.READY, Status.RUNNING),
            interruptions__gt=0,
        )
        return taken_over.update(interruptions=F("interruptions") - 1)

    def _end(self, ending: Ending, *, is_short: bool = False) -> bool:
        if ending.error is None:
            return _end(self._lease, ending, is_short=is_short)
        with transaction.atomic(router.db_for_write(TaskRecord)):
            if not _end(self._lease, ending, is_short=is_short):
                return False
            _keep_error(self._payload, self._request, ending, is_short=is_short)
        return True


class Refusal(Claim):
    """A task that is not to be run now."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing


def _reach(question: Callable[[], _T]) -> _T:
    try:
        return question()
    except Error as error:
        advice = f": {ADVICE}" if is_missing(error) else ""
        message = f"The database of results: {error!r}{advice}"
        raise StoreUnavailable(message) from error


def _begin_session(request: CloudTaskRequest) -> Session:
    return Session.begin(in_place=request.request is None)


def _insist(
    session: Session, write: Callable[..., bool], may_wait: Callable[[], bool]
) -> bool:
    """Write an end, whatever is wrong with the values and texts in it."""
    try:
        return session.insist(write, may_wait)
    except Exception as error:
        if not is_of_values(error):
            raise
        logger.exception("an end is written without its values and texts")
        return session.insist(partial(write, is_short=True), may_wait)


def _claim_on_good_connection(payload: Payload, request: CloudTaskRequest) -> Claim:
    HEART.deliver(payload.id)
    session = _begin_session(request)
    lease = Lease(payload.id, new_id())
    try:
        standing = session.insist(
            lambda: _claim(payload, request, lease),
            # A task that runs once is dispatched once, too.
            lambda: request.run_once and lease.holds(),
        ) or session.ask(lambda: _claim_unknown(payload, request, lease))
    except Error:
        if session.has_failed and not session.is_nested:
            # It may have been made all the same.
            HEART.leave(lease, lambda: _end(lease, Ending(final=False)))
        raise
    if standing is not Standing.FREE:
        return Refusal(standing)
    session.has_failed = False
    return LeaseClaim(lease, payload, request, session)


def _claim(
    payload: Payload, request: CloudTaskRequest, lease: Lease
) -> Standing | None:
    """Claim a task that is known. None if nothing is known of it."""
    claim = _CLAIM_ONCE if request.run_once else _CLAIM
    if claim.run(
        id=payload.id,
        **_identity(payload),
        lease=lease.token,
        lasts=lease_time(),
        attempt=request.attempt,
        worker_id=worker_id(),
        trace_id=request.trace_id or "",
    ):
        return Standing.FREE
    return _standing(payload, lease)


def _identity(payload: Payload) -> dict[str, str]:
    """What a payload and a row have in common if they are one task's."""
    return {
        "path": payload.task,
        "kind": payload.kind,
        "backend": payload.backend or "",
    }


def _rows_of(payload: Payload) -> QuerySet[TaskRecord]:
    """The row of a payload's task, and never one of another with its id."""
    return TaskRecord.objects.filter(pk=payload.id, **_identity(payload))


def _claimable(task_id: Any) -> QuerySet[TaskRecord]:
    is_free = Q(status=Status.READY) | Q(
        status=Status.RUNNING,
        lease_expires_at__lt=Now(),
        interruptions__lt=MAX_INTERRUPTIONS - 1,
    )
    return TaskRecord.objects.filter(is_free, pk=task_id, cancelled_at=None)


def _claimable_once(task_id: Any) -> QuerySet[TaskRecord]:
    return _claimable(task_id).filter(status=Status.READY, started_at=None)


def _claimed() -> dict[str, Any]:
    return {
        # First: some databases see what the same UPDATE has set before.
        "interruptions": Case(
            When(status=Status.RUNNING, then=F("interruptions") + 1),
            default=F("interruptions"),
            output_field=PositiveSmallIntegerField(),
        ),
        "started_at": Coalesce("started_at", Now()),
        "status": Status.RUNNING,
        "lease": given("lease"),
        "lease_expires_at": after(Given("lasts", DurationField())),
        "last_attempted_at": Now(),
        "attempt": given("attempt"),
        "worker_id": given("worker_id"),
        "trace_id": given("trace_id"),
        # It has come, so it was sent, even if nobody could note that.
        "sent_at": Coalesce("sent_at", Now()),
        "send_at": None,
        "look_at": None,
    }


def _identified(rows: QuerySet[TaskRecord]) -> QuerySet[TaskRecord]:
    return rows.filter(path=given("path"), kind=given("kind"), backend=given("backend"))


_CLAIM = Update(lambda: (_identified(_claimable(given("id"))), _claimed()))
_CLAIM_ONCE = Update(lambda: (_identified(_claimable_once(given("id"))), _claimed()))


def _standing(payload: Payload, lease: Lease) -> Standing | None:
    """How a task stands that could not be claimed."""
    row = TaskRecord.objects.filter(pk=payload.id).first()
    if row is None:
        return None
    if any(getattr(row, key) != value for key, value in _identity(payload).items()):
        # Nothing is told of it, and nothing becomes of it.
        raise InvalidCredentials(f"the id {payload.id} is another task's")
    if row.lease == lease.token:
        # It was, and the answer was lost.
        return Standing.FREE
    if row.status in (Status.SUCCESSFUL, Status.FAILED):
        return Standing.FINISHED
    return Standing.FINISHED if give_up(row) else Standing.BUSY


def _claim_unknown(
    payload: Payload, request: CloudTaskRequest, lease: Lease
) -> Standing:
    # Enqueued before the app was, or pruned since.
    row = _found_row(payload, request)
    row.status = Status.RUNNING
    row.lease = lease.token
    row.lease_expires_at = expiry()
    row.started_at = row.last_attempted_at = Now()
    try:
        with transaction.atomic(router.db_for_write(TaskRecord)):
            row.save(force_insert=True)
    except IntegrityError:
        # Another was quicker, or an answer was lost.
        return Standing.FREE if lease.held.exists() else Standing.BUSY
    return Standing.FREE


def _end(lease: Lease, ending: Ending, *, is_short: bool = False) -> bool:
    """End an attempt. False if its lease was lost."""
    progress = {} if is_short else lease.progress
    values = {**progress, **_returned(ending, is_short=is_short)}
    end = _ending(succeeded=ending.succeeded, final=ending.final, columns=tuple(values))
    return end.run(id=lease.task_id, lease=lease.token, **values) == 1


def _returned(ending: Ending, *, is_short: bool) -> dict[str, Any]:
    if not ending.succeeded:
        return {}
    value, is_dropped = (None, True) if is_short else storable(ending.value)
    return {"return_value": value, "is_value_dropped": is_dropped}


@cache
def _ending(*, succeeded: bool, final: bool, columns: tuple[str, ...]) -> Update:
    """What ends an attempt, and writes some columns with it."""

    def make() -> tuple[QuerySet[TaskRecord], dict[str, Any]]:
        values = {column: given(column) for column in columns}
        held = Lease(given("id"), given("lease")).held
        return held, {**values, **_ended(succeeded=succeeded, final=final)}

    return Update(make)


def _ended(*, succeeded: bool, final: bool) -> dict[str, Any]:
    values: dict[str, Any] = {"lease": "", "lease_expires_at": None}
    if final:
        status = Status.SUCCESSFUL if succeeded else Status.FAILED
        return {**values, "status": status, "finished_at": Now()}
    # A task that was cancelled meanwhile is not tried again.
    is_cancelled = When(cancelled_at__isnull=False, then=Value(Status.FAILED))
    ended = When(cancelled_at__isnull=False, then=Now())
    return {
        **values,
        "status": Case(is_cancelled, default=Value(Status.READY)),
        "finished_at": Case(ended, default=None, output_field=DateTimeField()),
        "look_at": after(LOOK_AFTER),
    }


def _keep_error(
    payload: Payload,
    request: CloudTaskRequest,
    ending: Ending,
    *,
    is_short: bool = False,
) -> None:
    error = ending.error
    is_one_too_many = request.attempt > get_results_settings(get_settings()).max_errors
    if error is None or (is_one_too_many and not ending.final):
        return
    kind = type(error)
    args, kwargs = payload.received_arguments()
    # What the task has put into its arguments may be no JSON.
    sensitive = sensitive_of(replace(payload, args=args, kwargs=kwargs))

    def shown(words: str) -> str:
        return text(sensitive.scrub(words, args, kwargs))

    TaskError.objects.create(
        task_id=payload.id,
        attempt=request.attempt,
        type=text(f"{kind.__module__}.{kind.__qualname__}")[:255],
        message="" if is_short else shown(text_of(error)),
        traceback="" if is_short else shown("".join(format_exception(error))),
        happened_at=clock.now(),
    )


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
        schedule_time=task.schedule_time,
        enqueued_at=payload.enqueued_at,
        send_at=payload.enqueued_at + SEND_AFTER,
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
        body=payload.received_body().decode(),
        enqueued_at=payload.enqueued_at,
        sent_at=payload.enqueued_at,
        attempt=request.attempt,
        worker_id=worker_id(),
        trace_id=request.trace_id or "",
    )
