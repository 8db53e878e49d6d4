"""
Leases: who holds a task, and for how long without a sign of life.

One thread of a process prolongs all of its leases, by the database's clock.
"""

from __future__ import annotations

import logging
import os
import threading
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import Error, connections, router
from django.db.models import F, Q

from cloudtask.conf import get_settings
from cloudtask.exceptions import WorkerDied
from cloudtask.results.clock import Now, after
from cloudtask.results.conflicts import settled
from cloudtask.results.failing import fail
from cloudtask.results.loaded import payload_of, runs_once
from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
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

    __slots__ = ("is_cancelled", "progress", "task_id", "token", "written")

    def __init__(self, task_id: str, token: str) -> None:
        self.task_id = task_id
        self.token = token
        self.is_cancelled = False
        #: Its progress, written by the heart where it is new, and at its end.
        self.progress: dict[str, Any] = {}
        self.written = self.progress

    @property
    def held(self) -> QuerySet[TaskRecord]:
        """The task's row, as long as the lease is held."""
        return TaskRecord.objects.filter(pk=self.task_id, lease=self.token)


def lease_time() -> timedelta:
    """How long a lease holds without a sign of life."""
    return get_settings().lease or LEASE


def heartbeat() -> float:
    """Seconds between two signs of life."""
    return lease_time().total_seconds() / BEATS


def expiry() -> Any:
    """When a lease that is taken now expires, by the database's clock."""
    return after(lease_time())


class Heart:
    """Prolongs the leases of this process while there are any."""

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
        self._thread: threading.Thread | None = None
        # Waiting for it is a pause: only tests end one early.
        self._pause = threading.Event()

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._leases[lease.token] = lease
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._beat, name="cloudtask-leases", daemon=True
                )
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop(lease.token, None)

    def _beat(self) -> None:
        try:
            due = monotonic() + heartbeat()
            while self._wait():
                is_due = monotonic() >= due
                if is_due:
                    due = monotonic() + heartbeat()
                self._tick(is_due=is_due)
        finally:
            connections.close_all()

    def _tick(self, *, is_due: bool) -> None:
        try:
            self.write_progress()
            if is_due:
                self.prolong()
        except Error as error:
            logger.warning("leases could not be prolonged: %r", error)
            # Django opens another: only requests do that by themselves.
            connections.close_all()

    def _wait(self) -> bool:
        """Wait a while. False once there is nothing to prolong."""
        self._pause.wait(min(PROGRESS, heartbeat()))
        with self._lock:
            if self._leases:
                return True
            self._thread = None
            return False

    def write_progress(self) -> None:
        """
        Write what is new of the progress of tasks.

        On a connection of its own: a task's may be in a transaction, which
        would keep it from being seen, and others from the row.
        """
        with self._lock:
            leases = list(self._leases.values())
        for lease in leases:
            news = lease.progress
            if news is not lease.written:
                lease.held.update(**news)
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
        settled(lambda: rows.update(lease_expires_at=expiry()))
        seen = dict(rows.values_list("lease", "cancelled_at"))
        for token, lease in leases.items():
            # What is not there was taken over by another worker.
            if token not in seen or seen[token] is not None:
                lease.is_cancelled = True


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
