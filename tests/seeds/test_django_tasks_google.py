"""
The examples of django-tasks-google's README, run as they are written there.

Its settings have other names here. What is about results, cancellation, cron
and Cloud Run Jobs is not among them.
"""

import pytest

from tests.seeds.project import ORIGIN, Project

#: Setup: "Add the app" and "Configure backends".
SETTINGS = f"""
INSTALLED_APPS = [
    "cloudtask",
]

TASKS = {{
    "default": {{
        "BACKEND": "cloudtask.backends.CloudTasksBackend",
        "QUEUES": ["default"],
        "OPTIONS": {{
            "PROJECT": "your-project-id",
            "LOCATION": "us-central1",
            "URL": "{ORIGIN}/tasks/",
            "SAE": "task-invoker@your-project-id.iam.gserviceaccount.com",
            "QUEUE_ALIASES": {{"default": "my-service-queue-name-prod"}},
        }},
    }},
}}
"""

#: Setup: "Mount URLs".
URLS = """
from django.urls import include, path

urlpatterns = [
    path("tasks/", include("cloudtask.urls")),
]
"""

#: Usage: "Define a task".
TASKS = """
from django.tasks import task


@task(queue_name="default")  # Cloud Tasks queue
def send_notification(user_id: int):
    return {"user_id": user_id, "status": "sent"}
"""

#: Usage: "Enqueue".
ENQUEUE = """
from .tasks import send_notification

result = send_notification.enqueue(user_id=1)
"""


@pytest.fixture
def started(project: Project) -> Project:
    project.start(
        SETTINGS,
        URLS,
        "my-service-queue-name-prod",
        project="your-project-id",
        location="us-central1",
    )
    return project


def test_configure_backends(started: Project) -> None:
    settings = started.backend().settings

    assert (settings.project, settings.location) == ("your-project-id", "us-central1")
    assert settings.url == f"{started.live.origin}/tasks/"
    assert settings.sae == "task-invoker@your-project-id.iam.gserviceaccount.com"
    assert settings.queue_for("default") == "my-service-queue-name-prod"
    assert started.backend().check() == []


def test_mount_urls(started: Project) -> None:
    started.module("tasks", TASKS)
    started.run(ENQUEUE)

    [attempt] = started.emulator.attempts
    assert (attempt.url, attempt.status) == (f"{started.live.origin}/tasks/", 200)


def test_define_a_task(started: Project) -> None:
    tasks = started.module("tasks", TASKS)

    assert tasks.send_notification.backend == "default"
    assert tasks.send_notification.queue_name == "default"
    assert tasks.send_notification.call(3) == {"user_id": 3, "status": "sent"}


def test_enqueue(started: Project) -> None:
    started.module("tasks", TASKS)
    example = started.run(ENQUEUE)

    [attempt] = started.emulator.attempts
    assert attempt.name == example.result.name
    assert attempt.queue == "my-service-queue-name-prod"
    [finished] = started.finished
    assert finished.id == example.result.id
    assert finished.return_value == {"user_id": 1, "status": "sent"}
