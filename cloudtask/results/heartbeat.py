"""
The heart of a process: one thread that prolongs all of its leases.

It does so by the database's clock.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from django.db import Error, connections

from cloudtask.results.database.connections import ask, get_connection, renew
from cloudtask.results.database.errors import may_pass
from cloudtask.results.leases import compute_expiry, get_lease_time, make_expiry
from cloudtask.results.records import select_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.results.leases import Lease

logger = logging.getLogger("cloudtask")

#: Signs of life in the time that a lease holds.
BEATS = 4
#: Seconds between two writes of a task's progress.
PROGRESS = 1.0


def get_interval() -> float:
    """Get the seconds between two signs of life."""
    return get_lease_time().total_seconds() / BEATS


class Heart:
    """
    Prolongs the leases of this process while there are any.

    It also writes what an attempt could not write while the database was away.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """
        Forget everything, as a forked child has to.

        It has neither its parent's threads nor its tasks. If the lock was held
        in the parent, nobody will ever release it here.
        """
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        #: Ends that are still to be written. Their leases are not prolonged.
        self._deferred: dict[str, tuple[Lease, Callable[[], object]]] = {}
        self._thread: threading.Thread | None = None
        #: So that an outage is logged once.
        self._is_failing = False
        # Waiting for it is a pause, which only tests cut short.
        self._pause = threading.Event()

    def add(self, lease: Lease) -> None:
        """Prolong a lease from here on."""
        with self._lock:
            self._leases[lease.token] = lease
            self._start()

    def remove(self, lease: Lease) -> None:
        """Stop prolonging a lease."""
        with self._lock:
            self._leases.pop(lease.token, None)

    def defer(self, lease: Lease, write: Callable[[], object]) -> None:
        """
        Write the end of an attempt later, once the database is back.

        Args:
            lease: It is not prolonged any more: others may take the task.
            write: Writes the end, as long as nobody else has the lease.
        """
        with self._lock:
            self._leases.pop(lease.token, None)
            self._deferred[lease.token] = lease, write
            self._start()

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._run, name="cloudtask-leases", daemon=True
            )
            self._thread.start()

    def _run(self) -> None:
        try:
            self._beat_until_done()
        finally:
            with suppress(Exception):  # They may be broken already.
                connections.close_all()
            with self._lock:
                if self._thread is threading.current_thread():
                    # Something that ends threads has ended this one.
                    self._thread = None
                    self._start()

    def _beat_until_done(self) -> None:
        while True:
            try:
                return self._beat()
            except Exception:
                logger.exception("the thread that prolongs leases goes on")
                self._pause.wait(PROGRESS)

    def _beat(self) -> None:
        due = monotonic() + get_interval()
        while self._wait():
            if self._tick(is_due=monotonic() >= due):
                due = monotonic() + get_interval()

    def _tick(self, *, is_due: bool) -> bool:
        """Do what there is to do. Returns whether leases were prolonged."""
        is_prolonged = False
        try:
            if is_due:
                # First: nothing else may keep leases from being prolonged.
                self.prolong()
                is_prolonged = True
            self.write_progress()
            self.write_deferred()
            self._is_failing = False
        except Exception as error:
            if not self._is_failing:
                self._is_failing = True
                self._log(error, is_prolonged=is_prolonged or not is_due)
            # Only requests close dropped connections by themselves.
            renew(get_connection())
        return is_prolonged

    def _log(self, error: Exception, *, is_prolonged: bool) -> None:
        logger.warning(
            "the database of results fails: %r"
            if is_prolonged
            else "leases could not be prolonged: %r",
            error,
            exc_info=not isinstance(error, Error),
        )

    def _wait(self) -> bool:
        """Wait a while. False once there is nothing to do."""
        self._pause.wait(min(PROGRESS, get_interval()))
        with self._lock:
            if self._leases or self._deferred:
                return True
            self._thread = None
            return False

    def write_progress(self) -> None:
        """
        Write the progress of tasks that has changed.

        It is written on a connection of its own. A task's connection may be in
        a transaction, which would hide the progress and lock the row. What
        cannot be written is dropped.
        """
        with self._lock:
            leases = list(self._leases.values())
        for lease in leases:
            if lease.progress is not lease.written_progress:
                self._write_progress(lease)

    def _write_progress(self, lease: Lease) -> None:
        progress = lease.progress
        try:
            ask(lambda: lease.held_row.update(**progress))
        except Exception as error:
            if isinstance(error, Error) and get_connection().connection is None:
                raise  # The database is away, for the other tasks too.
            logger.warning("id=%s: progress is not written: %r", lease.task_id, error)
        lease.written_progress = progress

    def prolong(self) -> None:
        """Prolong all leases, and mark those that are lost or cancelled."""
        with self._lock:
            leases = dict(self._leases)
        # By key, as there is no index of leases.
        rows = select_rows([lease.task_id for lease in leases.values()])
        rows = rows.filter(lease__in=list(leases))
        until = compute_expiry()
        ask(lambda: rows.update(lease_expires_at=make_expiry()))
        seen = dict(ask(lambda: list(rows.values_list("lease", "cancelled_at"))))
        for token, lease in leases.items():
            if token in seen:
                lease.until = until
            # A lease that is missing was taken over by another worker.
            if token not in seen or seen[token] is not None:
                lease.is_cancelled = True

    def write_deferred(self, task_id: str | None = None) -> None:
        """
        Write the ends that could not be written before.

        Args:
            task_id: Only those of this task.
        """
        while (deferred := self._pop_deferred(task_id)) is not None:
            lease, write = deferred
            try:
                write()
            except Exception as error:
                if may_pass(error):
                    self.defer(lease, write)
                    raise
                logger.exception("id=%s: its end is not written", lease.task_id)

    def _pop_deferred(
        self, task_id: str | None
    ) -> tuple[Lease, Callable[[], object]] | None:
        if not self._deferred:
            return None
        with self._lock:
            for token, (lease, _) in self._deferred.items():
                if task_id in (None, lease.task_id):
                    return self._deferred.pop(token)
        return None


HEART = Heart()


def _reset_after_fork() -> None:
    HEART.reset()


os.register_at_fork(after_in_child=_reset_after_fork)
