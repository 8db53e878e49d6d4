"""A worker has died: its task is freed for another one, or given up."""

from __future__ import annotations

from django.db.models import F, Q

from cloudtask.exceptions import WorkerDied
from cloudtask.results.columns.moments import Now
from cloudtask.results.database.connections import ask
from cloudtask.results.declarations import runs_once
from cloudtask.results.leases import MAX_INTERRUPTIONS
from cloudtask.results.models import TaskRecord
from cloudtask.results.records import make_bare_payload
from cloudtask.results.verbs.fail import fail_row

Status = TaskRecord.Status


def release_row(row: TaskRecord) -> bool:
    """
    Free a task whose worker died, to be sent once more.

    Returns:
        False if it has changed since it was read.
    """
    free = TaskRecord.objects.filter(
        # Nobody could claim it if it had been cancelled since.
        pk=row.pk,
        lease=row.lease,
        status=Status.RUNNING,
        cancelled_at=None,
    )
    released = ask(
        lambda: free.update(
            status=Status.READY,
            lease="",
            lease_expires_at=None,
            interruptions=row.interruptions + 1,
            name="",
            task_id="",
            send_at=Now(),
        )
    )
    return bool(released)


def give_up(row: TaskRecord) -> bool:
    """
    Fail a task that no worker may run again.

    Its worker died, and was one too many, or the task was cancelled before,
    or may only run once.

    Returns:
        False if it is no such task.
    """
    is_once = runs_once(make_bare_payload(row))
    is_last = row.interruptions >= MAX_INTERRUPTIONS - 1
    if not (is_once or is_last or row.cancelled_at is not None):
        # Its worker may be about to end it: no lock is taken without need.
        return False
    # A sweeper that did not know the task may have counted and freed it.
    deaths = int(row.status == Status.RUNNING)
    return fail_row(
        row,
        TaskRecord.objects.filter(_match_once() if is_once else _match_last()),
        WorkerDied(
            "The worker of this task died, and it may only run once."
            if is_once
            else f"{row.interruptions + deaths} workers died while they ran this task."
        ),
        interruptions=F("interruptions") + deaths,
        lease="",
        lease_expires_at=None,
    )


def take_death_back(task_id: str) -> int:
    """
    Have a takeover not count as a death.

    Another worker has the task because the database was away, and not because
    this one died.
    """
    taken_over = TaskRecord.objects.filter(
        pk=task_id,
        status__in=(Status.READY, Status.RUNNING),
        interruptions__gt=0,
    )
    return taken_over.update(interruptions=F("interruptions") - 1)


def _match_last() -> Q:
    is_last = Q(interruptions__gte=MAX_INTERRUPTIONS - 1)
    return _match_dead() & (is_last | Q(cancelled_at__isnull=False))


def _match_once() -> Q:
    return _match_dead() | Q(status=Status.READY, started_at__isnull=False)


def _match_dead() -> Q:
    return Q(status=Status.RUNNING, lease_expires_at__lte=Now())
