"""
Leases: who holds a task, and for how long without a sign of life.

One thread of a process prolongs all of its leases, by the database's clock.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import Error, connections, router
from django.db.models import F, Q

from cloudtask.conf import get_settings
from cloudtask.exceptions import WorkerDied
from cloudtask.results.clock import Now, after
from cloudtask.results.connections import ask, may_pass, primary, renew
from cloudtask.results.failing import fail
from cloudtask.results.loaded import payload_of, runs_once
from cloudtask.results.models import TaskRecord
from cloudtask.results.settings import get_results_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: Workers that may die with a task before it is given up.
MAX_INTERRUPTIONS = 3
#: How long a lease holds without a sign of life, unless the settings say.
LEASE = timedelta(seconds=30)
#: Signs of life in that time.
BEATS = 4
#: Seconds between two writes of a task's progress.
PROGRESS = 1.0


class Lease:
    """One attempt's lease of a task."""

    __slots__ = ("is_cancelled", "progress", "task_id", "token", "until", "written")

    def __init__(self, task_id: str, token: str) -> None:
        self.task_id = task_id
        self.token = token
        #: By this process's clock, which begins before the database's does.
        self.until = monotonic() + lease_time().total_seconds()
        self.is_cancelled = False
        #: Its progress, written by the heart where it is new, and at its end.
        self.progress: dict[str, Any] = {}
        self.written = self.progress

    @property
    def held(self) -> QuerySet[TaskRecord]:
        """The task's row, as long as the lease is held."""
        return TaskRecord.objects.filter(pk=self.task_id, lease=self.token)

    def holds(self) -> bool:
        """Whether no other worker can have the task yet."""
        return monotonic() < self.until


def lease_time() -> timedelta:
    """How long a lease holds without a sign of life."""
    return get_results_settings(get_settings()).lease or LEASE


def heartbeat() -> float:
    """Seconds between two signs of life."""
    return lease_time().total_seconds() / BEATS


def expiry() -> Any:
    """When a lease that is taken now expires, by the database's clock."""
    return after(lease_time())


