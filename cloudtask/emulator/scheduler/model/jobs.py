"""A job: what CreateJob and UpdateJob accept, and what is stored of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.cloud import scheduler_v1

from cloudtask.emulator.scheduler import refusals
from cloudtask.emulator.scheduler.limits import MAX_DESCRIPTION_LENGTH, MAX_JOB_SIZE
from cloudtask.emulator.scheduler.model import retries, targets
from cloudtask.emulator.values import fields, instants

if TYPE_CHECKING:
    from collections.abc import Sequence

ENABLED = scheduler_v1.Job.State.ENABLED
PAUSED = scheduler_v1.Job.State.PAUSED

_NEVER_RUN = -1
_OUTPUT_ONLY = (
    *("user_update_time", "state", "status"),
    *("schedule_time", "last_attempt_time"),
)
# What an update names and does not change.
_IGNORED = frozenset({"name", *_OUTPUT_ONLY})


@dataclass(slots=True, eq=False)
class StoredJob:
    """A job as the store keeps it."""

    id: int  # The store's number of it.
    message: Any  # The google.cloud.scheduler.v1.Job, without schedule_time.
    next_slot: int | None  # When it is due by its schedule; None while paused.
    phase: int | None  # What an interval is counted from; None before a run.

    @property
    def name(self) -> str:
        """Its full name."""
        name: str = self.message.name
        return name

    @property
    def is_enabled(self) -> bool:
        """Whether it runs by its schedule."""
        enabled: bool = self.message.state == ENABLED
        return enabled


def check(message: Any) -> None:
    """Raise ApiError unless a named job, but for its schedule, is valid."""
    if len(message.description) > MAX_DESCRIPTION_LENGTH:
        raise refusals.bad_field(
            "Job.description", f"must be at most {MAX_DESCRIPTION_LENGTH} characters"
        )
    targets.check(message)
    if message.HasField("retry_config"):
        retries.check(message.retry_config)
    if message.ByteSize() > MAX_JOB_SIZE:
        raise refusals.bad_field("Job", "must be at most 1 MB in all")


def fill(message: Any, now: int) -> None:
    """Fill the defaults into a checked job that is new."""
    for field in _OUTPUT_ONLY:
        message.ClearField(field)
    fill_settings(message, now)
    message.state = ENABLED
    message.status.code = _NEVER_RUN


def fill_settings(message: Any, now: int) -> None:
    """Fill the defaults into what a user sets, and say that it was set."""
    targets.fill(message)
    if message.HasField("retry_config"):
        retries.RetryPolicy.read(message.retry_config).fill(message.retry_config)
    instants.write(message.user_update_time, now)


def update(message: Any, given: Any, paths: Sequence[str]) -> None:
    """
    Give a job, in place, what an UpdateJob sets.

    Args:
        message: The job.
        given: The request's.
        paths: Of the request's mask. An empty one is all that is set.

    Raises:
        ApiError: The mask names no field, or the zone of a job is left out.
    """
    paths = paths or [field.name for field, _ in given.ListFields()]
    for path in paths:
        _check_path(message, path)
    tops = {path.partition(".")[0] for path in paths}
    is_without_zone = "time_zone" in tops and message.time_zone and not given.time_zone
    if "schedule" in tops and is_without_zone:
        raise refusals.bad_schedule()
    for path in paths:
        if path.partition(".")[0] not in _IGNORED:
            fields.replace(message, given, path)


def _check_path(message: Any, path: str) -> None:
    """Refuse what is not a field, and names as they are in JSON."""
    found = fields.resolve(message.DESCRIPTOR, path)
    if found is None or ".".join(field.name for field in found) != path:
        raise refusals.bad_mask(path)
    if any(fields.is_list_of_messages(field) for field in found[:-1]):
        raise refusals.bad_mask(path)
