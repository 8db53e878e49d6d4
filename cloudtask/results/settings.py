"""What this app has in CLOUDTASK."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cloudtask.conf import OncePerSettings, Settings
from cloudtask.conf.rows import Row
from cloudtask.conf.values import check_positive
from cloudtask.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Range of a lease: a shorter one is lost in a pause, and a longer one keeps
#: the task of a dead worker waiting.
MIN_LEASE, MAX_LEASE = timedelta(seconds=5), timedelta(minutes=10)
#: The least for which what is known of a task is kept.
MIN_AGE = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsSettings:
    """The values of the app's keys, each checked."""

    results: str = "all"  # What is kept: "all", "errors" or "none".
    lease: timedelta | None = None  # How long it holds without a sign of life.
    max_errors: int = 20  # Attempts of one task whose errors are kept.
    prune_after: timedelta | None = None  # For successful tasks, by traffic.
    prune_failed_after: timedelta | None = None  # For failed ones.


def _make(settings: Settings) -> ResultsSettings:
    return settings.get_app_settings(ResultsSettings)


get_results_settings = OncePerSettings(_make)


def _check_results(key: str, value: object) -> str:
    if value not in ("all", "errors", "none"):
        raise ConfigurationError(
            key, f"must be 'all', 'errors' or 'none', not {value!r}."
        )
    return str(value)


def _check_lease(key: str, value: object) -> timedelta:
    if not isinstance(value, timedelta) or not MIN_LEASE <= value <= MAX_LEASE:
        raise ConfigurationError(
            key, f"must be a timedelta from 5 seconds to 10 minutes, not {value!r}."
        )
    return value


def check_age(key: str, value: object) -> timedelta:
    """
    Check for how long something is kept.

    Raises:
        ConfigurationError: It is not a timedelta of an hour or more.
    """
    if not isinstance(value, timedelta) or value < MIN_AGE:
        raise ConfigurationError(
            key, f"must be a timedelta of an hour or more, not {value!r}."
        )
    return value


_PRUNED_ALIKE = "the rows of all backends are pruned alike."

ROWS: Mapping[str, Row] = {
    "RESULTS": Row(check=_check_results),
    "LEASE": Row(
        check=_check_lease,
        project_wide="one thread prolongs the leases of all backends.",
    ),
    "MAX_ERRORS": Row(
        check=check_positive,
        project_wide="the rows of all backends are kept alike.",
    ),
    "PRUNE_AFTER": Row(check=check_age, project_wide=_PRUNED_ALIKE),
    "PRUNE_FAILED_AFTER": Row(check=check_age, project_wide=_PRUNED_ALIKE),
}
