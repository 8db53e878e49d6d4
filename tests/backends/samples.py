"""Settings, and what tests do again and again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, NamedTuple

from cloudtask.framework import (
    Task,
    task,
    task_enqueued,
    task_finished,
    task_started,
)
from cloudtask.transports.memory import StoredTask
from tests.security.sending import Answer, Send

BACKEND = "cloudtask.backends.CloudTasksBackend"
#: The package of the framework, which its logger is named after.
FRAMEWORK = Task.__module__.rpartition(".")[0]
IS_BACKPORT = FRAMEWORK == "django_tasks"
#: Whether `@task` takes the options of a backend's task class.
TAKES_OPTIONS = "kwargs" in signature(task).parameters
#: Whether tasks can be pickled, from Django 6.1 on.
IS_PICKLED = "__reduce__" in vars(Task)

TASKS: dict[str, Any] = {
    "default": {"BACKEND": BACKEND, "QUEUES": ["default", "emails"]},
    "immediate": {"BACKEND": f"{FRAMEWORK}.backends.immediate.ImmediateBackend"},
    "dummy": {"BACKEND": f"{FRAMEWORK}.backends.dummy.DummyBackend"},
}

#: For OPTIONS of a backend that runs the tasks of the first one, too.
THEIRS = {"ACCEPTS_TASKS_OF": ["default"]}

#: The secret of a second backend. CLOUDTASK has the first one's.
FIRST_SECRET = "a secret for tests of 32 bytes.."
SECOND_SECRET = "another secret, of the reports.."


class Told(NamedTuple):
    """A signal, as it was when it was sent."""

    signal: str
    sender: type
    result: Any
    status: str


@contextmanager
def recorded() -> Iterator[list[Told]]:
    """Keep what the signals tell."""
    received: list[Told] = []
    signals = {
        "enqueued": task_enqueued,
        "started": task_started,
        "finished": task_finished,
    }
    receivers = {}
    for name, signal in signals.items():

        def receive(
            sender: type, task_result: Any, _name: str = name, **kwargs: Any
        ) -> None:
            status = str(task_result.status)
            received.append(Told(_name, sender, task_result, status))

        receivers[name] = receive
        signal.connect(receive, weak=False)
    try:
        yield received
    finally:
        for name, signal in signals.items():
            signal.disconnect(receivers[name])


def with_options(alias: str = "default", **options: Any) -> dict[str, Any]:
    """TASKS with one backend, and these of its OPTIONS."""
    return {alias: {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": options}}


def body_of(stored: StoredTask) -> dict[str, Any]:
    document = json.loads(stored.sent.body)
    assert isinstance(document, dict)
    return document


def changed(stored: StoredTask, **changes: Any) -> bytes:
    """Its body, with other values for some keys."""
    return json.dumps(body_of(stored) | changes).encode()


def dispatch(
    send: Send,
    stored: StoredTask,
    *,
    attempt: int = 1,
    body: bytes | None = None,
    path: str = "/_tasks/",
    without: str = "",
    **headers: str,
) -> Answer:
    """Post a task as Cloud Tasks would, with its own headers."""
    all_headers = {
        **stored.sent.route.headers,
        "X-CloudTasks-TaskRetryCount": str(attempt - 1),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    all_headers.pop(without, None)
    return send(all_headers, stored.sent.body if body is None else body, path=path)
