"""
Schedules of the code, and their rows: how they differ, and what is to be done.

A row is known by the uid that follows from its schedule's name. Whether it is
paused is a matter of people, and stays as it is.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import router, transaction

from cloudtask.schedules.changes import Change, Comparison, Step, Verb
from cloudtask.schedules.control import describe_in_row
from cloudtask.schedules.models import ScheduledTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cloudtask.planning.declarations import Declaration

#: What steps are taken to.
SCHEDULE = "schedule"
#: The columns that a declaration says, and what people call them.
_COLUMNS: Mapping[str, str] = {
    "name": "name",
    "path": "task",
    "kind": "kind",
    "backend": "backend",
    "queue_name": "queue",
    "priority": "priority",
    "cron": "cron",
    "time_zone": "time zone",
    "catch_up": "catch_up",
    "overlap": "overlap",
    "spread_seconds": "spread",
    "starts_at": "starts",
    "ends_at": "ends",
    "arguments": "arguments",
}
#: They may hold what is not for a log.
_HIDDEN = ("arguments",)


def compare(
    declarations: Iterable[Declaration], rows: Sequence[ScheduledTask]
) -> tuple[Comparison, list[ScheduledTask]]:
    """
    Compare the schedules of the code with all rows. Nothing is saved.

    Args:
        declarations: The schedules of the code.
        rows: All there are. Those that differ are changed, in memory.

    Returns:
        What is to be done, and the rows as they are when it is done.
    """
    declared = {each.uid: each for each in declarations}
    gone = {row.uid: row for row in rows if row.is_declared and row.uid not in declared}
    stay = {row.uid: row for row in rows if row.uid not in gone}
    comparison = Comparison()
    comparison.problems += _find_conflicts(declared, stay.values())
    # First, as their names may be wanted.
    comparison.steps += map(_make_deletion, gone.values())
    for uid, declaration in declared.items():
        row = stay.setdefault(uid, ScheduledTask(uid=uid, is_declared=True))
        comparison.steps += _find_steps(row, _make_wanted(declaration))
    return comparison, sorted(stay.values(), key=lambda row: row.name)


def _find_conflicts(
    declared: Mapping[str, Declaration], rows: Iterable[ScheduledTask]
) -> Iterator[str]:
    names = {each.name: uid for uid, each in declared.items()}
    for row in rows:
        if names.get(row.name, row.uid) != row.uid:
            yield (
                f"The code declares a schedule {row.name!r}, and somebody has made "
                "another one of this name. Rename or delete theirs, or give that of "
                "the code another name=."
            )


def _make_wanted(declaration: Declaration) -> ScheduledTask:
    row = ScheduledTask(name=declaration.name)
    describe_in_row(
        row, declaration.task, declaration.plan, declaration.args, declaration.kwargs
    )
    return row


def _find_steps(row: ScheduledTask, wanted: ScheduledTask) -> Iterator[Step]:
    changes = tuple(_take_over(row, wanted))
    if row._state.adding:
        shown = tuple(each for each in changes if each.new)
        yield _make_step(Verb.CREATE, row, row.save, shown)
    elif changes:
        take = partial(save_changed, row.uid, wanted)
        yield _make_step(Verb.CHANGE, row, take, changes)


def save_changed(uid: str, wanted: ScheduledTask | None = None) -> None:
    """
    Save a row as another one says, with what people have changed meanwhile.

    Args:
        uid: Of the row. One that is gone is left alone.
        wanted: What the code says. None saves it as it is.
    """
    with transaction.atomic(router.db_for_write(ScheduledTask)):
        row = ScheduledTask.objects.select_for_update().filter(uid=uid).first()
        if row is not None:
            if wanted is not None:
                list(_take_over(row, wanted))
            row.save()


def _take_over(row: ScheduledTask, wanted: ScheduledTask) -> Iterator[Change]:
    """Have a row say what another one says, and tell what was changed."""
    for column, field in _COLUMNS.items():
        old, new = getattr(row, column), getattr(wanted, column)
        if old != new:
            setattr(row, column, new)
            is_hidden = column in _HIDDEN
            yield Change(field) if is_hidden else Change(field, _show(old), _show(new))


def _show(value: Any) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _make_deletion(row: ScheduledTask) -> Step:
    return _make_step(Verb.DELETE, row, row.delete)


def _make_step(
    verb: Verb,
    row: ScheduledTask,
    take: Callable[[], object],
    changes: tuple[Change, ...] = (),
) -> Step:
    return Step(verb=verb, what=SCHEDULE, name=row.name, changes=changes, take=take)
