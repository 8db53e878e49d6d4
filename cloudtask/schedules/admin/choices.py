"""The tasks that people choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.planning.declarations import list_schedulable

if TYPE_CHECKING:
    from cloudtask.planning.declarations import Schedulable
    from cloudtask.schedules.models import ScheduledTask


def list_choices() -> dict[str, Schedulable]:
    """List the tasks that may be scheduled, by what a form calls them."""
    return {
        _make_key(task.kind, task.backend or "", task.path): task
        for task in list_schedulable()
    }


def find_task(row: ScheduledTask) -> Schedulable | None:
    """Find the task of a schedule; None if it may not be scheduled now."""
    return list_choices().get(_make_key(row.kind, row.backend, row.path))


def _make_key(kind: str, backend: str, path: str) -> str:
    return f"{kind}:{backend}:{path}"
