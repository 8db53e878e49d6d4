"""Schedules as rows, of tasks that may be scheduled here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.exceptions import CloudTaskError
from cloudtask.planning.declarations import list_schedulable
from cloudtask.schedules.control import prepare_row
from cloudtask.schedules.importers.entries import Found, Problem, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.planning.declarations import Schedulable
    from cloudtask.schedules.importers.entries import Entry


def make_rows(
    found: Found, paths: Mapping[str, str], *, is_dry_run: bool
) -> list[Entry]:
    """
    Make a row of each schedule, or change the one of its name.

    Args:
        found: What a file holds. Problems are added to it.
        paths: Paths of tasks here, by what the file calls them. Others have
            the path that is their name.
        is_dry_run: Whether nothing is to be kept.

    Returns:
        The schedules that have a row now, or would have.
    """
    made = []
    for entry in found.entries:
        try:
            _make_row(entry, paths.get(entry.task, entry.task), is_dry_run)
        except (CloudTaskError, Unsupported) as error:
            found.problems.append(Problem(entry.where, str(error)))
        else:
            made.append(entry)
    return made


def _make_row(entry: Entry, path: str, is_dry_run: bool) -> None:
    row = prepare_row(
        _find_task(path),
        entry.plan,
        name=entry.name,
        args=entry.args,
        kwargs=entry.kwargs,
        is_enabled=entry.is_enabled,
    )
    if not is_dry_run:
        row.save()


def _find_task(path: str) -> Schedulable:
    found = [task for task in list_schedulable() if task.path == path]
    if len(found) == 1:
        return found[0]
    if found:
        raise Unsupported(f"several tasks are called {path!r}. Give one another path.")
    raise Unsupported(
        f"no task that may be scheduled is called {path!r}. Say @schedulable above "
        f"its @task, or which one it is by --map {path}=PATH."
    )
