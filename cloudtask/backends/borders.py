"""
Which tasks may run through which backend: the one rule.

A task belongs to the backend that it is declared for. It runs through another
one only where both accept exactly the same credentials, or where the settings
of the other one name its own. So a credential never reaches further than the
backends that it was made for.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cloudtask.backends.base import find_backend
from cloudtask.backends.finding import find_task
from cloudtask.exceptions import (
    ConfigurationError,
    InvalidCredentials,
    TaskNotFound,
)

if TYPE_CHECKING:
    from cloudtask.conf import Settings
    from cloudtask.framework import Task
    from cloudtask.wire.payload import Payload


def check_border(payload: Payload, backend: str) -> None:
    """
    Refuse a dispatch that takes a task across a border.

    Args:
        payload: A dispatch's.
        backend: Alias of the backend that has accepted its credentials.

    Raises:
        InvalidCredentials: They do not reach as far as the task.
        TaskNotFound: This process has no such task.
        MetadataUnavailable: Nobody can tell now.
    """
    # The task as it is declared: using() names the backend that it crosses to.
    problem = find_border_problem(find_task(payload.task), backend)
    if problem is not None:
        raise InvalidCredentials(problem)


def find_border_problem(task: Task, backend: str) -> str | None:  # type: ignore[type-arg]
    """
    Why a task may not run through a backend; None if it may.

    Args:
        task: The task, perhaps as `using()` changed it.
        backend: Alias of a backend of this package.

    Raises:
        MetadataUnavailable: Nobody can tell now.
    """
    home = _home_of(task)
    if home == backend:
        return None
    settings = find_backend(backend).settings
    if home in settings.accepts_tasks_of or _accepts_the_same(settings, home):
        return None
    return (
        f"{task.module_path} is declared for the backend {home!r}, and does not run "
        f"through {backend!r}, which accepts other credentials. Give both the same, or "
        f"list {home!r} in TASKS[{backend!r}]['OPTIONS']['ACCEPTS_TASKS_OF']."
    )


def _home_of(task: Task) -> str:  # type: ignore[type-arg]
    """Alias of the backend that a task is declared for."""
    # Else it has another name than its function, or is not loaded yet.
    with suppress(TaskNotFound):
        task = find_task(task.module_path)
    return str(task.backend)


def _accepts_the_same(settings: Settings, home: str) -> bool:
    try:
        other = find_backend(home).settings
        return other is settings or (
            other.accepted_credentials() == settings.accepted_credentials()
        )
    except (ConfigurationError, InvalidCredentials):
        return False  # It is wrong, another package's, or gone.
