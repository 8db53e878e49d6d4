"""
The examples of django-tasks-cloud-tasks' README, run as they are written.

Its settings have other names here, and its three settings of the URL are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudtask.conf import environment
from cloudtask.transports import get_transport
from cloudtask.transports.google import GoogleTransport
from tests.seeds.project import ORIGIN, Project, claims_of
from tests.unit.metadata import MetadataServer

PROJECT, LOCATION = "your-project-id", "asia-northeast1"

#: Quick Start, 1: "Add to INSTALLED_APPS".
INSTALLED = """
INSTALLED_APPS = [
    # ...
    'cloudtask',
]
"""

#: Quick Start, 2: "Configure the task backend", where Google Cloud is.
MINIMAL = (
    INSTALLED
    + """
TASKS = {
    'default': {
        'BACKEND': 'cloudtask.backends.CloudTasksBackend',
        'QUEUES': [],  # Empty list allows all queue names
    },
}
"""
)

#: The same: "Or configure explicitly in settings".
EXPLICIT = (
    INSTALLED
    + f"""
TASKS = {{
    'default': {{
        'BACKEND': 'cloudtask.backends.CloudTasksBackend',
        'QUEUES': [],
        'OPTIONS': {{
            'PROJECT': 'your-project-id',
            'LOCATION': 'asia-northeast1',
            'URL': '{ORIGIN}/cloudtasks/',
        }},
    }},
}}
"""
)

#: "Configuration Options".
EVERY_OPTION = (
    INSTALLED
    + f"""
TASKS = {{
    'default': {{
        'BACKEND': 'cloudtask.backends.CloudTasksBackend',
        'QUEUES': [],  # Empty list allows all queue names
        'OPTIONS': {{
            # Auto-detected on Cloud Run / App Engine, or set explicitly
            'PROJECT': 'your-project-id',
            'LOCATION': 'asia-northeast1',
            'URL': '{ORIGIN}/cloudtasks/',

            # Optional: OIDC authentication
            'SAE': 'cloud-tasks-invoker@your-project.iam.gserviceaccount.com',
            'AUDIENCE': 'https://your-app.run.app',
        }},
    }},
}}
"""
)

#: "OIDC Authentication": "Configure the backend".
OIDC = (
    INSTALLED
    + """
TASKS = {
    'default': {
        'BACKEND': 'cloudtask.backends.CloudTasksBackend',
        'QUEUES': [],  # Empty list allows all queue names
        'OPTIONS': {
            # PROJECT, LOCATION and URL are auto-detected on Cloud Run
            'SAE': 'cloud-tasks-invoker@PROJECT_ID.iam.gserviceaccount.com',
        },
    },
}
"""
)

#: Quick Start, 3: "Add URL configuration".
URLS = """
# urls.py
from django.urls import path, include

urlpatterns = [
    path('cloudtasks/', include('cloudtask.urls')),
]
"""

#: Stands for the users of the README's reader.
PEOPLE = """
from dataclasses import dataclass


@dataclass
class User:
    id: int
    email: str

    class objects:
        @staticmethod
        def get(id):
            return User(id, f"user{id}@example.com")
"""

#: Quick Start, 4: "Define a task".
WELCOME = """
from .people import User

from django.tasks import task

@task
def send_welcome_email(user_id):
    user = User.objects.get(id=user_id)
    # Send email...
    return f"Email sent to {user.email}"
"""

#: Quick Start, 5: "Enqueue the task".
ENQUEUE = """
from .tasks import send_welcome_email

