"""What people and code do with schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.conf import clock
from cloudtask.enqueue.scheduling import check_arguments, check_name, describe_task
from cloudtask.exceptions import InvalidSchedule
from cloudtask.planning.plans import make_plan
from cloudtask.schedules.arguments import write_arguments
from cloudtask.schedules.models import ScheduledTask
from cloudtask.schedules.runs import run_by_hand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudtask.planning.declarations import Schedulable
    from cloudtask.planning.plans import Plan


def schedule_task(
    task: Any,
    *,
    name: str | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    is_enabled: bool,
    **options: Any,
) -> ScheduledTask:
    """
    Schedule a task, or change the schedule of this name.

    Args:
        task: What `@task` has made.
        name: What the schedule is called; None means the task's path.
        args: Positional arguments of each run.
        kwargs: Keyword arguments of each run.
        is_enabled: False makes it paused.
        options: What `make_plan()` takes.

    Raises:
        InvalidSchedule: Something of it is wrong, or the code has the name.
    """
    described = describe_task(task)
    row = prepare_row(
        described,
        make_plan(**options),
        name=described.path if name is None else name,
        args=args,
        kwargs=kwargs,
        is_enabled=is_enabled,
    )
    row.save()
    return row


def prepare_row(
    task: Schedulable,
    plan: Plan,
    *,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    is_enabled: bool,
) -> ScheduledTask:
    """
    Make a row of a schedule, or change the one of its name, without saving it.

    Raises:
        InvalidSchedule: See schedule_task().
    """
    chosen = check_name(name)
    check_arguments(task, args, kwargs)
    row = ScheduledTask.objects.filter(name=chosen).first() or ScheduledTask(
        name=chosen
    )
    if row.is_declared:
        raise InvalidSchedule(
            f"The schedule {chosen!r} is declared by the code. Change it there, or "
            "give this one another name=."
        )
    describe_in_row(row, task, plan, args, kwargs)
    row.paused_at = None if is_enabled else clock.now()
    return row


def describe_in_row(
    row: ScheduledTask,
    task: Schedulable,
    plan: Plan,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    """Have a row say what is run and when, without saving it."""
    row.path, row.kind, row.backend = task.path, task.kind, task.backend or ""
    if task.using is not None:
        row.queue_name, row.priority = task.using.queue_name, task.using.priority
    row.arguments = write_arguments(args, kwargs)
    row.cron, row.time_zone = plan.cron.text, plan.zone.key
    row.catch_up, row.overlap = plan.catch_up, plan.overlap.value
    row.spread_seconds = int(plan.spread.total_seconds())
    row.starts_at, row.ends_at = plan.starts, plan.ends


def delete_scheduled_task(pk: int) -> bool:
    """Delete a schedule; False if there was none."""
    deleted, _ = ScheduledTask.objects.filter(pk=pk).delete()
    return bool(deleted)


def pause(pk: int) -> bool:
    """Pause a schedule; False if it was paused, or is not there."""
    row = ScheduledTask.objects.filter(pk=pk, paused_at=None).first()
    if row is None:
        return False
    row.paused_at = clock.now()
    row.save()
    return True


def resume(pk: int) -> bool:
    """Resume a schedule; False if it was not paused, or is not there."""
    row = ScheduledTask.objects.filter(pk=pk, paused_at__isnull=False).first()
    if row is None:
        return False
    row.paused_at = None
    row.save()
    return True


def run_now(pk: int) -> str:
    """
    Run a schedule's task now, beside its slots.

    Returns:
        The id of the run.

    Raises:
        ScheduledTask.DoesNotExist: There is none.
    """
    return run_by_hand(ScheduledTask.objects.get(pk=pk), clock.now())
