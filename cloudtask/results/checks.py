"""System checks of the results app."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import connections, router

from cloudtask.dispatch.kinds import find_all_settings
from cloudtask.exceptions import ConfigurationError
from cloudtask.results.leases import get_lease_time
from cloudtask.results.models import TaskError, TaskRecord

if TYPE_CHECKING:
    from collections.abc import Sequence


@register(Tags.database)
def check_retries(**kwargs: Any) -> list[CheckMessage]:
    """
    Whether a task outlives the lease of a worker that died with it.

    While the lease holds, its attempts are answered 409, and counted.
    """
    try:
        everyone = list(find_all_settings())
        lease = get_lease_time()
    except ConfigurationError:
        return []  # Told by the checks of the settings.
    return [
        checks.Warning(
            f"The attempts of {settings.path_of('RETRY')} may be used up while the "
            f"lease of a worker that died holds, {lease}: the task then waits for the "
            "sweeper.",
            hint="Give it more max_attempts, or a longer min_backoff.",
            id="cloudtask.W017",
        )
        for settings in everyone
        if settings.default_retry is not None
        and settings.default_retry.max_attempts != 1
        and not settings.default_retry.lasts(lease)
    ]


@register(Tags.security)
def check_apps(**kwargs: Any) -> list[CheckMessage]:
    """Whether the app that runs tasks is there, too."""
    if apps.is_installed("cloudtask"):
        return []
    return [
        checks.Warning(
            "'cloudtask.results' is in INSTALLED_APPS, and 'cloudtask' is not: no "
            "tasks.py is loaded, and there is no `manage.py cloudtask`.",
            hint="Add 'cloudtask' beside it.",
            id="cloudtask.W021",
        )
    ]


@register(Tags.database)
def check_tables(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Whether the tables are there, with all of their columns."""
    alias = router.db_for_write(TaskRecord)
    # What is about to be migrated is not told to migrate.
    if alias not in (databases or ()) or sys.argv[1:2] == ["migrate"]:
        return []
    if all(_has_table(alias, model) for model in (TaskRecord, TaskError)):
        return []
    return [
        checks.Warning(
            f"The tables of cloudtask.results in the database {alias!r} are not "
            "there, or not up to date: nothing can be enqueued or run.",
            hint="Run `manage.py migrate`.",
            id="cloudtask.W022",
        )
    ]


def _has_table(alias: str, model: type[TaskRecord] | type[TaskError]) -> bool:
    introspection = connections[alias].introspection
    table = model._meta.db_table
    if table not in introspection.table_names():
        return False
    with connections[alias].cursor() as cursor:
        described = introspection.get_table_description(cursor, table)
    wanted = {field.column for field in model._meta.concrete_fields}
    return wanted <= {column.name for column in described}