class Heart:
    """
    Prolongs the leases of this process while there are any.

    It also writes what an attempt could not write while the database was away.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """
        Forget everything, as a forked child has to.

        It has neither its parent's threads nor its tasks, and who holds the
        lock there will not let go of it here.
        """
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        #: Last words on leases, which are not prolonged any more.
        self._unwritten: dict[str, tuple[Lease, Callable[[], object]]] = {}
        self._thread: threading.Thread | None = None
        #: So that an outage is logged once.
        self._is_failing = False
        # Waiting for it is a pause: only tests end one early.
        self._pause = threading.Event()

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._leases[lease.token] = lease
            self._start()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop(lease.token, None)

    def leave(self, lease: Lease, write: Callable[[], object]) -> None:
        """
        Have the last word on a lease written once the database is back.

        Args:
            lease: It is not prolonged any more: others may take the task.
            write: Writes it, as long as nobody else has the lease.
        """
        with self._lock:
            self._leases.pop(lease.token, None)
            self._unwritten[lease.token] = lease, write
            self._start()

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._run, name="cloudtask-leases", daemon=True
            )
            self._thread.start()

    def _run(self) -> None:
        try:
            self._beat_on()
        finally:
            with suppress(Exception):  # They may be broken already.
                connections.close_all()
            with self._lock:
                if self._thread is threading.current_thread():
                    # Something has ended it that ends threads.
                    self._thread = None
                    self._start()

    def _beat_on(self) -> None:
        while True:
            try:
                return self._beat()
            except Exception:
                logger.exception("the thread that prolongs leases goes on")
                self._pause.wait(PROGRESS)

    def _beat(self) -> None:
        due = monotonic() + heartbeat()
        while self._wait():
            if self._tick(is_due=monotonic() >= due):
                due = monotonic() + heartbeat()

    def _tick(self, *, is_due: bool) -> bool:
        """Do what there is to do. Gives whether leases were prolonged."""
        is_prolonged = False
        try:
            if is_due:
                # First: nothing else is to keep leases from it.
                self.prolong()
                is_prolonged = True
            self.write_progress()
            self.deliver()
            self._is_failing = False
        except Exception as error:
            if not self._is_failing:
                self._is_failing = True
                self._log(error, is_prolonged=is_prolonged or not is_due)
            # Only requests close by themselves what was dropped.
            renew(primary())
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
        self._pause.wait(min(PROGRESS, heartbeat()))
        with self._lock:
            if self._leases or self._unwritten:
                return True
            self._thread = None
            return False

    def write_progress(self) -> None:
        """
        Write what is new of the progress of tasks.

        On a connection of its own: a task's may be in a transaction, which
        would keep it from being seen, and others from the row. What cannot be
        written is dropped.
        """
        with self._lock:
            leases = list(self._leases.values())
        for lease in leases:
            if lease.progress is not lease.written:
                self._write_progress(lease)

    def _write_progress(self, lease: Lease) -> None:
        news = lease.progress
        try:
            ask(lambda: lease.held.update(**news))
        except Exception as error:
            if isinstance(error, Error) and primary().connection is None:
                raise  # The database is away, for the others too.
            logger.warning("id=%s: progress is not written: %r", lease.task_id, error)
        lease.written = news

    def prolong(self) -> None:
        """Prolong all leases, and tell those that are lost or cancelled."""
        with self._lock:
            leases = dict(self._leases)
        alias = router.db_for_write(TaskRecord)
        rows = TaskRecord.objects.using(alias).filter(
            # By key: no index has leases.
            pk__in=[lease.task_id for lease in leases.values()],
            lease__in=list(leases),
        )
        until = monotonic() + lease_time().total_seconds()
        ask(lambda: rows.update(lease_expires_at=expiry()))
        seen = dict(ask(lambda: list(rows.values_list("lease", "cancelled_at"))))
        for token, lease in leases.items():
            if token in seen:
                lease.until = until
            # What is not there was taken over by another worker.
            if token not in seen or seen[token] is not None:
                lease.is_cancelled = True

    def deliver(self, task_id: str | None = None) -> None:
        """
        Write the last words that could not be written.

        Args:
            task_id: On leases of this task alone.
        """
        while (left := self._take(task_id)) is not None:
            lease, write = left
            try:
                write()
            except Exception as error:
                if may_pass(error):
                    self.leave(lease, write)
                    raise
                logger.exception("id=%s: its end is not written", lease.task_id)

    def _take(self, task_id: str | None) -> tuple[Lease, Callable[[], object]] | None:
        if not self._unwritten:
            return None
        with self._lock:
            for token, (lease, _) in self._unwritten.items():
                if task_id in (None, lease.task_id):
                    return self._unwritten.pop(token)
        return None


HEART = Heart()


def _after_fork() -> None:
    HEART.begin_anew()


os.register_at_fork(after_in_child=_after_fork)


def give_up(row: TaskRecord) -> bool:
    """
    Have a task failed that no worker is to run again.

    Its worker died, and was one too many, or the task was cancelled before,
    or is to run once.

    Returns:
        False if it is no such task.
    """
    is_once = runs_once(payload_of(row))
    is_last = row.interruptions >= MAX_INTERRUPTIONS - 1
    if not (is_once or is_last or row.cancelled_at is not None):
        # Its worker may be about to end it: without need, no lock is taken.
        return False
    # A sweeper that did not know the task has counted, and freed it.
    deaths = int(row.status == Status.RUNNING)
    return fail(
        row,
        TaskRecord.objects.filter(_dead_once() if is_once else _dead_for_good()),
        WorkerDied(
            "The worker of this task died, and it is to run once."
            if is_once
            else f"{row.interruptions + deaths} workers died with this task."
        ),
        interruptions=F("interruptions") + deaths,
        lease="",
        lease_expires_at=None,
    )


def _dead_for_good() -> Q:
    is_last = Q(interruptions__gte=MAX_INTERRUPTIONS - 1)
    return _is_dead() & (is_last | Q(cancelled_at__isnull=False))


def _dead_once() -> Q:
    return _is_dead() | Q(status=Status.READY, started_at__isnull=False)


def _is_dead() -> Q:
    return Q(status=Status.RUNNING, lease_expires_at__lte=Now())
