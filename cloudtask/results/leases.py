"""Leases: who holds a task, and for how long without a sign of life."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from cloudtask.conf import get_settings
from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.models import TaskRecord
from cloudtask.results.settings import get_results_settings

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: How many workers may die with a task before it fails.
MAX_INTERRUPTIONS = 3
#: How long a lease holds without a sign of life, unless the settings say.
LEASE = timedelta(seconds=30)


class Lease:
    """One attempt's lease of a task."""

    __slots__ = (
        "is_cancelled",
        "progress",
        "task_id",
        "token",
        "until",
        "written_progress",
    )

    def __init__(self, task_id: str, token: str) -> None:
        self.task_id = task_id
        self.token = token
        #: By this process's clock. It is read before the database's.
        self.until = compute_expiry()
        self.is_cancelled = False
        #: Its progress, which the heart writes when it is new, and its end.
        self.progress: dict[str, Any] = {}
        self.written_progress = self.progress

    @property
    def held_row(self) -> QuerySet[TaskRecord]:
        """The task's row, as long as the lease is held."""
        return TaskRecord.objects.filter(pk=self.task_id, lease=self.token)

    def holds(self) -> bool:
        """Whether no other worker can have the task yet."""
        return monotonic() < self.until


def get_lease_time() -> timedelta:
    """Get the time that a lease holds without a sign of life."""
    return get_results_settings(get_settings()).lease or LEASE


def compute_expiry() -> float:
    """Compute when a new lease expires, by this process's clock."""
    return monotonic() + get_lease_time().total_seconds()


def make_expiry() -> Any:
    """Make that moment by the database's clock."""
    return shift(Now(), get_lease_time())
