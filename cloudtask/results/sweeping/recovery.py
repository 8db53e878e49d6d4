"""Recovery: tasks whose worker died, and tasks that their queue has lost."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from cloudtask.exceptions import TaskGone
from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.models import TaskRecord
from cloudtask.results.sending import is_queued
from cloudtask.results.verbs.fail import fail_row
from cloudtask.results.verbs.release import give_up, release_row

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from cloudtask.transports.patience import Patience

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: How long a lease is over before its task is looked for in the queue.
GRACE = timedelta(minutes=5)


def select_orphans() -> QuerySet[TaskRecord]:
    """Select the tasks whose worker died some time ago."""
    orphans = TaskRecord.objects.filter(
        status=Status.RUNNING, lease_expires_at__lt=shift(Now(), -GRACE)
    )
    return orphans.order_by("lease_expires_at")


def select_waiting() -> QuerySet[TaskRecord]:
    """Select the tasks that have waited long for an attempt."""
    waiting = TaskRecord.objects.filter(status=Status.READY, look_at__lte=Now())
    return waiting.order_by("look_at")


def free(row: TaskRecord, patience: Patience) -> bool:
    """
    Free a task whose worker died, unless its queue will dispatch it again.

    Returns:
        Whether it has changed.
    """
    if give_up(row):
        return True
    if _may_be_queued(row, patience):
        return False  # The next attempt takes it over.
    return release_row(row)


def fail_if_gone(row: TaskRecord, patience: Patience) -> bool:
    """
    Fail a task that waits for an attempt, if its queue does not have it.

    Returns:
        Whether it failed.
    """
    if _may_be_queued(row, patience):
        return False
    gone = TaskGone("The queue does not have the task: it was deleted or given up.")
    return fail_row(row, TaskRecord.objects.filter(status=Status.READY), gone)


def _may_be_queued(row: TaskRecord, patience: Patience) -> bool:
    answer = is_queued(row, patience)
    if isinstance(answer, bool):
        return answer
    logger.warning(
        "task=%s id=%s: Cloud Tasks did not answer: %s", row.path, row.pk, answer
    )
    return True
