"""System checks of schedules: what they need of the settings."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from cloudtask.conf import get_settings
from cloudtask.dispatch.kinds import find_settings
from cloudtask.exceptions import CloudTaskError, ConfigurationError
from cloudtask.planning.declarations import list_declared
from cloudtask.results.settings import get_results_settings
from cloudtask.schedules.engines import get_engine


@register(Tags.security)
def check_results(**kwargs: Any) -> list[CheckMessage]:
    """Whether results are kept of scheduled tasks: else a slot may be lost."""
    return [
        Error(
            f"The schedule {declaration.name!r} runs {declaration.task.path}, whose "
            "results are not kept: a slot could be lost.",
            hint="Set RESULTS to 'all' where its settings are.",
            id="cloudtask.E032",
        )
        for declaration in list_declared()
        if not _are_kept(declaration.task.backend)
    ]


@register(Tags.security)
def check_engine(**kwargs: Any) -> list[CheckMessage]:
    """Whether what SCHEDULER chooses is installed."""
    try:
        get_settings()
    except ConfigurationError:
        return []  # Other checks tell what is wrong.
    try:
        get_engine()
    except ConfigurationError as error:
        return [Error(str(error), id="cloudtask.E034")]
    return []


def _are_kept(backend: str | None) -> bool:
    try:
        return get_results_settings(find_settings(backend)).results == "all"
    except CloudTaskError:
        return True  # Other checks tell what is wrong.
