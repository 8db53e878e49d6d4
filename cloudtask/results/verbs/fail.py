"""A task fails, and there is no attempt that could say so."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import Error, transaction

from cloudtask.dispatch.kinds import find_kind
from cloudtask.exceptions import CloudTaskError
from cloudtask.results.columns.moments import Now
from cloudtask.results.database.connections import ask, get_alias
from cloudtask.results.models import TaskRecord
from cloudtask.results.reading import get_result
from cloudtask.results.verbs.keep_error import add_error
from cloudtask.signals import task_failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

logger = logging.getLogger("cloudtask")


def fail_row(
    row: TaskRecord, rows: QuerySet[TaskRecord], error: CloudTaskError, **values: Any
) -> bool:
    """
    Fail a task, and report it as the end of its last attempt would.

    Args:
        row: The task, as it was read.
        rows: Rows that may fail. The task does not if it is none of them, or
            was re-armed since.
        error: Why it fails.
        values: What else is written.

    Returns:
        Whether it failed.
    """
    has_failed = ask(lambda: _write(row, rows, error, values))
    if has_failed:
        _report(row, error)
    return has_failed


def _write(
    row: TaskRecord,
    rows: QuerySet[TaskRecord],
    error: CloudTaskError,
    values: Mapping[str, Any],
) -> bool:
    with transaction.atomic(get_alias()):
        has_failed = rows.filter(pk=row.pk, arming=row.arming).update(
            status=TaskRecord.Status.FAILED,
            finished_at=Now(),
            send_at=None,
            look_at=None,
            **values,
        )
        if has_failed:
            add_error(row.pk, row.attempt, error, message=str(error))
    return bool(has_failed)


def _report(row: TaskRecord, error: CloudTaskError) -> None:
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
    """Have its kind tell that it is over. False if that logs no failure."""
    try:
        return find_kind(row.kind).tell_finished(get_result(row.pk))
    except (CloudTaskError, Error):
        return False  # This process lacks what it takes.
