"""The outbox: tasks that were committed and not sent."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from cloudtask.conf import clock
from cloudtask.exceptions import (
    EnqueueError,
    InvalidCredentials,
    MetadataUnavailable,
    TaskAlreadyExists,
    TaskNotFound,
)
from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.database.connections import ask
from cloudtask.results.models import TaskRecord
from cloudtask.results.verbs.fail import fail_row
from cloudtask.results.verbs.note_sent import note_sent, select_unsent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

logger = logging.getLogger("cloudtask")

Status = TaskRecord.Status

#: Until a task that could not be sent is tried again: at least, and at most
#: where the cause will not pass by itself.
PAUSE, MAX_PAUSE = timedelta(minutes=1), timedelta(hours=1)
#: What this process lacks to send a task. Another one may have it.
_NOT_HERE = (TaskNotFound, InvalidCredentials, MetadataUnavailable)


def select_due() -> QuerySet[TaskRecord]:
    """Select the tasks that should have been sent by now."""
    unsent = TaskRecord.objects.filter(status=Status.READY, send_at__lte=Now())
    return unsent.order_by("send_at")


def note_answers(answers: Sequence[tuple[TaskRecord, str | Exception]]) -> int:
    """
    Note what came of sending.

    Args:
        answers: Tasks, each with its name, or what kept it from being sent.

    Returns:
        How many were sent.
    """
    names = {row.pk: each for row, each in answers if isinstance(each, str)}
    note_sent(names)
    # Sent before by a process that died before it could note that.
    before = {
        row.pk: error.name
        for row, error in answers
        if isinstance(error, TaskAlreadyExists) and not _is_duplicate(row)
    }
    note_sent(before)
    for row, answer in answers:
        if isinstance(answer, Exception) and row.pk not in before:
            _handle_error(row, answer)
    return len(names) + len(before)


def _handle_error(row: TaskRecord, error: Exception) -> None:
    if isinstance(error, TaskAlreadyExists):
        fail_row(row, TaskRecord.objects.filter(status=Status.READY), error)
    elif _is_temporary(error):
        logger.warning("task=%s id=%s was not sent: %s", row.path, row.pk, error)
    else:
        wait = _compute_pause(row)
        unsent = select_unsent([row.pk])
        ask(lambda: unsent.update(send_at=shift(Now(), wait)))
        logger.error(
            "task=%s id=%s was not sent, and is tried again in %d s: %s",
            row.path,
            row.pk,
            wait.total_seconds(),
            error,
        )


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, EnqueueError):
        return error.retryable
    return isinstance(error, _NOT_HERE)


def _compute_pause(row: TaskRecord) -> timedelta:
    """Compute how long to wait: as long as it has waited, within bounds."""
    age: timedelta = clock.now() - row.enqueued_at
    return min(max(age, PAUSE), MAX_PAUSE)


def _is_duplicate(row: TaskRecord) -> bool:
    """Whether another task has this one's name."""
    same = TaskRecord.objects.filter(task_id=row.task_id, path=row.path)
    return same.exclude(pk=row.pk).filter(sent_at__isnull=False).exists()
