"""What this process has loaded, and what it runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.core import checks
from django.core.checks import Error

from cloudtask.dispatch.workers import GREEN_THREADS_STOP, green_threads
from cloudtask.enqueue import registry
from cloudtask.planning.declarations import list_declared, list_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage


def check_tasks() -> Iterator[CheckMessage]:
    """Check that no two functions claim one task path."""
    for conflict in registry.list_conflicts():
        yield Error(str(conflict), id="cloudtask.E011")


def check_schedules() -> Iterator[CheckMessage]:
    """Check the schedules that code declares, and that something runs them."""
    for problem in list_problems():
        yield Error(problem, id="cloudtask.E031")
    declared = list_declared()
    if declared and not apps.is_installed("cloudtask.schedules"):
        paths = ", ".join(sorted({each.task.path for each in declared}))
        yield checks.Warning(
            f"Nothing runs the schedules of {paths}: 'cloudtask.schedules' is not in "
            "INSTALLED_APPS.",
            hint="Add it, beside 'cloudtask.results', and run `manage.py migrate`.",
            id="cloudtask.W033",
        )


def check_threads() -> Iterator[CheckMessage]:
    """Check that gRPC can work with the threads of this process."""
    kind = green_threads()
    if kind not in (None, "gevent"):
        yield checks.Warning(
            GREEN_THREADS_STOP % kind,
            hint="Use workers with threads or gevent, or an ASGI server.",
            id="cloudtask.W030",
        )
