"""
The examples of dj-cloud-task's README, run as they are written there.

Each is a module of a project that is made for the test. It enqueues through
Google's client to the emulator, which dispatches to the project, live.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from django.test import override_settings

from cloudtask.conf import get_settings
from cloudtask.emulator import Emulator
from cloudtask.enqueue import registry
from cloudtask.exceptions import TaskAlreadyExists
from cloudtask.transports import get_transport
from cloudtask.transports.google import GoogleTransport
from tests.live import Live, live

PACKAGE = "seedproject"

SETTINGS = """
INSTALLED_APPS: list = [
    'cloudtask',
]

CLOUDTASK: dict = {
    'PROJECT': 'project',
    'LOCATION': 'europe-west6',
    'SAE': 'user@project.iam.gserviceaccount.com',
    'URL': 'https://handler.com/_tasks/',
    'QUEUE': 'default',
    'SECRET': 'my-very-secrete-key'
}
"""

URLS = """
from django.urls import path, include

urlpatterns: list = [
    path('_tasks/', include('cloudtask.urls'))
]
"""

#: Where the URLs of the README's other examples lead.
MORE_URLS = """
urlpatterns += [
    path('emails-tasks', include('cloudtask.urls')),
    path('tasks', include('cloudtask.urls')),
]
"""

ADD = """
from cloudtask import CloudTaskRequest, task

@task(queue='default')
def add(request: CloudTaskRequest, a: int = 5, b: int = 4) -> None:
    print(f'Running task with args {a=} and {b=}')
    print(a + b)
"""

#: One at a time, so that what tasks print does not mix.
QUEUES = (
    "default:max_concurrent_dispatches=1",
    "emails:max_concurrent_dispatches=1",
)


@dataclass
class Project:
    """A Django project whose modules are written by the test."""

    root: Path
    stack: ExitStack
    _live: list[Live] = field(default_factory=list)

    def module(self, name: str, source: str) -> ModuleType:
        """Write a module of the project and import it."""
        (self.root / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return importlib.import_module(f"{PACKAGE}.{name}")

    def start(self, tasks: str = ADD) -> None:
        """Make the project of the README, with these tasks, and run it."""
        (self.root / "tasks.py").write_text(tasks)
        settings = self.module("settings", SETTINGS)
        self.module("urls", URLS + MORE_URLS)
        self.stack.enter_context(
            override_settings(
                INSTALLED_APPS=[*settings.INSTALLED_APPS, PACKAGE],
                ROOT_URLCONF=f"{PACKAGE}.urls",
            )
        )
        cloudtask = dict(settings.CLOUDTASK)
        # It names a host that is not this one.
        del cloudtask["URL"]
        self._live.append(self.stack.enter_context(live(*QUEUES, **cloudtask)))

    @property
    def live(self) -> Live:
        return self._live[0]

    @property
    def emulator(self) -> Emulator:
        return self.live.emulator

    def run(self, source: str, name: str = "example") -> ModuleType:
        """Run an example, and what it enqueues to its end."""
        module = self.module(name, source)
        self.live.finish()
        return module


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    root = tmp_path / PACKAGE
    root.mkdir()
    (root / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with ExitStack() as stack:
        yield Project(root, stack)
    for name in list(sys.modules):
        if name.partition(".")[0] == PACKAGE:
            del sys.modules[name]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_settings_of_the_readme_are_understood(project: Project) -> None:
    project.start()

    settings = get_settings()
    assert (settings.project, settings.location) == ("project", "europe-west6")
    assert settings.sae == "user@project.iam.gserviceaccount.com"
    assert (settings.queue, settings.secret) == ("default", "my-very-secrete-key")
    assert isinstance(get_transport(settings), GoogleTransport)


def test_run_tasks(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.start()
    project.run(
        """
from .tasks import add

add(a=10, b=30).delay()
# or use the alias push
add(a=30, b=10).push()
"""
    )

    assert printed(capsys) == [
        "Running task with args a=10 and b=30",
        "40",
        "Running task with args a=30 and b=10",
        "40",
    ]
    first, second = project.emulator.attempts
    assert (first.status, second.status) == (200, 200)
    assert first.name.startswith(
        "projects/project/locations/europe-west6/queues/default/tasks/"
    )
    assert first.headers["X-Task-Secret"] == "my-very-secrete-key"
    assert first.headers["Authorization"].startswith("Bearer ")


def test_a_task_may_be_imported_from_the_decorators_module(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.start(
        """
from cloudtask.decorators import task

@task
def hello(request):
    print('Hello')
