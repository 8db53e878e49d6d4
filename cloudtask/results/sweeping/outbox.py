"""The outbox: tasks that were committed and not sent."""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import Error

from cloudtask.conf import clock
from cloudtask.exceptions import (
    CloudTaskError,
    EnqueueError,
    InvalidCredentials,
    MetadataUnavailable,
    TaskAlreadyExists,
    TaskNotFound,
)
from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.database.connections import ask
from cloudtask.results.models import TaskRecord
from cloudtask.results.sending import make_patience, send_many
from cloudtask.results.verbs.fail import fail_row
from cloudtask.results.verbs.note_sent import note_sent, select_unsent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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


def send_at_once(task_id: str, queue_time: datetime | None = None) -> None:
    """
    Send a task that was re-armed, without waiting for a sweeper.

    Nothing is raised: what cannot be sent now is left to the sweeper.

    Args:
        task_id: Its id.
        queue_time: See send_many().
    """
    try:
        unsent = select_unsent([task_id])
        rows = ask(lambda: list(unsent))
        for answers in send_many(rows, make_patience(), queue_time):
            note_answers(answers)
    except (Error, CloudTaskError) as error:
        logger.warning("id=%s is sent later: %r", task_id, error)
    except Exception:
        logger.exception("id=%s is sent later", task_id)


def note_answers(answers: Sequence[tuple[TaskRecord, str | Exception]]) -> int:
    """
    Note what came of sending.

    Args:
        answers: Tasks, each with its name, or what kept it from being sent.

    Returns:
        How many were sent.
    """
    sent = [(row, each) for row, each in answers if isinstance(each, str)]
    _note_names(sent)
    # Sent before by a process that died before it could note that.
    before = [
        (row, error.name)
        for row, error in answers
        if isinstance(error, TaskAlreadyExists) and not _is_duplicate(row)
    ]
    _note_names(before)
    noted = {row.pk for row, _ in before}
    for row, answer in answers:
        if isinstance(answer, Exception) and row.pk not in noted:
            _handle_error(row, answer)
    return len(sent) + len(before)


def _note_names(sent: Sequence[tuple[TaskRecord, str]]) -> None:
    by_arming: dict[int, dict[str, str]] = defaultdict(dict)
    for row, name in sent:
        by_arming[row.arming][row.pk] = name
    for arming, names in by_arming.items():
        note_sent(names, arming)


def _handle_error(row: TaskRecord, error: Exception) -> None:
    if isinstance(error, TaskAlreadyExists):
        fail_row(row, TaskRecord.objects.filter(status=Status.READY), error)
    elif _is_temporary(error):
        logger.warning("task=%s id=%s was not sent: %s", row.path, row.pk, error)
    else:
        wait = _compute_pause(row)
        unsent = select_unsent([row.pk]).filter(arming=row.arming)
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
    age: timedelta = clock.now() - (row.last_attempted_at or row.enqueued_at)
    return min(max(age, PAUSE), MAX_PAUSE)


def _is_duplicate(row: TaskRecord) -> bool:
    """Whether another task has this one's name."""
    if row.arming:
        return False  # Its own id is a part of the name.
    same = TaskRecord.objects.filter(task_id=row.task_id, path=row.path)
    return same.exclude(pk=row.pk).filter(sent_at__isnull=False).exists()
