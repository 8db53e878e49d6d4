"""Tasks that are over are enqueued once more, as new ones."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudtask.conf import clock
from cloudtask.exceptions import PayloadError
from cloudtask.results.columns.moments import Now
from cloudtask.results.database.connections import ask
from cloudtask.results.models import FINISHED, TaskRecord
from cloudtask.results.records import select_rows
from cloudtask.wire.payload import decode, encode, new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.db.models import QuerySet

logger = logging.getLogger("cloudtask")

#: Rows that are copied at once, and characters of one statement that does it:
#: MySQL takes no longer ones.
CHUNK, MAX_LENGTH = 100, 4_000_000


def add_copies(rows: QuerySet[TaskRecord]) -> dict[str, str]:
    """
    Add copies of those of some tasks that are over and can be read.

    Returns:
        The ids of the copies, by those of the tasks.
    """
    over = rows.filter(status__in=FINISHED).exclude(body="")
    ids = ask(lambda: list(over.values_list("pk", flat=True)))
    copies: dict[str, str] = {}
    for start in range(0, len(ids), CHUNK):
        copies |= _add_some(ids[start : start + CHUNK])
    return copies


def _add_some(ids: list[str]) -> dict[str, str]:
    made = dict(_make_copies(select_rows(ids)))
    longest = max((len(copy.body) for copy in made.values()), default=1)
    TaskRecord.objects.bulk_create(
        made.values(), batch_size=max(1, MAX_LENGTH // longest)
    )
    return {task_id: copy.pk for task_id, copy in made.items()}


def _make_copies(rows: Iterable[TaskRecord]) -> Iterator[tuple[str, TaskRecord]]:
    for row in rows:
        try:
            yield row.pk, _copy(row)
        except PayloadError as error:
            logger.warning("task=%s id=%s cannot be read: %s", row.path, row.pk, error)


def _copy(row: TaskRecord) -> TaskRecord:
    payload = decode(row.body.encode())
    using = payload.using and payload.using._replace(run_after=None)
    again = replace(
        payload, id=new_id(), enqueued_at=clock.now(), using=using, body=None
    )
    return TaskRecord(
        id=again.id,
        path=row.path,
        kind=row.kind,
        backend=row.backend,
        queue=row.queue,
        body=encode(again).decode(),
        url=row.url,
        enqueued_at=again.enqueued_at,
        send_at=Now(),
    )
