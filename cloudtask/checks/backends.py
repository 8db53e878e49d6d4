"""What is said of one backend of Django's tasks framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import Error

from cloudtask.exceptions import InvalidTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.core.checks import CheckMessage

    from cloudtask.conf import Settings


def check_queues(
    settings: Settings, alias: str, queues: Iterable[str]
) -> Iterator[CheckMessage]:
    names = sorted(queues)
    for name in names:
        try:
            settings.queue_for(name)
        except InvalidTask as error:
            yield Error(f"TASKS[{alias!r}]['QUEUES']: {error}", id="cloudtask.E013")
    unused = sorted(set(settings.queue_aliases) - set(names))
    if names and unused and settings.backend is not None:
        yield checks.Warning(
            f"{settings.path_of('QUEUE_ALIASES')} has aliases that "
            f"TASKS[{alias!r}]['QUEUES'] does not list: {', '.join(unused)}.",
            hint="Tasks that name them are refused. Add them to QUEUES.",
            id="cloudtask.W014",
        )


def check_bands(settings: Settings) -> Iterator[CheckMessage]:
    beyond = [band for band in settings.priority_queues if not -100 <= band <= 100]
    if beyond:
        yield Error(
            f"{settings.path_of('PRIORITY_QUEUES')} has priorities that no Django task "
            f"can have: {', '.join(map(str, sorted(beyond)))}.",
            hint="They go from -100 to 100.",
            id="cloudtask.E015",
        )


def check_borders(settings: Settings) -> Iterator[CheckMessage]:
    known = getattr(django_settings, "TASKS", {})
    unknown = [name for name in settings.accepts_tasks_of if name not in known]
    if unknown:
        yield checks.Warning(
            f"{settings.path_of('ACCEPTS_TASKS_OF')} names what TASKS does not have: "
            f"{', '.join(map(repr, unknown))}.",
            hint="List the aliases of backends, as in ['default'].",
            id="cloudtask.W027",
        )


def check_app() -> Iterator[CheckMessage]:
    yield checks.Warning(
        "'cloudtask' is not in INSTALLED_APPS: a process that has not loaded the "
        "module of a task cannot run it.",
        hint="Add it, so that the tasks.py of every app is loaded at the start.",
        id="cloudtask.W016",
    )
