"""Jobs of Cloud Scheduler, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.wire.outgoing import OidcToken


class State(StrEnum):
    """The state of a job. We only ever ask for the first two."""

    ENABLED = "ENABLED"
    PAUSED = "PAUSED"
    DISABLED = "DISABLED"  # By Cloud Scheduler, after an error.
    UPDATE_FAILED = "UPDATE_FAILED"  # It may not run until it is updated again.
    UNKNOWN = "STATE_UNSPECIFIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """
    How often a tick is repeated that was not answered by a 2xx.

    All fields that Cloud Scheduler would fill in are set, so that what it
    tells is what was sent.
    """

    count: int = 5
    within: timedelta = timedelta(0)  # Zero is no limit.
    min_backoff: timedelta = timedelta(seconds=5)
    max_backoff: timedelta = timedelta(hours=1)
    max_doublings: int = 5

    def __str__(self) -> str:
        return (
            f"{self.count} after {self.min_backoff} to {self.max_backoff}, "
            f"{self.max_doublings} doublings, within {self.within or 'any time'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job with an HTTP target, as it is wanted or as it was found."""

    name: str  # Full resource name.
    description: str
    schedule: str
    time_zone: str
    url: str
    # Not shown: they prove where a tick comes from.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"
    oidc: OidcToken | None = None
    deadline: timedelta = timedelta(minutes=1)
    retries: Retries = Retries()
    state: State = State.ENABLED

    @property
    def is_partial(self) -> bool:
        """
        Whether parts of its target were kept from us.

        Cloud Scheduler leaves them out for those without the permission
        `cloudscheduler.jobs.fullView`. Ours always have all three.
        """
        return not (self.url and self.headers and self.body)

    @property
    def is_broken(self) -> bool:
        """Whether only another update may have it run again."""
        return self.state not in (State.ENABLED, State.PAUSED)
