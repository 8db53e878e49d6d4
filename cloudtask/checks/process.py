"""What this process has loaded, and what it runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core import checks
from django.core.checks import Error

from cloudtask.dispatch.workers import GREEN_THREADS_STOP, green_threads
from cloudtask.enqueue import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage


def check_tasks() -> Iterator[CheckMessage]:
    for conflict in registry.list_conflicts():
        yield Error(str(conflict), id="cloudtask.E011")


def check_threads() -> Iterator[CheckMessage]:
    kind = green_threads()
    if kind not in (None, "gevent"):
        yield checks.Warning(
            GREEN_THREADS_STOP % kind,
            hint="Use workers with threads or gevent, or an ASGI server.",
            id="cloudtask.W030",
        )
