"""Rows of tasks, and people who look at them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.utils import timezone

from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.wire.payload import Payload, encode, new_id

QUEUE_PATH = "projects/project/locations/europe-west1/queues/default"
ENQUEUED = datetime(2026, 1, 31, 12, tzinfo=UTC)

Status = TaskRecord.Status


def make_row(status: str = Status.READY, **values: Any) -> TaskRecord:
    """A row as the store keeps it."""
    payload = Payload(
        id=new_id(),
        task=values.pop("path", "tests.tasks.add"),
        args=values.pop("args", ()),
        kwargs=values.pop("kwargs", {}),
        enqueued_at=values.pop("enqueued_at", timezone.now()),
    )
    standard: dict[str, Any] = {
        "id": payload.id,
        "path": payload.task,
        "kind": payload.kind,
        "queue": "default",
        "body": encode(payload).decode(),
        "enqueued_at": payload.enqueued_at,
    }
    if status in (Status.SUCCESSFUL, Status.FAILED):
        standard["started_at"] = payload.enqueued_at
        standard["finished_at"] = payload.enqueued_at + timedelta(seconds=1.5)
    return TaskRecord.objects.create(status=status, **{**standard, **values})


def make_error(row: TaskRecord, attempt: int = 1, **values: Any) -> TaskError:
    standard = {
        "type": "builtins.ValueError",
        "message": "broken",
        "traceback": "Traceback (most recent call last): ...",
        "happened_at": ENQUEUED,
    }
    return TaskError.objects.create(task=row, attempt=attempt, **{**standard, **values})


def make_person(*verbs: str) -> User:
    """Somebody of the staff, with these permissions for tasks alone."""
    person = User.objects.create_user("ada", password="a password", is_staff=True)
    codenames = [f"{verb}_taskrecord" for verb in verbs]
    found = Permission.objects.filter(
        content_type__app_label="cloudtask_results", codename__in=codenames
    )
    assert found.count() == len(verbs)
    person.user_permissions.set(found)
    return person