result = send_welcome_email.enqueue(user_id=123)
print(f"Task ID: {result.id}")
"""

#: As Cloud Run answers there.
CLOUD_RUN = {
    "project/project-id": "your-project-id",
    "project/numeric-project-id": "123456789012",
    "instance/region": "projects/123456789012/regions/asia-northeast1",
    "instance/service-accounts/default/email": "app@your-project-id.example",
}

#: What dispatches are known by where the README's endpoint is open.
SECRET = "a secret for tests of 32 bytes.."


@pytest.fixture
def started(project: Project) -> Project:
    """The project, configured explicitly."""
    start(project, EXPLICIT, SECRET=SECRET)
    return project


def start(project: Project, settings: str, **cloudtask: Any) -> None:
    queues = ("default", "high-priority", "urgent", "bulk")
    project.start(
        settings, URLS, *queues, project=PROJECT, location=LOCATION, **cloudtask
    )


def welcome(project: Project) -> Any:
    project.module("people", PEOPLE)
    project.module("tasks", WELCOME)
    return project.run(ENQUEUE).result


def test_configure_the_task_backend_explicitly(started: Project) -> None:
    welcome(started)

    assert started.backend().check() == []
    [attempt] = started.emulator.attempts
    assert attempt.name.startswith(
        "projects/your-project-id/locations/asia-northeast1/queues/default/tasks/"
    )
    assert started.returned == ["Email sent to user123@example.com"]


def test_configure_the_task_backend_by_environment_variables(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", PROJECT)
    # The README's other variables are its own: no place sets them.
    start(
        project,
        MINIMAL,
        LOCATION=LOCATION,
        URL=f"{ORIGIN}/cloudtasks/",
        SECRET=SECRET,
    )

    welcome(project)

    assert project.backend().check() == []
    assert project.returned == ["Email sent to user123@example.com"]


def test_add_url_configuration(started: Project) -> None:
    welcome(started)

    [attempt] = started.emulator.attempts
    assert attempt.url == f"{started.live.origin}/cloudtasks/"
    assert attempt.status == 200


def test_define_a_task(started: Project) -> None:
    started.module("people", PEOPLE)
    tasks = started.module("tasks", WELCOME)

    told = tasks.send_welcome_email.call(7)

    assert told == "Email sent to user7@example.com"
    assert started.emulator.attempts == []


def test_enqueue_the_task(started: Project, capsys: pytest.CaptureFixture[str]) -> None:
    result = welcome(started)

    assert capsys.readouterr().out == f"Task ID: {result.id}\n"
    [finished] = started.finished
    assert finished.id == result.id
    assert finished.kwargs == {"user_id": 123}


def test_json_serializable_parameters(started: Project) -> None:
    started.module("seen", "dates = []\n")
    example = """
from datetime import datetime

from .seen import dates

from django.tasks import task

# This will raise TypeError
@task
def bad_task(user_id, created_at):
    pass

# Convert to JSON-serializable types
@task
def good_task(user_id, created_at_iso):
    created_at = datetime.fromisoformat(created_at_iso)
    dates.append(created_at)
"""
    tasks = started.module("tasks", example)

    with pytest.raises(TypeError, match="Unsupported type: "):
        started.run(
            """
from .tasks import *

bad_task.enqueue(123, datetime.now())  # TypeError!
""",
            name="bad",
        )
    started.run(
        """
from .tasks import *

good_task.enqueue(123, datetime.now().isoformat())  # OK
"""
    )

    [attempt] = started.emulator.attempts
    assert attempt.status == 200
    [seen] = tasks.dates
    assert timedelta(0) <= datetime.now() - seen < timedelta(minutes=5)  # noqa: DTZ005


@pytest.mark.parametrize(
    "value",
    [
        "datetime.now()",
        "datetime.now().date()",
        "datetime.now().time()",
        "UUID(int=1)",
        "Decimal('1.5')",
        "object()",
    ],
)
def test_parameters_that_are_not_supported(started: Project, value: str) -> None:
    with pytest.raises(TypeError, match="Unsupported type: "):
        started.run(
            f"""
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.tasks import task

@task
def any_task(value):
    pass

any_task.enqueue({value})
"""
        )
    assert started.emulator.attempts == []


def test_parameters_that_are_supported(started: Project) -> None:
    started.run(
        """
from django.tasks import task

@task
def give_back(*values):
    return list(values)

give_back.enqueue("text", 1, 1.5, True, None, {"key": [1]}, [1, 2], (3, 4))
"""
    )

    expected = ["text", 1, 1.5, True, None, {"key": [1]}, [1, 2], [3, 4]]
    assert started.returned == [expected]


def test_task_with_priority(project: Project) -> None:
    bands = {0: "default", 10: "urgent", -10: "bulk"}
    start(project, EXPLICIT, SECRET=SECRET, PRIORITY_QUEUES=bands)

    project.run(
        """
