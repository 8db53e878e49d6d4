"""
What django-tasks-google's README says of results, cancelling and heartbeats.

Named after its sections. The app that keeps results has another name here,
and so have some functions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings

from cloudtask.dispatch.outcomes import Status
from cloudtask.framework import TaskResultStatus
from cloudtask.results import cancel, claims, heartbeat
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import sweep
from tests.results.samples import ago, dispatch, expire, row
from tests.results.test_leases import wait_for as until
from tests.results_admin.conftest import SETTINGS as ADMIN_SETTINGS
from tests.seeds.project import Project
from tests.seeds.test_django_tasks_google import ENQUEUE, SETTINGS, TASKS, URLS

pytestmark = [
    pytest.mark.django_db_backend,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor == "sqlite",
        reason="a live server's threads need a database server",
    ),
]

QUEUE_PATH = (
    "projects/your-project-id/locations/us-central1/queues/my-service-queue-name-prod"
)
INSTALLED = '"cloudtask",'
#: Setup: "Add the app", with those that the admin needs.
APPS = f"""{INSTALLED}
    "cloudtask.results",
    "cloudtask.schedules",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
"""

#: Usage: "Inspect result".
INSPECT = """
from .example import result

result.refresh()
print(result.status)
print(result.return_value)
print(result.errors)
"""

#: Cancelling Tasks: "Graceful Cancellation". The work is a short wait.
BATCH = """
from threading import Event

from django.tasks import task, TaskContext
from cloudtask.results import is_cancelled

work, running, seen = Event(), Event(), []


@task(takes_context=True)
def batch_process(context: TaskContext):
    running.set()
    while not is_cancelled(context):
        if work.wait(0.01):  # Perform work
            raise RuntimeError("nobody cancelled it")
    return "cancelled"


@task(takes_context=True)
def look_now(context: TaskContext):
    running.set()
    work.wait(10)
    seen.append(is_cancelled(context))
    seen.append(is_cancelled(context, refresh=True))


@task
def blocking():
    running.set()
    work.wait(10)
    return "first"


@task
def failing():
    raise ValueError("broken")
"""

CANCEL = """
from cloudtask.results import cancel
from .tasks import batch_process

result = batch_process.enqueue()
cancel(result.id)
"""


@pytest.fixture(autouse=True)
def heart(monkeypatch: pytest.MonkeyPatch) -> Iterator[heartbeat.Heart]:
    """One that is over with the test, and beats many times in a second."""
    beating = heartbeat.Heart()
    monkeypatch.setattr(heartbeat, "HEART", beating)
    monkeypatch.setattr(claims, "HEART", beating)
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.05)
    yield beating
    thread = beating._thread
    beating._pause.set()
    if thread is not None:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def is_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heart does not beat while the test lasts."""
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 3600.0)


def start(project: Project, **cloudtask: Any) -> Project:
    project.start(
        SETTINGS.replace(INSTALLED, APPS),
        URLS,
        "my-service-queue-name-prod:min_backoff=0.05,max_backoff=0.05",
        project="your-project-id",
        location="us-central1",
        **cloudtask,
    )
    return project


@pytest.fixture
def started(project: Project) -> Project:
    return start(project)


@pytest.fixture
def tasks(started: Project) -> Iterator[ModuleType]:
    module = started.module("tasks", BATCH)
    yield module
    module.work.set()
    started.live.finish()


def wait_for(event: threading.Event) -> None:
    assert event.wait(10)


def statuses(project: Project) -> list[int | None]:
    return [attempt.status for attempt in project.emulator.attempts]


# "Inspect result"


def test_inspect_result(started: Project, capsys: pytest.CaptureFixture[str]) -> None:
    started.module("tasks", TASKS)
    example = started.run(ENQUEUE)
    assert str(example.result.status) == "READY"
    started.run(INSPECT, "inspect_result")

    assert capsys.readouterr().out == (
        f"{TaskResultStatus.SUCCESSFUL}\n{{'user_id': 1, 'status': 'sent'}}\n[]\n"
    )


def test_inspect_result_of_a_task_that_failed(project: Project) -> None:
    started = start(project, RETRY={"max_attempts": 2})
    tasks = started.module("tasks", BATCH)
    result = tasks.failing.enqueue()
    started.live.finish()
    result.refresh()

    assert str(result.status) == "FAILED"
    assert [error.exception_class for error in result.errors] == [ValueError] * 2
    assert "ValueError: broken" in result.errors[0].traceback


# "Graceful Cancellation"


def test_graceful_cancellation(started: Project, tasks: ModuleType) -> None:
    result = tasks.batch_process.enqueue()
    wait_for(tasks.running)
    assert cancel(result.id) is True
    # Seen by a beat of the heart.
    started.live.finish()
    result.refresh()

    assert result.return_value == "cancelled"
    assert row(result.id).cancelled_at is not None


def test_graceful_cancellation_of_a_task_that_waits(
    started: Project, tasks: ModuleType
) -> None:
    with started.live.client() as client:
        client.pause_queue(name=QUEUE_PATH)
    example = started.module("example", CANCEL)

    assert started.emulator.pending == 0
    example.result.refresh()
    assert str(example.result.status) == "FAILED"
    assert not tasks.running.is_set()


