"""The hold that an attempt has on its task, from its claim to its end."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from django.db import Error, transaction

from cloudtask.conf import clock
from cloudtask.dispatch.workers import worker_id
from cloudtask.results.columns.texts import clean_text
from cloudtask.results.database.connections import ask, get_alias, get_connection
from cloudtask.results.database.errors import may_pass, report_failures
from cloudtask.results.database.sessions import Session
from cloudtask.results.heartbeat import HEART
from cloudtask.results.leases import Lease
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping.outbox import send_at_once
from cloudtask.results.sweeping.traffic import sweep_by_traffic
from cloudtask.results.verbs.claim import claim_row, claim_unknown_task
from cloudtask.results.verbs.end import end_row
from cloudtask.results.verbs.keep_error import keep_error
from cloudtask.results.verbs.rearm import rearm_row, was_rearmed
from cloudtask.results.verbs.release import take_death_back
from cloudtask.stores import Claim, Ending, Standing
from cloudtask.wire.payload import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest

logger = logging.getLogger("cloudtask")


def claim_task(payload: Payload, request: CloudTaskRequest) -> Claim:
    """
    Claim a task, on a connection that is good.

    Raises:
        InvalidCredentials: The id is another task's.
        StoreUnavailable: The database has failed.
    """
    with report_failures():
        HEART.write_deferred(payload.id)
        session = Session.begin(request)
        lease = Lease(payload.id, new_id())
        standing = _claim(payload, request, session, lease)
    if standing is not Standing.FREE:
        return RefusedClaim(standing)
    session.has_failed = False
    return LeaseClaim(lease, payload, request, session)


def _claim(
    payload: Payload, request: CloudTaskRequest, session: Session, lease: Lease
) -> Standing:
    try:
        return session.insist(
            lambda: claim_row(payload, request, lease),
            # A task that runs once is dispatched once, too.
            lambda: request.run_once and lease.holds(),
        ) or session.ask(lambda: claim_unknown_task(payload, request, lease))
    except Error:
        if session.has_failed and not session.is_nested:
            # The claim may have been made all the same.
            HEART.defer(lease, lambda: end_row(lease, Ending(final=False)))
        raise


class RefusedClaim(Claim):
    """The claim of a task that may not run now."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing


class LeaseClaim(Claim):
    """A claim that holds as long as its lease does."""

    can_rearm = True

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
        """Whether the task is to stop, as far as this process knows."""
        return self._lease.is_cancelled

    def look(self) -> bool:
        """Ask the database. A lease that was lost counts as cancelled."""
        held = self._lease.held_row.values_list("cancelled_at", flat=True)
        found = self._session.ask_during_task(lambda: list(held.all()))
        [cancelled_at] = found or [clock.now()]
        if cancelled_at is not None:
            self._lease.is_cancelled = True
        return self.is_cancelled

    def progress(self, done: int, total: int | None, message: str) -> None:
        """Note progress, which the thread that prolongs leases writes."""
        self._lease.progress = {
            "progress_done": done,
            "progress_total": total,
            "progress_message": clean_text(message)[:200],
        }

    def end(self, ending: Ending) -> bool:
        """Keep how the attempt ended, and send or sweep if that is due."""
        with report_failures():
            is_kept = self._end_while_held(ending)
        if is_kept and ending.rearming is not None:
            self._send_at_commit()
        sweep_by_traffic()
        return is_kept

    def _end_while_held(self, ending: Ending) -> bool:
        """
        Write the end, as long as the lease is held.

        Meanwhile it is prolonged. What cannot be written before it expires is
        left to the thread that prolongs leases.
        """
        session, lease = self._session, self._lease
        # An exception that ends the process does not wait.
        may_wait = ending.error is None or isinstance(ending.error, Exception)
        try:
            return self._write_on(session, ending, lambda: may_wait and lease.holds())
        except Error as error:
            if may_pass(error) and not session.is_nested:
                HEART.defer(lease, lambda: self._write_late(ending))
            raise
        finally:
            HEART.remove(lease)

    def _write_on(
        self,
        session: Session,
        ending: Ending,
        may_wait: Callable[[], bool],
    ) -> bool:
        if session.insist_on_end(partial(self._end, ending), may_wait):
            return True
        if not session.has_failed:
            return False
        if ask(partial(self._was_written, ending)):
            return True
        ask(lambda: take_death_back(self._lease.task_id))
        return False

    def _write_late(self, ending: Ending) -> None:
        # What is re-armed is left to the sweeper: this thread prolongs leases.
        session = Session.begin(self._request)
        session.has_failed = True
        is_kept = self._write_on(session, ending, lambda: False)
        logger.warning(
            "id=%s: its end is written late"
            if is_kept
            else "id=%s was taken over before its end could be written",
            self._lease.task_id,
        )

    def _was_written(self, ending: Ending) -> bool:
        """Whether an end was written, although the answer was lost."""
        if ending.rearming is not None:
            return was_rearmed(self._lease.task_id, self._request)
        mine = TaskRecord.objects.filter(
            pk=self._lease.task_id,
            lease="",
            attempt=self._request.attempt,
            worker_id=worker_id(),
        )
        return mine.exists()

    def _end(self, ending: Ending, *, is_short: bool = False) -> bool:
        if ending.error is None:
            return self._end_row(ending, is_short=is_short)
        with transaction.atomic(get_alias()):
            if not self._end_row(ending, is_short=is_short):
                return False
            keep_error(self._payload, self._request, ending, is_short=is_short)
        return True

    def _end_row(self, ending: Ending, *, is_short: bool) -> bool:
        if ending.rearming is None:
            return end_row(self._lease, ending, is_short=is_short)
        return rearm_row(self._lease, self._request, ending.rearming, is_short=is_short)

    def _send_at_commit(self) -> None:
        """Send the task that was re-armed, once that is committed."""
        task_id, queue_time = self._lease.task_id, self._request.eta

        # Not a partial: Django asks for the name of what fails.
        def send() -> None:
            send_at_once(task_id, queue_time)

        if not self._session.is_nested:
            send()
        elif get_connection().in_atomic_block:
            transaction.on_commit(send, get_alias(), robust=True)
        # Nothing tells of the commit of others: the sweeper sends it.
