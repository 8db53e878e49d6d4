"""All of it compared: the code, the rows, and what brings their ticks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cloudtask.conf import clock
from cloudtask.exceptions import CloudTaskError, InvalidSchedule
from cloudtask.planning.declarations import list_declared, list_problems
from cloudtask.schedules import declared
from cloudtask.schedules.changes import Change, Comparison, Step, Verb
from cloudtask.schedules.engines import get_engine
from cloudtask.schedules.models import ScheduledTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime


def compare_all() -> Comparison:
    """
    Compare the schedules of the code, rows, and ticks. Nothing is changed.

    Returns:
        What is to be done. With problems in it, nothing can be.

    Raises:
        CloudTaskError: They cannot be compared.
    """
    before = list(ScheduledTask.objects.all())
    comparison, rows = declared.compare(list_declared(), before)
    # A wrong one is not among those that are declared, and would be deleted.
    comparison.problems += list_problems()
    if not comparison.problems:
        changed = {step.name for step in comparison.steps}
        comparison.steps += _find_stale(row for row in rows if row.name not in changed)
        gone = {row.uid for row in before} - {row.uid for row in rows}
        comparison.add(get_engine().compare(rows, gone))
    return comparison


def apply_all(comparison: Comparison) -> Iterator[tuple[Step, CloudTaskError | None]]:
    """
    Do what a comparison has found, step by step.

    Args:
        comparison: One without problems.

    Yields:
        What was done, and why it was not.

    Raises:
        CloudTaskError: What is left cannot be compared.
    """
    yield from _take(each for each in comparison.steps if _is_about_rows(each))
    # Most jobs and ticks have followed their rows by now.
    yield from _take(each for each in compare_all().steps if not _is_about_rows(each))


def _is_about_rows(step: Step) -> bool:
    return step.what == declared.SCHEDULE


def _take(steps: Iterable[Step]) -> Iterator[tuple[Step, CloudTaskError | None]]:
    for step in steps:
        try:
            step.take()
        except CloudTaskError as error:
            yield step, error
        else:
            yield step, None


def _find_stale(rows: Iterable[ScheduledTask]) -> Iterator[Step]:
    """Find rows without their next slot, as bulk_create() leaves them."""
    now = clock.now()
    for row in rows:
        slot = _find_next(row, now) if row.next_at is None else None
        if slot is not None:
            yield Step(
                verb=Verb.CHANGE,
                what=declared.SCHEDULE,
                name=row.name,
                changes=(Change("next slot", "", slot.isoformat()),),
                take=partial(declared.save_changed, row.uid),
            )


def _find_next(row: ScheduledTask, now: datetime) -> datetime | None:
    try:
        return row.find_next(now)
    except InvalidSchedule:
        return None  # Of what is not valid there is none.
