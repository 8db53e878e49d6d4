"""
What django-tasks-google's README says of schedules.

Named after its sections. Cloud Scheduler is asked by Google's own client.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import grpc
import pytest
from django.db import connection
from google.cloud.scheduler_v1 import CloudSchedulerClient, Job
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)

from cloudtask.results.models import TaskRecord
from cloudtask.schedules.engines.cloud_scheduler import client as channel
from cloudtask.schedules.models import ScheduledTask, Slot
from tests.clocks import set_clock
from tests.seeds.project import Project
from tests.seeds.test_django_tasks_google import SETTINGS, TASKS, URLS

pytestmark = [
    pytest.mark.django_db_backend,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor == "sqlite",
        reason="a live server's threads need a database server",
    ),
]

APPS = '"cloudtask",\n    "cloudtask.results",\n    "cloudtask.schedules",'
PARENT = "projects/your-project-id/locations/us-central1"

#: "Schedule tasks (cron)".
SCHEDULE = """
from cloudtask.schedules import schedule_task

from .tasks import send_notification

scheduled_task = schedule_task(
    send_notification,
    "0 */3 * * *",
    name="send-every-3-hours",
    args=[1],
)
"""

#: "To delete a ScheduledTask from both the database and Cloud Scheduler".
DELETE = """
from cloudtask.schedules import delete_scheduled_task

from .example import scheduled_task

delete_scheduled_task(scheduled_task.pk)
"""


@pytest.fixture(autouse=True)
def _clock(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's clock is the emulator's, once that has begun."""
    set_clock(monkeypatch, lambda: project.emulator.now.timestamp())


def start(project: Project, **cloudtask: Any) -> Project:
    project.start(
        SETTINGS.replace('"cloudtask",', APPS),
        URLS,
        "my-service-queue-name-prod",
        project="your-project-id",
        location="us-central1",
        PROJECT="your-project-id",
        LOCATION="us-central1",
        **cloudtask,
    )
    project.module("tasks", TASKS)
    return project


@pytest.fixture
def started(project: Project) -> Iterator[Project]:
    yield start(project, SCHEDULER="scheduler")
    if channel._open is not None:
        channel._open[1].close()
        channel._open = None


@contextmanager
def scheduler(project: Project) -> Iterator[CloudSchedulerClient]:
    with grpc.insecure_channel(project.emulator.host) as opened:
        yield CloudSchedulerClient(
            transport=CloudSchedulerGrpcTransport(channel=opened)
        )


def jobs(project: Project) -> list[Job]:
    with scheduler(project) as client:
        return list(client.list_jobs(parent=PARENT))


def schedule(project: Project) -> ModuleType:
    return project.module("example", SCHEDULE)


# "Schedule tasks (cron)"


def test_schedule_tasks_cron(started: Project) -> None:
    row = schedule(started).scheduled_task

    assert ScheduledTask.objects.get().pk == row.pk
    [job] = jobs(started)
    assert (job.schedule, job.time_zone) == ("0 */3 * * *", "America/Chicago")
    assert "send-every-3-hours" in job.description
    assert job.state is Job.State.ENABLED
    assert job.http_target.uri == f"{started.live.origin}/tasks/"
    assert job.http_target.oidc_token.service_account_email == (
        "task-invoker@your-project-id.iam.gserviceaccount.com"
    )


def test_delete_from_the_database_and_from_cloud_scheduler(started: Project) -> None:
    schedule(started)
    started.run(DELETE, "deleting")

    assert not ScheduledTask.objects.exists()
    assert jobs(started) == []


# "How scheduling works"


def test_how_scheduling_works(started: Project) -> None:
    schedule(started)
    started.emulator.advance(hours=6, timeout=30)

    slots = Slot.objects.filter(state="enqueued")
    assert slots.count() == 2
    assert started.returned == [{"user_id": 1, "status": "sent"}] * 2
    runs = TaskRecord.objects.filter(pk__in=slots.values("task_id"))
    assert {run.status for run in runs} == {"SUCCESSFUL"}
    # "All executions go through the same pipeline."
    assert {run.queue for run in runs} == {"my-service-queue-name-prod"}


def test_a_schedule_is_changed_in_place(started: Project) -> None:
    row = schedule(started).scheduled_task
    [before] = jobs(started)
    row.cron, row.name = "30 * * * *", "renamed"
    row.save()

    [after] = jobs(started)
    assert (after.name, after.schedule) == (before.name, "30 * * * *")
    assert "renamed" in after.description


# "Local development": "Scheduled tasks work locally with no extra setup"


def test_scheduled_tasks_work_locally_with_no_extra_setup(project: Project) -> None:
    started = start(project)
    schedule(started)
    assert jobs(started) == []
    started.emulator.advance(hours=6, timeout=30)

    assert Slot.objects.filter(state="enqueued").count() == 2
    assert started.returned == [{"user_id": 1, "status": "sent"}] * 2