@pytest.mark.usefixtures("is_still")
def test_graceful_cancellation_is_seen_immediately_with_refresh(
    started: Project, tasks: ModuleType
) -> None:
    result = tasks.look_now.enqueue()
    wait_for(tasks.running)
    cancel(result.id)
    tasks.work.set()
    started.live.finish()

    assert tasks.seen == [False, True]


# "Heartbeat & reliability"


def test_heartbeats_are_not_affected_by_a_task_that_blocks(
    started: Project, tasks: ModuleType, heart: heartbeat.Heart
) -> None:
    result = tasks.blocking.enqueue()
    wait_for(tasks.running)
    # The lease is over, and no other worker comes: a beat prolongs it.
    expire(result.id)
    alive = TaskRecord.objects.filter(pk=result.id, lease_expires_at__gt=ago())
    until(alive.exists)
    thread = heart._thread
    assert thread is not None
    assert (thread.name, thread.daemon) == ("cloudtask-leases", True)
    tasks.work.set()
    started.live.finish()

    result.refresh()
    assert result.return_value == "first"
    assert heart._leases == {}


@pytest.mark.usefixtures("is_still")
def test_heartbeat_timeout_releases_the_lease(
    started: Project, tasks: ModuleType
) -> None:
    """A worker that lost it must not write: its answer and its value go."""
    result = tasks.blocking.enqueue()
    wait_for(tasks.running)
    assert dispatch(result.id, attempt=2).status is Status.BUSY
    expire(result.id)
    other = threading.Thread(target=dispatch_in_thread, args=[result.id])
    other.start()
    until(lambda: row(result.id).interruptions == 1)
    winner = row(result.id).lease
    tasks.work.set()
    other.join(10)
    started.live.finish()

    # One of them ended it, and the first was told that it is another's.
    assert winner
    assert statuses(started) == [409, 200]
    assert TaskRecord.objects.get(pk=result.id).attempt == 2


def dispatch_in_thread(id: str) -> None:  # noqa: A002
    try:
        dispatch(id, attempt=2)
    finally:
        connection.close()


def test_a_heartbeat_timeout_of_the_settings(project: Project) -> None:
    started = start(project, LEASE=timedelta(minutes=5))
    tasks = started.module("tasks", BATCH)
    result = tasks.blocking.enqueue()
    wait_for(tasks.running)
    found = row(result.id)
    tasks.work.set()
    started.live.finish()

    assert found.lease_expires_at is not None
    assert found.last_attempted_at is not None
    held = found.lease_expires_at - found.last_attempted_at
    assert timedelta(minutes=5) <= held < timedelta(minutes=5, seconds=10)


# "Storage & limits"


def test_storage_and_limits(project: Project) -> None:
    """The first ones are kept here, and the last."""
    started = start(project, MAX_ERRORS=3, RETRY={"max_attempts": 6})
    tasks = started.module("tasks", BATCH)
    result = tasks.failing.enqueue()
    started.live.finish()
    result.refresh()

    assert str(result.status) == "FAILED"
    assert len(result.errors) == 4
    kept = [error.attempt for error in row(result.id).errors.all()]
    assert kept == [1, 2, 3, 6]


# "Data model"


def test_data_model(started: Project) -> None:
    started.module("tasks", TASKS)
    example = started.run(ENQUEUE)
    record = TaskRecord.objects.get(pk=example.result.id)

    assert (record.path, record.status) == (
        "seedproject.tasks.send_notification",
        "SUCCESSFUL",
    )
    assert (record.backend, record.queue) == ("default", "my-service-queue-name-prod")
    assert record.return_value == {"user_id": 1, "status": "sent"}
    assert list(record.errors.all()) == []
    assert None not in (record.enqueued_at, record.started_at, record.finished_at)

    with override_settings(**ADMIN_SETTINGS):
        client = Client()
        client.force_login(User.objects.create_superuser("ada"))
        url = "/admin/cloudtask_results/taskrecord/"
        page = client.get(f"{url}{record.pk}/change/").content.decode()
        listed = client.get(url).content.decode()
    assert record.path in listed
    assert "&quot;user_id&quot;: 1" in page


# What went wrong there


def test_a_renamed_task_does_not_strand_a_row(started: Project) -> None:
    """There its lease was taken first, and the row stayed RUNNING for ever."""
    tasks = started.module("tasks", TASKS)
    with started.live.client() as client:
        client.pause_queue(name=QUEUE_PATH)
        result = tasks.send_notification.enqueue(user_id=1)
        task = vars(tasks).pop("send_notification")
        client.resume_queue(name=QUEUE_PATH)
    until(lambda: statuses(started)[:1] == [404])
    found = row(result.id)
    assert (found.status, found.lease, found.attempt) == ("READY", "", 0)

    # What a revision has that left the old name there.
    tasks.__dict__["send_notification"] = task
    started.live.finish()
    result.refresh()
    assert result.return_value == {"user_id": 1, "status": "sent"}
    assert statuses(started)[-1] == 200


def test_a_row_that_was_never_sent_is_swept(started: Project) -> None:
    """There it stayed READY for ever, or was FAILED after one error."""
    started.module("tasks", TASKS)
    started.emulator.inject("unavailable", times=1)
    example = started.run(ENQUEUE)
    assert started.emulator.attempts == []
    TaskRecord.objects.update(send_at=ago())

    assert sweep().sent == 1
    started.live.finish()
    example.result.refresh()
    assert example.result.return_value == {"user_id": 1, "status": "sent"}
