"""What a Django task asks of Cloud Tasks: a queue, a time, and policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from cloudtask.conf import clock
from cloudtask.enqueue.schedule_time import find_schedule_time
from cloudtask.exceptions import CloudTaskError
from cloudtask.framework import DEFAULT_TASK_QUEUE_NAME, InvalidTask, Task
from cloudtask.wire.retry import RetryPolicy
from cloudtask.wire.task_fields import find_deadline_problem

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.conf import Settings


def find_queue(settings: Settings, task: Task[..., Any]) -> str:
    """
    The name at Google of the queue that a task goes to.

    Raises:
        InvalidTask: Django's. There is none.
    """
    name: str | None = task.queue_name
    if task.priority:
        if name != DEFAULT_TASK_QUEUE_NAME:
            raise InvalidTask(
                f"{task.module_path}: priority={task.priority} chooses the queue; "
                f"leave queue_name={name!r} out, or the priority."
            )
        name = None
    try:
        return settings.queue_for(name, task.priority)
    except CloudTaskError as error:
        raise InvalidTask(f"{task.module_path}: {error}") from error


def find_task_time(task: Task[..., Any]) -> datetime | None:
    """
    When a task is due; None is "at once".

    Raises:
        InvalidTask: Django's. It is further ahead than Cloud Tasks schedules.
    """
    if task.run_after is None:
        return None
    now = clock.now()
    schedule_time = find_schedule_time(now, _make_aware(task.run_after) - now)
    if schedule_time is None:
        raise InvalidTask(
            f"run_after={task.run_after!r} is more than 30 days ahead, further than "
            "Cloud Tasks schedules."
        )
    return schedule_time


def check_policies(task: Task[..., Any]) -> None:
    """
    Check `timeout` and `retry` of a task.

    Raises:
        InvalidTask: Django's. A policy of the task is wrong.
    """
    # A task of another backend, sent here by using(), has none.
    timeout, retry = getattr(task, "timeout", None), getattr(task, "retry", None)
    problem = find_deadline_problem(timeout) if timeout is not None else None
    if problem is not None:
        raise InvalidTask(f"{task.module_path}: timeout= {problem}")
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise InvalidTask(
            f"{task.module_path}: retry= must be a RetryPolicy, not {retry!r}."
        )


def _make_aware(moment: datetime) -> datetime:
    if timezone.is_aware(moment):
        return moment
    # Only without USE_TZ, where times are those of TIME_ZONE.
    return timezone.make_aware(moment, timezone.get_default_timezone())
