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

from django.db import Error, connections, router, transaction
from django.db.models import F, Q
from django.utils import timezone

from cloudtask.exceptions import WorkerDied
from cloudtask.results.clock import Now, after
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.signals import task_failed

if TYPE_CHECKING:
    from django.db.models import QuerySet

logger = logging.getLogger("cloudtask")

#: Workers that may die with a task before it is given up.
MAX_INTERRUPTIONS = 3
#: How long a lease holds without a sign of life.
LEASE = timedelta(seconds=30)
#: Seconds between two signs of life.
HEARTBEAT = 8.0
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


def expiry() -> Any:
    """When a lease that is taken now expires, by the database's clock."""
    return after(LEASE)


class Heart:
    """Prolongs the leases of this process while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._pid = os.getpid()

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._after_fork()
            self._leases[lease.token] = lease
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._beat, name="cloudtask-leases", daemon=True
                )
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop(lease.token, None)

    def _after_fork(self) -> None:
        # A child has none of its parent's threads, nor its tasks.
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._thread = None
            self._leases.clear()

    def _beat(self) -> None:
        try:
            due = monotonic() + HEARTBEAT
            while self._wait():
                is_due = monotonic() >= due
                if is_due:
                    due = monotonic() + HEARTBEAT
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
        self._wake.wait(min(PROGRESS, HEARTBEAT))
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
        rows.update(lease_expires_at=expiry())
        seen = dict(rows.values_list("lease", "cancelled_at"))
        for token, lease in leases.items():
            # What is not there was taken over by another worker.
            if token not in seen or seen[token] is not None:
                lease.is_cancelled = True


HEART = Heart()


def give_up(row: TaskRecord) -> bool:
    """
    Have a task failed that no worker is to run again.

    Its worker died, and was one too many, or the task was cancelled before.

    Returns:
        False if it is no such task.
    """
    is_hopeless = Q(interruptions__gte=MAX_INTERRUPTIONS - 1) | Q(
        cancelled_at__isnull=False
    )
    dead = TaskRecord.objects.filter(
        is_hopeless,
        pk=row.pk,
        status=TaskRecord.Status.RUNNING,
        lease_expires_at__lte=Now(),
    )
    error = WorkerDied(f"{row.interruptions + 1} workers died with this task.")
    with transaction.atomic():
        is_given_up = dead.update(
            status=TaskRecord.Status.FAILED,
            interruptions=F("interruptions") + 1,
            lease="",
            lease_expires_at=None,
            finished_at=Now(),
        )
        if is_given_up:
            TaskError.objects.create(
                task_id=row.pk,
                attempt=row.attempt,
                type="cloudtask.exceptions.WorkerDied",
                message=str(error),
                happened_at=timezone.now(),
            )
    if is_given_up:
        logger.error(
            "task=%s id=%s status=failed reason=%r", row.path, row.pk, str(error)
        )
        task_failed.send_robust(row.path, task_id=row.pk, request=None, error=error)
    return bool(is_given_up)
