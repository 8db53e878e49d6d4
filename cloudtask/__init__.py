"""Django tasks on Google Cloud Tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtask.attempts import CloudTaskRequest
    from cloudtask.decorators import task
    from cloudtask.exceptions import Reject, Retry
    from cloudtask.retry import RetryPolicy
    from cloudtask.tasks import Task, TaskDefinition
    from cloudtask.transports.base import EnqueuedTask

__version__ = "0.1.0"

__all__ = [
    "CloudTaskRequest",
    "EnqueuedTask",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Task",
    "TaskDefinition",
    "task",
]

_HOMES = {
    "CloudTaskRequest": "cloudtask.attempts",
    "EnqueuedTask": "cloudtask.transports.base",
    "Reject": "cloudtask.exceptions",
    "Retry": "cloudtask.exceptions",
    "RetryPolicy": "cloudtask.retry",
    "Task": "cloudtask.tasks",
    "TaskDefinition": "cloudtask.tasks",
    "task": "cloudtask.decorators",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a process that imports cloudtask only to list it
    # in INSTALLED_APPS pays nothing for it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
