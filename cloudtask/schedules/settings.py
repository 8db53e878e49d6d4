"""What this app has in CLOUDTASK."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cloudtask.conf import OncePerSettings, Settings
from cloudtask.conf.rows import Row
from cloudtask.conf.values import check_name
from cloudtask.exceptions import ConfigurationError
from cloudtask.results.settings import check_age
from cloudtask.wire import naming

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The engines: who brings the ticks.
CLOUD_TASKS, CLOUD_SCHEDULER = "tasks", "scheduler"
_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulesSettings:
    """The values of the app's keys, each checked."""

    scheduler: str = CLOUD_TASKS  # Which engine.
    scheduler_location: str | None = None  # Region of the jobs; else LOCATION.
    scheduler_prefix: str = "cloudtask"  # What the ids of our jobs begin with.
    prune_slots_after: timedelta = timedelta(days=30)  # How long slots are kept.


def _make(settings: Settings) -> SchedulesSettings:
    return settings.get_app_settings(SchedulesSettings)


get_schedules_settings = OncePerSettings(_make)


def _check_engine(key: str, value: object) -> str:
    if value not in (CLOUD_TASKS, CLOUD_SCHEDULER):
        raise ConfigurationError(
            key, f"must be 'tasks' or 'scheduler', the engine, not {value!r}."
        )
    return str(value)


def _check_prefix(key: str, value: object) -> str:
    if not isinstance(value, str) or _PREFIX.fullmatch(value) is None:
        raise ConfigurationError(
            key,
            "must be 1 to 40 lower-case letters, digits and hyphens, and begin with "
            f"a letter, not {value!r}.",
        )
    return value


_ALIKE = "all schedules of a project come from one engine."

ROWS: Mapping[str, Row] = {
    "SCHEDULER": Row(check=_check_engine, project_wide=_ALIKE),
    "SCHEDULER_LOCATION": Row(
        check=check_name("region, as in 'europe-west1'", naming.is_location),
        project_wide=_ALIKE,
    ),
    "SCHEDULER_PREFIX": Row(check=_check_prefix, project_wide=_ALIKE),
    "PRUNE_SLOTS_AFTER": Row(
        check=check_age, project_wide="the slots of all backends are pruned alike."
    ),
}
