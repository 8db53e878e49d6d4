"""Old tasks are deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q

from cloudtask.results.database.connections import ask, get_alias
from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from django.db.models import QuerySet

Status = TaskRecord.Status

#: Rows that are deleted at once.
CHUNK = 1000


def select_prunable(before: datetime, failed_before: datetime) -> QuerySet[TaskRecord]:
    """
    Select the tasks that finished long ago.

    Args:
        before: When successful ones finished at the latest.
        failed_before: When failed ones did.
    """
    is_old = Q(status=Status.SUCCESSFUL, finished_at__lt=before)
    is_old |= Q(status=Status.FAILED, finished_at__lt=failed_before)
    # A condition for both, so that the index of times is read no further.
    return TaskRecord.objects.filter(is_old, finished_at__lt=max(before, failed_before))


def prune(rows: QuerySet[TaskRecord]) -> Iterator[int]:
    """Delete rows, oldest first. Yields how many after each chunk."""
    while deleted := _prune_chunk(rows, CHUNK):
        yield deleted


def prune_some(before: datetime, failed_before: datetime, limit: int) -> int:
    """
    Delete some of the tasks that finished long ago, oldest first.

    Args:
        before: When successful ones finished at the latest.
        failed_before: When failed ones did.
        limit: The most of them.

    Returns:
        How many.
    """
    return _prune_chunk(select_prunable(before, failed_before), limit)


def delete(rows: QuerySet[TaskRecord]) -> int:
    """
    Delete rows, if they are still as they were looked for.

    Returns:
        How many.
    """
    return ask(lambda: _delete(rows))


def _prune_chunk(rows: QuerySet[TaskRecord], limit: int) -> int:
    oldest = rows.order_by("finished_at").values_list("pk", flat=True)[:limit]
    ids = ask(lambda: list(oldest))
    return delete(rows.filter(pk__in=ids))


def _delete(rows: QuerySet[TaskRecord]) -> int:
    with transaction.atomic(get_alias()):
        # Deleting looks first, and what it saw may be redriven by then.
        count = len(rows.select_for_update().values_list("pk"))
        rows.delete()
    return count
