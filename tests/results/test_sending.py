"""Kept tasks go to Cloud Tasks as they were enqueued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudtask.exceptions import (
    ConfigurationError,
    PermissionDenied,
    TaskAlreadyExists,
)
from cloudtask.framework import Task
from cloudtask.results import sending
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.outgoing import OutgoingTask
from tests.backends import tasks as django_tasks
from tests.backends.samples import BACKEND, SECOND_SECRET, THEIRS
from tests.results.samples import (
    add,
    change,
    elsewhere,
    queue,
    row,
    tidy,
    urgent,
)
from tests.tasks import ran

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
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"SECRET": SECOND_SECRET, **THEIRS}},
    }


def send(*ids: str) -> list[Any]:
    """What comes of sending tasks: names and errors, in no certain order."""
    calls = sending.send_many((row(each) for each in ids), sending.make_patience())
    return [answer for answers in calls for _, answer in answers]


def facts(sent: OutgoingTask) -> dict[str, Any]:
    """All that makes two tasks the same at Cloud Tasks."""
    found = asdict(sent)
    found["route"].pop("prepared")
    # Signed anew, for as long as it may now take.
    assert found.pop("headers").keys() == {"X-Task-Signature"}
    return found


@pytest.mark.parametrize("enqueue", ENQUEUE.values(), ids=ENQUEUE)
def test_a_task_is_sent_as_it_was(enqueue: Callable[[], Any]) -> None:
    enqueued = enqueue()
    [first] = queue().tasks
    queue().clear()
    [name] = send(enqueued.id)
    [second] = queue().tasks

    assert facts(second.sent) == facts(first.sent)
    assert second.name == name
    assert second.payload == first.payload


def test_a_scheduled_task_is_sent_for_its_time_without_time_zones(
    settings: Any,
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    enqueued = add().schedule(at=AT)
    queue().clear()
    send(enqueued.id)
    [sent] = queue().tasks

    assert sent.sent.schedule_time == AT


def test_settings_that_changed_since_count(settings: Any) -> None:
    enqueued = add().delay()
    settings.CLOUDTASK = {**settings.CLOUDTASK, "PROJECT": "another"}
    send(enqueued.id)
    [sent] = queue().tasks

    assert sent.name.startswith("projects/another/")


def test_a_task_is_in_its_queue_until_it_is_deleted() -> None:
    one, two = add().delay(), django_tasks.add.enqueue()
    for each in (one, two):
        assert sending.is_queued(row(each.id), sending.make_patience()) is True
        sending.delete_many([row(each.id)], sending.make_patience())
        assert sending.is_queued(row(each.id), sending.make_patience()) is False
        sending.delete_many([row(each.id)], sending.make_patience())
    assert queue().tasks == []


def test_a_task_that_was_never_sent_is_in_no_queue() -> None:
    enqueued = add().delay()
    change(enqueued.id, name="")
    sending.delete_many([row(enqueued.id)], sending.make_patience())

    assert sending.is_queued(row(enqueued.id), sending.make_patience()) is False
    assert len(queue().tasks) == 1


def test_a_task_that_is_known_by_its_dispatch_alone_is_found_in_its_queue() -> None:
    enqueued = add().delay()
    name = str(enqueued.name)
    # What a dispatch tells.
    change(enqueued.id, name=name.rpartition("/")[2])
    assert sending.is_queued(row(enqueued.id), sending.make_patience()) is True
    sending.delete_many([row(enqueued.id)], sending.make_patience())
    assert queue().tasks == []


def test_what_a_queue_refuses_is_told() -> None:
    enqueued = tidy().delay()
    [error] = send(enqueued.id)
    assert isinstance(error, TaskAlreadyExists)
    assert error.name == enqueued.name


def test_many_tasks_are_deleted_from_their_queues() -> None:
    tasks = [add(number).delay() for number in range(3)]
    never_sent, elsewhere = add(3).delay(), django_tasks.add.enqueue()
    change(never_sent.id, name="")
    change(tasks[1].id, name=str(tasks[1].name).rpartition("/")[2])
    ids = [tasks[0].id, tasks[1].id, never_sent.id, elsewhere.id]
    sending.delete_many((row(each) for each in ids), sending.make_patience())

    assert [each.payload.id for each in queue().tasks] == [tasks[2].id, never_sent.id]


def test_what_cannot_be_deleted_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, gone = add(1).delay(), add(2).delay(), add(3).delay()
    change(gone.id, backend="gone")
    delete = MemoryTransport.delete

    def refuse(self: MemoryTransport, name: str, timeout: float) -> None:
        if name == one.name:
            raise PermissionDenied("not you", queue_path="q")
        delete(self, name)

    monkeypatch.setattr(MemoryTransport, "delete", refuse)
    sending.delete_many(
        (row(each.id) for each in (gone, one, two)), sending.make_patience()
    )

    assert [each.payload.id for each in queue().tasks] == [one.id, gone.id]
    no_backend, refused = caplog.messages
    assert no_backend.startswith(
        f"task={add.path} id={gone.id} is still in the queue: no task backend 'gone' "
        "here: InvalidTaskBackend"
    )
    assert refused == f"task={add.path} id={one.id} is still in the queue: not you"
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_tasks_that_no_client_can_delete_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = add(1).delay(), add(2).delay()

    def delete_many(self: MemoryTransport, names: list[str], _: Any) -> dict[str, Any]:
        raise ConfigurationError("CREDENTIALS", "no client can be made")

    monkeypatch.setattr(MemoryTransport, "delete_many", delete_many)
    sending.delete_many((row(each.id) for each in (one, two)), sending.make_patience())

    assert caplog.messages == [
        f"task={add.path} id={each.id} is still in the queue: "
        "CLOUDTASK['CREDENTIALS']: no client can be made"
        for each in (one, two)
    ]


def test_a_task_of_a_transport_that_only_sends_is_in_no_queue(settings: Any) -> None:
    enqueued = add(1, 2).delay()
    assert sending.is_queued(row(enqueued.id), sending.make_patience()) is True
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "TRANSPORT": "cloudtask.transports.immediate.ImmediateTransport",
    }

    assert sending.is_queued(row(enqueued.id), sending.make_patience()) is False
    assert sending.run_now(row(enqueued.id), sending.make_patience()) is False
    sending.delete_many([row(enqueued.id)], sending.make_patience())


def test_a_task_is_run_now() -> None:
    enqueued, never_sent = add(1, 2).schedule(at=AT), add().schedule(at=AT)
    change(never_sent.id, name="")
    assert queue().drain() == []
    assert sending.run_now(row(enqueued.id), sending.make_patience()) is True
    queue().drain()

    assert ran == [("add", 1, 2)]
    assert sending.run_now(row(enqueued.id), sending.make_patience()) is False
    assert sending.run_now(row(never_sent.id), sending.make_patience()) is False