from django.tasks import task

@task(priority=10)  # Higher priority
def urgent_task():
    pass

@task(priority=-10)  # Lower priority
def background_task():
    pass

urgent_task.enqueue()
background_task.enqueue()
"""
    )

    queues = [attempt.queue for attempt in project.emulator.attempts]
    assert sorted(queues) == ["bulk", "urgent"]
    priorities = {r.task.name: r.task.priority for r in project.finished}
    assert priorities == {"urgent_task": 10, "background_task": -10}


def test_delayed_execution(started: Project) -> None:
    started.module(
        "tasks",
        """
from django.tasks import task

@task
def my_task():
    return "done"
""",
    )
    before = datetime.now(UTC)
    example = started.module(
        "example",
        """
from .tasks import my_task

from datetime import timedelta
from django.utils import timezone

# Run 1 hour from now
delayed_task = my_task.using(run_after=timezone.now() + timedelta(hours=1))
result = delayed_task.enqueue()
""",
    )

    assert (started.emulator.pending, started.emulator.attempts) == (1, [])
    with started.live.client() as client:
        stored = client.get_task(name=example.result.name)
    assert stored.schedule_time == example.delayed_task.run_after
    assert stored.schedule_time - before >= timedelta(hours=1)
    started.emulator.advance(hours=1, seconds=1)
    assert started.returned == ["done"]
    assert started.finished[0].task.run_after == example.delayed_task.run_after


def test_task_with_context(started: Project) -> None:
    example = started.run(
        """
from django.tasks import task

@task(takes_context=True)
def task_with_context(context, message):
    task_id = context.task_result.id
    attempt = context.attempt
    return f"Task {task_id} (attempt {attempt}): {message}"

result = task_with_context.enqueue("hello")
"""
    )

    assert started.returned == [f"Task {example.result.id} (attempt 1): hello"]


def test_queue_specific_tasks(started: Project) -> None:
    started.run(
        """
from django.tasks import task

@task(queue_name="high-priority")
def urgent_notification():
    pass

urgent_notification.enqueue()
"""
    )

    [attempt] = started.emulator.attempts
    assert (attempt.queue, attempt.status) == ("high-priority", 200)
    assert started.finished[0].task.queue_name == "high-priority"


def test_configuration_options(project: Project) -> None:
    start(project, EVERY_OPTION)
    welcome(project)

    assert project.backend().check() == []
    [attempt] = project.emulator.attempts
    assert attempt.status == 200
    claims = claims_of(attempt.headers["Authorization"])
    assert claims["email"] == "cloud-tasks-invoker@your-project.iam.gserviceaccount.com"
    assert claims["aud"] == "https://your-app.run.app"
    assert project.returned == ["Email sent to user123@example.com"]


@pytest.fixture
def cloud_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a Cloud Run service."""
    server = MetadataServer(CLOUD_RUN)
    server.start()
    monkeypatch.setenv("GCE_METADATA_HOST", server.address)
    monkeypatch.setenv("K_SERVICE", "myapp")
    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    environment.reset()
    yield
    server.stop()


@pytest.mark.usefixtures("cloud_run")
@pytest.mark.parametrize(
    ("settings", "email"),
    [
        (MINIMAL, "app@your-project-id.example"),
        (OIDC, "cloud-tasks-invoker@PROJECT_ID.iam.gserviceaccount.com"),
    ],
    ids=["minimal", "oidc"],
)
def test_auto_detection(project: Project, settings: str, email: str) -> None:
    # With an emulator nothing is detected: what would be sent is looked at.
    start(project, settings, EMULATOR_HOST=None, EMULATOR_HTTP_HOST=None)

    backend = project.backend()
    transport = get_transport(backend.settings)
    target = transport.target(backend.settings)

    assert isinstance(transport, GoogleTransport)
    url = "https://myapp-123456789012.asia-northeast1.run.app/cloudtasks/"
    assert target.url == url
    assert (target.project, target.location) == (PROJECT, LOCATION)
    assert target.oidc is not None
    assert (target.oidc.email, target.oidc.audience) == (email, url)
    assert backend.check() == []
