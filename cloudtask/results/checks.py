"""System checks of the results app."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Tags, register

from cloudtask.checks import all_settings
from cloudtask.exceptions import ConfigurationError
from cloudtask.results.leases import lease_time


@register(Tags.database)
def check_retries(**kwargs: Any) -> list[CheckMessage]:
    """
    Whether a task outlives the lease of a worker that died with it.

    While the lease holds, its attempts are answered 409, and counted.
    """
    try:
        everyone = list(all_settings())
        lease = lease_time()
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
