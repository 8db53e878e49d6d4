"""Final failures of tasks that no attempt is there to tell of."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import Error, router, transaction

from cloudtask.conf import clock
from cloudtask.dispatch.kinds import find_kind
from cloudtask.exceptions import CloudTaskError
from cloudtask.results.clock import Now
from cloudtask.results.connections import ask
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.reading import found
from cloudtask.results.values import text
from cloudtask.signals import task_failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

logger = logging.getLogger("cloudtask")


def fail(
    row: TaskRecord, rows: QuerySet[TaskRecord], error: CloudTaskError, **values: Any
) -> bool:
    """
    Have a task failed, and tell of it as the end of its last attempt would.

    Args:
        row: The task, as it was.
        rows: The same, if it is still as it has to be.
        error: Why.
        values: What else is written.

    Returns:
        Whether it was.
    """
    is_failed = ask(lambda: _write(row, rows, error, values))
    if is_failed:
        _tell(row, error)
    return is_failed


def _write(
    row: TaskRecord,
    rows: QuerySet[TaskRecord],
    error: CloudTaskError,
    values: Mapping[str, Any],
) -> bool:
    with transaction.atomic(router.db_for_write(TaskRecord)):
        is_failed = rows.filter(pk=row.pk).update(
            status=TaskRecord.Status.FAILED,
            finished_at=Now(),
            send_at=None,
            look_at=None,
            **values,
        )
        if is_failed:
            TaskError.objects.create(
                task_id=row.pk,
                attempt=row.attempt,
                type=f"{type(error).__module__}.{type(error).__qualname__}",
                message=text(str(error)),
                happened_at=clock.now(),
            )
    return bool(is_failed)


def _tell(row: TaskRecord, error: CloudTaskError) -> None:
    is_logged = _tell_finished(row)
    logger.log(
        logging.WARNING if is_logged else logging.ERROR,
        "task=%s id=%s status=failed reason=%r",
        row.path,
        row.pk,
        str(error),
    )
    task_failed.send_robust(row.path, task_id=row.pk, request=None, error=error)


def _tell_finished(row: TaskRecord) -> bool:
    """Have its kind tell of it; False if that logs no failure."""
    try:
        return find_kind(row.kind).tell_finished(found(row.pk))
    except (CloudTaskError, Error):
        return False  # This process lacks what it takes.
