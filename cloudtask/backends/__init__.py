"""
Google Cloud Tasks as a backend of Django's tasks framework.

    TASKS = {"default": {"BACKEND": "cloudtask.backends.CloudTasksBackend"}}

A backend's OPTIONS take the keys of CLOUDTASK and stand in for them.

Here is all that knows of that framework: the backend, the framework's tasks,
results and signals, and what a payload of kind "django" means. What a dispatch
is, and how a task is handed over, is the same for all tasks and elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtask.backends.backend import CloudTasksBackend

__all__ = ["CloudTasksBackend"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: a process that has no such backend in TASKS asks
    # for the kind of these tasks alone.
    if name != "CloudTasksBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cloudtask.backends.backend import CloudTasksBackend

    globals()[name] = CloudTasksBackend
    return CloudTasksBackend
