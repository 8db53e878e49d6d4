"""
Tasks that run again and again. An optional Django app.

    INSTALLED_APPS += ["cloudtask.results", "cloudtask.schedules"]

Schedules as rows belong here, their slots, and the two engines that bring
ticks. When a slot is due is computed by `cloudtask.planning`; how its task is
sent, run and kept, the core and `cloudtask.results` know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from cloudtask.schedules.models import ScheduledTask

# Models cannot be imported before the apps are ready, and this module is
# imported to make them so.

__all__ = [
    "delete_scheduled_task",
    "pause_scheduled_task",
    "resume_scheduled_task",
    "run_scheduled_task",
    "schedule_task",
]


def schedule_task(
    task: Any,
    cron: str | None = None,
    *,
    name: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    timezone: str | None = None,
    every: timedelta | None = None,
    catch_up: str | int = "latest",
    overlap: str = "run",
    spread: timedelta | None = None,
    starts: datetime | None = None,
    ends: datetime | None = None,
    enabled: bool = True,
) -> ScheduledTask:
    """
    Schedule a task, or change the schedule of this name.

    Args:
        task: What `@task` has made, cloudtask's or Django's.
        cron: Five fields of unix cron, as in "0 3 * * *".
        name: What the schedule is called. By default the task's path.
        args: Positional arguments of each run.
        kwargs: Keyword arguments of each run.
        timezone: Name of a time zone. By default Django's TIME_ZONE.
        every: A timedelta in place of `cron`, which divides an hour or a day.
        catch_up: "latest", "none" or "all", or how many late slots are run.
        overlap: What becomes of a slot while the run before it is not over:
            "run", "skip" or "wait".
        spread: A timedelta over which runs are spread.
        starts: Aware datetime; no slot is before.
        ends: Aware datetime; no slot is after.
        enabled: False makes it paused.

    Returns:
        Its row. `pk` is what `delete_scheduled_task()` takes.

    Raises:
        InvalidSchedule: Something of it is wrong, or the name is that of a
            schedule of the code.
    """
    from cloudtask.schedules import control

    return control.schedule_task(
        task,
        name=name,
        args=args,
        kwargs=kwargs or {},
        is_enabled=enabled,
        **{"cron": cron, "every": every, "timezone": timezone, "catch_up": catch_up},
        **{"overlap": overlap, "spread": spread, "starts": starts, "ends": ends},
    )


def delete_scheduled_task(pk: int) -> bool:
    """
    Delete a schedule, here and at Cloud Scheduler.

    Args:
        pk: Of its row.

    Returns:
        Whether there was one.
    """
    from cloudtask.schedules import control

    return control.delete_scheduled_task(pk)


def pause_scheduled_task(pk: int) -> bool:
    """
    Pause a schedule: no slot is run or counted as missed until it is resumed.

    Returns:
        Whether it ran.
    """
    from cloudtask.schedules import control

    return control.pause(pk)


def resume_scheduled_task(pk: int) -> bool:
    """
    Resume a schedule, with its first slot from now on.

    Returns:
        Whether it was paused.
    """
    from cloudtask.schedules import control

    return control.resume(pk)


def run_scheduled_task(pk: int) -> str:
    """
    Run a schedule's task now, beside its slots.

    Returns:
        The task's id, for `cloudtask.results`.

    Raises:
        ScheduledTask.DoesNotExist: There is none.
    """
    from cloudtask.schedules import control

    return control.run_now(pk)
