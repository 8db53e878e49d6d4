"""A task is enqueued, or its enqueueing is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.results.database.connections import ask
from cloudtask.results.models import TaskRecord
from cloudtask.results.records import make_row

if TYPE_CHECKING:
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload


def add_row(payload: Payload, task: OutgoingTask) -> None:
    """Add a task that is to be sent."""
    make_row(payload, task).save(force_insert=True)


def drop_row(task_id: str) -> None:
    """Drop a task that was refused, unless it was sent or has begun."""
    unsent = TaskRecord.objects.filter(pk=task_id, sent_at=None, arming=0)
    ask(unsent.filter(status=TaskRecord.Status.READY).delete)
