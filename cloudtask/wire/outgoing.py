"""One task on its way to Cloud Tasks, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudtask.wire import naming

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from cloudtask.wire.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcToken:
    """Whom Cloud Tasks signs a dispatch as, and for whom."""

    email: str
    audience: str


@dataclass(slots=True, kw_only=True, eq=False)
class Route:
    """
    Where and how the tasks of one definition go: all that they share.

    Never changed once made, but for `prepared`.
    """

    queue_path: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    deadline: timedelta | None = None
    retry: RetryPolicy | None = None
    oidc: OidcToken | None = None
    prepared: Any = field(default=None, repr=False)  # For the transport to keep.

    @property
    def queue(self) -> str:
        """The queue's name, without its path."""
        return self.queue_path.rpartition("/")[2]


# Not frozen, which would double what it costs to make one for each task.
@dataclass(slots=True, kw_only=True)
class OutgoingTask:
    """One task as Cloud Tasks is to store it. Never changed once made."""

    id: str  # The payload's.
    path: str  # The task definition's.
    route: Route
    body: bytes = field(repr=False)
    task_id: str | None = None  # None lets Cloud Tasks choose one.
    schedule_time: datetime | None = None
    # Beside its route's. Not shown: they prove where it comes from.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str | None:
        if self.task_id is None:
            return None
        return f"{self.route.queue_path}/tasks/{self.task_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where tasks of these settings go, and what proves who sent them."""

    project: str = "local"
    location: str = "local"
    url: str | None = None  # None leaves it to each task.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    oidc: OidcToken | None = None

    def queue_path(self, queue: str) -> str:
        return naming.make_queue_path(self.project, self.location, queue)
