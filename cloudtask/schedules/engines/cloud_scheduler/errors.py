"""Cloud Scheduler's errors, and ours in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc import StatusCode

from cloudtask.exceptions import SchedulerError
from cloudtask.transports.google.errors import is_retryable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cloudtask.transports.google.errors import Refused

#: What to do, where Google's own words do not say it.
_ADVICE: Mapping[StatusCode, str] = {
    StatusCode.PERMISSION_DENIED: (
        " Give the account that this process runs as roles/cloudscheduler.admin, and "
        "roles/iam.serviceAccountUser on the account of SAE."
    ),
    StatusCode.INVALID_ARGUMENT: (
        " If the region is meant, set SCHEDULER_LOCATION: Cloud Scheduler is not in "
        "all of them."
    ),
}


def make_error(
    what: str, refused: Refused, secrets: Iterable[str] = ()
) -> SchedulerError:
    """
    Make our error for one of Cloud Scheduler's.

    Args:
        what: What was asked for.
        refused: What came of it.
        secrets: Texts that the error must not show, whatever Google says.
    """
    details = str(refused.details)
    for secret in secrets:
        details = details.replace(secret, "...")
    advice = _ADVICE.get(refused.code, "")
    end = "" if details.endswith(".") else "."
    return SchedulerError(
        f"{what}: {refused.code.name}: {details}{end}{advice}",
        retryable=is_retryable(refused.code),
    )
