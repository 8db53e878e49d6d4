"""`@task`."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from cloudtask.enqueue.options import TaskOptions, read_options
from cloudtask.enqueue.scheduling import schedulable, schedule
from cloudtask.enqueue.signatures import check_sensitive
from cloudtask.enqueue.tasks import TaskDefinition

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import timedelta

    from cloudtask.wire.retry import RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")


class _Decorator(Protocol):
    @overload
    def __call__(
        self, func: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> TaskDefinition[P, R]: ...
    @overload
    def __call__(
        self, func: Callable[Concatenate[Any, P], R], /
    ) -> TaskDefinition[P, R]: ...


@overload
def task(
    func: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
) -> TaskDefinition[P, R]: ...
@overload
def task(func: Callable[Concatenate[Any, P], R], /) -> TaskDefinition[P, R]: ...
@overload
def task(
    *,
    queue: str | None = None,
    url: str | None = None,
    named: bool | str | Callable[..., str] = False,
    headers: Mapping[str, str] | None = None,
    deadline: timedelta | None = None,
    retry: RetryPolicy | None = None,
    priority: int = 0,
    on_commit: bool | None = None,
    path: str | None = None,
    aliases: tuple[str, ...] = (),
    run_once: bool = False,
    sensitive: tuple[str, ...] = (),
    cron: str | None = None,
    timezone: str | None = None,
    schedulable: bool = False,
) -> _Decorator: ...
def task(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """
    Turn a function into a task definition.

    Used bare, `@task`, or with options, `@task(queue="emails")`. The function
    gets a CloudTaskRequest first, then the arguments of the call.

    Args:
        queue: Queue name, or an alias of CLOUDTASK['QUEUE_ALIASES'].
        url: Target in place of CLOUDTASK['URL'].
        named: True gives all tasks of this function one name, a string names
            them, a callable gets the arguments and returns what to name this
            one. A second task of the name raises TaskAlreadyExists, up to 24
            hours after the first has ended.
        headers: Further headers of the dispatch.
        deadline: Time for one attempt, 15 seconds to 30 minutes.
        retry: When a failed attempt is repeated, and how often.
        priority: Chooses a queue of CLOUDTASK['PRIORITY_QUEUES'].
        on_commit: False sends inside a transaction, too.
        path: Registered path, in place of the function's own.
        aliases: Former paths. Tasks that were enqueued under them still run.
        run_once: In place of `retry`: one attempt. With `cloudtask.results` it
            is not run again if its worker dies, either.
        sensitive: Names of arguments whose values nobody is to see.
        cron: Five fields of unix cron, by which it is run without arguments.
            `@schedule` takes more. Needs `cloudtask.schedules`.
        timezone: The time zone of `cron`. By default Django's TIME_ZONE.
        schedulable: Whether people may schedule it in the admin.

    Raises:
        InvalidTask: An option or the function's signature is wrong.
    """
    checked = read_options(options)
    if func is not None:
        return _definition(func, checked)
    return lambda function: _definition(function, checked)


def _definition(
    func: Callable[..., Any], options: TaskOptions
) -> TaskDefinition[..., Any]:
    check_sensitive(func, options.sensitive)
    definition: TaskDefinition[..., Any] = TaskDefinition(func, options)
    if options.cron is not None:
        definition = schedule(options.cron, timezone=options.timezone)(definition)
    return schedulable(definition) if options.schedulable else definition