"""
    )
    project.run("from .tasks import hello\n\nhello().delay()\n")

    assert printed(capsys) == ["Hello"]


SEND_EMAIL = """
from cloudtask import task

@task(queue='emails', url='{origin}/emails-tasks')
def send_email(request, to: str):
    print('to', to, request.request.path, request.queue)
"""


def test_the_url_attribute(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.start()
    origin = project.live.origin
    project.module("mails", SEND_EMAIL.format(origin=origin))
    project.run("from .mails import send_email\n\nsend_email(to='a@a.com').delay()\n")

    assert printed(capsys) == ["to a@a.com /emails-tasks emails"]
    assert project.emulator.attempts[0].url == f"{origin}/emails-tasks"


def test_the_url_can_be_changed_at_run_time(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.start()
    origin = project.live.origin
    project.module("mails", SEND_EMAIL.format(origin=origin))
    project.run(
        f"""
from .mails import send_email

task = send_email(to='a@a.com')
task.url = '{origin}/tasks'
task.push()
"""
    )

    assert printed(capsys) == ["to a@a.com /tasks emails"]
    assert project.emulator.attempts[0].url == f"{origin}/tasks"


def test_the_queue_attribute(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.start(
        """
from cloudtask import task

@task(queue='default')
def send_email(request, to: str):
    print('to', to)
"""
    )
    project.run(
        """
from .tasks import send_email

send_email('a@a.com').delay()
"""
    )

    assert printed(capsys) == ["to a@a.com"]
    assert project.emulator.attempts[0].queue == "default"


CREATING_AND_PUSH = """
from cloudtask import CloudTaskRequest, task

@task()
def say_yes(rquest) -> None:
    print('Yes')

@task(queue='default', named=True)
def add(request: CloudTaskRequest, a: int = 5, b: int = 4) -> None:
    print(f'Running task with args {a=} and {b=}')
    print(a + b)
"""


def test_creating_and_push(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.start(CREATING_AND_PUSH)
    project.run(
        """
from .tasks import add, say_yes

# Pushing to Cloud Task

say_yes().delay() # or with push
add().push()
"""
    )

    assert printed(capsys) == ["Yes", "Running task with args a=5 and b=4", "9"]


def test_immediately_execute_a_task(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.start()
    project.run(
        """
from .tasks import add
add(a=5, b=3).__call__()
# or using the alias
add(a=5, b=3)()
# or using the execute method
add(a=5, b=3).execute()
"""
    )

    assert printed(capsys) == ["Running task with args a=5 and b=3", "8"] * 3
    assert project.emulator.attempts == []


def test_scheduling(project: Project) -> None:
    project.start()
    before = datetime.now(UTC)
    example = project.module(
        "example",
        """
from datetime import timedelta
from django.utils.timezone import now
from .tasks import add

at = now() + timedelta(days=2)
enqueued = add(a=3, b=6).schedule(at=at)
""",
    )

    assert project.emulator.pending == 1
    assert project.emulator.attempts == []
    with project.live.client() as client:
        stored = client.get_task(name=example.enqueued.name)
    assert stored.schedule_time == example.at
    assert example.at - before >= timedelta(days=2)


def test_a_scheduled_task_runs_when_its_time_has_come(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.start()
    example = project.run(
        """
from datetime import timedelta
from django.utils.timezone import now
from .tasks import add

at = now() + timedelta(milliseconds=300)
add(a=3, b=6).schedule(at=at)
"""
    )

    assert printed(capsys) == ["Running task with args a=3 and b=6", "9"]
    [attempt] = project.emulator.attempts
    assert attempt.dispatch_time >= example.at


def test_unnamed_tasks_may_be_equal(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.start()
    project.run(
        """
from .tasks import add

add(a=3, b=6).delay()
add(a=3, b=6).delay()
add(a=3, b=6).delay()
"""
    )

    assert printed(capsys) == ["Running task with args a=3 and b=6", "9"] * 3
    assert len({attempt.name for attempt in project.emulator.attempts}) == 3


def test_named_tasks(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.start(
        """
from cloudtask import task

@task(named=True)
def clean_expired(request):
    print('clean')
"""
    )

    with pytest.raises(TaskAlreadyExists) as caught:
        project.run(
            """
from .tasks import clean_expired

clean_expired().delay()
clean_expired().delay() # this line will raise an entity error by Cloud Task
"""
        )
    project.live.finish()
    assert printed(capsys) == ["clean"]
    [attempt] = project.emulator.attempts
    assert caught.value.name == attempt.name
    assert attempt.task_id.endswith("-seedproject-tasks-clean_expired")
