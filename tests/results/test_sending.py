"""Kept tasks go to Cloud Tasks as they were enqueued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudtask.exceptions import EnqueueError
from cloudtask.framework import Task
from cloudtask.results import sending
from cloudtask.transports.base import OutgoingTask
from tests.backends import tasks as django_tasks
from tests.backends.samples import BACKEND, SECOND_SECRET
from tests.results.samples import (
    add,
    change,
    elsewhere,
    queue,
    row,
    tidy,
    urgent,
)

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

AT = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)


def own_url() -> Any:
    task = add(1, 2)
    task.url = "https://own.example/"
    return task


def using(**changes: Any) -> Task[..., Any]:
    task: Task[..., Any] = django_tasks.add.using(**changes)
    return task


ENQUEUE: dict[str, Callable[[], Any]] = {
    "plain": lambda: add(1, b=2).delay(),
    "rich arguments": lambda: add(AT, (1, {2})).delay(),
    "own URL": lambda: own_url().delay(),
    "URL of the definition": lambda: elsewhere().delay(),
    "named": lambda: tidy().delay(),
    "scheduled": lambda: add().schedule(at=AT),
    "priority queue": lambda: urgent().delay(),
    "Django": lambda: django_tasks.add.enqueue(1, b=2),
    "Django, deferred": lambda: using(run_after=AT).enqueue(),
    "Django, queue": lambda: using(queue_name="emails").enqueue(),
    "Django, priority": lambda: using(priority=60).enqueue(),
    "Django, backend": lambda: using(backend="reports").enqueue(),
    "Django, policies": lambda: django_tasks.patient.enqueue(),
}


@pytest.fixture(autouse=True)
def _many_queues(settings: Any) -> None:
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "PRIORITY_QUEUES": {0: "default", 50: "urgent"},
    }
    settings.TASKS = {
        **settings.TASKS,
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"SECRET": SECOND_SECRET}},
    }


def facts(sent: OutgoingTask) -> dict[str, Any]:
    """All that makes two tasks the same at Cloud Tasks."""
    found = asdict(sent)
    found["route"].pop("prepared")
    return found


@pytest.mark.parametrize("enqueue", ENQUEUE.values(), ids=ENQUEUE)
def test_a_task_is_sent_as_it_was(enqueue: Callable[[], Any]) -> None:
    enqueued = enqueue()
    [first] = queue().tasks
    queue().clear()
    name = sending.send(row(enqueued.id))
    [second] = queue().tasks

    assert facts(second.sent) == facts(first.sent)
    assert second.name == name
    assert second.payload == first.payload


def test_settings_that_changed_since_count(settings: Any) -> None:
    enqueued = add().delay()
    settings.CLOUDTASK = {**settings.CLOUDTASK, "PROJECT": "another"}
    sending.send(row(enqueued.id))
    [sent] = queue().tasks

    assert sent.name.startswith("projects/another/")


def test_a_task_is_in_its_queue_until_it_is_deleted() -> None:
    one, two = add().delay(), django_tasks.add.enqueue()
    for each in (one, two):
        assert sending.is_queued(row(each.id)) is True
        sending.delete(row(each.id))
        assert sending.is_queued(row(each.id)) is False
        sending.delete(row(each.id))
    assert queue().tasks == []


def test_a_task_that_was_never_sent_is_in_no_queue() -> None:
    enqueued = add().delay()
    change(enqueued.id, name="")
    sending.delete(row(enqueued.id))

    assert sending.is_queued(row(enqueued.id)) is False
    assert len(queue().tasks) == 1


def test_a_task_that_is_known_by_its_dispatch_alone_is_found_in_its_queue() -> None:
    enqueued = add().delay()
    name = str(enqueued.name)
    # What a dispatch tells.
    change(enqueued.id, name=name.rpartition("/")[2])
    assert sending.is_queued(row(enqueued.id)) is True
    sending.delete(row(enqueued.id))
    assert queue().tasks == []


def test_what_a_queue_refuses_is_raised() -> None:
    enqueued = tidy().delay()
    with pytest.raises(EnqueueError, match="is enqueued already as"):
        sending.send(row(enqueued.id))
