"""Django tasks on Google Cloud Tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtask.enqueue.decorators import task
    from cloudtask.enqueue.enqueued import EnqueuedTask
    from cloudtask.enqueue.scheduling import schedulable, schedule
    from cloudtask.enqueue.tasks import Task, TaskDefinition
    from cloudtask.exceptions import Reject, Retry
    from cloudtask.wire.request import CloudTaskRequest
    from cloudtask.wire.retry import RetryPolicy

__version__ = "0.1.0"

__all__ = [
    "CloudTaskRequest",
    "EnqueuedTask",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Task",
    "TaskDefinition",
    "schedulable",
    "schedule",
    "task",
]

_HOMES = {
    "CloudTaskRequest": "cloudtask.wire.request",
    "EnqueuedTask": "cloudtask.enqueue.enqueued",
    "Reject": "cloudtask.exceptions",
    "Retry": "cloudtask.exceptions",
    "RetryPolicy": "cloudtask.wire.retry",
    "Task": "cloudtask.enqueue.tasks",
    "TaskDefinition": "cloudtask.enqueue.tasks",
    "schedulable": "cloudtask.enqueue.scheduling",
    "schedule": "cloudtask.enqueue.scheduling",
    "task": "cloudtask.enqueue.decorators",
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
