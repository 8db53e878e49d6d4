"""`@schedule`, and what of a task its schedules have to know."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from cloudtask.conf import clock
from cloudtask.enqueue.tasks import TaskDefinition
from cloudtask.exceptions import EncodeError, InvalidSchedule
from cloudtask.planning import declarations
from cloudtask.planning.declarations import (
    MAX_NAME_LENGTH,
    Declaration,
    Schedulable,
)
from cloudtask.planning.plans import make_plan
from cloudtask.wire.payload import CLOUDTASK, DJANGO, Payload, Using, encode, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

_T = TypeVar("_T")


def schedule(
    cron: str | None = None,
    *,
    every: timedelta | None = None,
    timezone: str | None = None,
    name: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    catch_up: str | int = "latest",
    overlap: str = "run",
    spread: timedelta | None = None,
    starts: datetime | None = None,
    ends: datetime | None = None,
) -> Callable[[_T], _T]:
    """
    Schedule a task, as in `@schedule("0 3 * * *")` above its `@task`.

    Takes tasks of `@cloudtask.task` and of Django's framework, and may stand
    several times above one. `manage.py check` tells what is wrong with it.

    Args:
        cron: Five fields of unix cron.
        every: A timedelta in place of `cron`, which divides an hour or a day.
        timezone: Name of a time zone. By default Django's TIME_ZONE.
        name: What the schedule is called. By default the task's path; a second
            schedule of a task has to have one.
        args: Positional arguments of each run.
        kwargs: Keyword arguments of each run.
        catch_up: "latest", "none" or "all", or how many late slots are run.
        overlap: What becomes of a slot while the run before it is not over:
            "run", "skip" or "wait".
        spread: A timedelta over which runs are spread.
        starts: Aware datetime; no slot is before.
        ends: Aware datetime; no slot is after.
    """
    options = {
        **{"cron": cron, "every": every, "timezone": timezone, "catch_up": catch_up},
        **{"overlap": overlap, "spread": spread, "starts": starts, "ends": ends},
    }

    def decorate(task: _T) -> _T:
        _declare(describe_task(task), name, args, kwargs or {}, options)
        return task

    return decorate


def schedulable(task: _T) -> _T:
    """
    Let people schedule a task in the admin: `@schedulable` above its `@task`.

    Raises:
        InvalidSchedule: It is not a task.
    """
    declarations.allow(describe_task(task))
    return task


def describe_task(task: object) -> Schedulable:
    """
    Describe a task of either kind.

    Raises:
        InvalidSchedule: It is not a task.
    """
    if isinstance(task, TaskDefinition):
        return Schedulable(
            kind=CLOUDTASK,
            path=task.path,
            func=task.func,
            leading=1,
            sensitive=task.sensitive,
        )
    path = getattr(task, "module_path", None)
    if not isinstance(path, str):
        raise InvalidSchedule(
            f"{task!r} is not a task, so it cannot be scheduled. Put @schedule above "
            "@task, and pass schedule_task() what @task has made."
        )
    django_task: Any = task
    return Schedulable(
        kind=DJANGO,
        path=path,
        backend=django_task.backend,
        using=Using(django_task.queue_name, int(django_task.priority)),
        func=django_task.func,
        leading=int(django_task.takes_context),
        sensitive=getattr(django_task, "sensitive", ()),
    )


def check_arguments(
    task: Schedulable, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """
    Check that a task takes arguments, and that a payload carries them.

    Raises:
        InvalidSchedule: It does not.
    """
    try:
        signature = inspect.signature(task.func)
        signature.bind(*[None] * task.leading, *args, **kwargs)
        encode(make_payload(task, args, kwargs, new_id()))
    except (TypeError, EncodeError) as error:
        raise InvalidSchedule(f"{task.path}: args=, kwargs=: {error}") from None


def make_payload(
    task: Schedulable,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    id: str,  # noqa: A002 - the payload's field
) -> Payload:
    """Make the payload of one run of a task, enqueued now."""
    return Payload(
        id=id,
        task=task.path,
        args=tuple(args),
        kwargs=dict(kwargs),
        enqueued_at=clock.now(),
        kind=task.kind,
        backend=task.backend,
        using=task.using,
    )


def check_name(name: object) -> str:
    """
    Check the name of a schedule.

    Raises:
        InvalidSchedule: It is empty, too long, or not a line of text.
    """
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= MAX_NAME_LENGTH
        or not name.isprintable()
    ):
        raise InvalidSchedule(
            f"name={name!r} must be a line of 1 to {MAX_NAME_LENGTH} characters."
        )
    return name


def _declare(
    task: Schedulable,
    name: str | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    chosen = task.path[:MAX_NAME_LENGTH] if name is None else name
    try:
        declaration = Declaration(
            name=check_name(chosen),
            task=task,
            plan=make_plan(**options),
            args=tuple(args),
            kwargs=dict(kwargs),
        )
        check_arguments(task, declaration.args, declaration.kwargs)
    except InvalidSchedule as error:
        declarations.note_problem(task, str(chosen), str(error))
    else:
        declarations.declare(declaration)
