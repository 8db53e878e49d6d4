"""Django tasks that tests share. Imported by conftest, with TASKS in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from cloudtask import Reject, Retry, RetryPolicy
from cloudtask.backends.attempts import CloudTaskContext
from cloudtask.backends.definitions import CloudTask
from cloudtask.framework import task
from tests.tasks import ran

#: Where `alook` ran last.
loops: list[asyncio.AbstractEventLoop] = []


def with_options(**options: Any) -> Callable[[Callable[..., Any]], CloudTask]:
    """`@task(**options)`, on Django 6.0 too, where it takes none."""
    fields = {"priority": 0, "backend": "default", "queue_name": "default"}
    return lambda func: CloudTask(func=func, run_after=None, **fields, **options)


@task
def add(a: int = 5, b: int = 4) -> int:
    """Add."""
    ran.append(("add", a, b))
    return a + b


@task
async def aadd(a: int = 5, b: int = 4) -> int:
    ran.append(("aadd", a, b))
    return a + b


@task(takes_context=True)
def look(context: CloudTaskContext, *args: Any) -> None:
    ran.append(context)


@task(takes_context=True)
async def alook(context: CloudTaskContext, *args: Any) -> None:
    loops[:] = [asyncio.get_running_loop()]
    ran.append(context)


@task
def keep(*args: Any, **kwargs: Any) -> None:
    ran.append((args, kwargs))


@task
def fail(message: str = "broken") -> None:
    ran.append(("fail", message))
    raise ValueError(message)


@task
async def afail(message: str = "broken") -> None:
    ran.append(("fail", message))
    raise ValueError(message)


@with_options(retry=RetryPolicy(max_attempts=2))
def fail_twice() -> None:
    ran.append("fail_twice")
    raise ValueError("broken")


@with_options(retry=RetryPolicy(max_attempts=1))
def use_up(items: list[object]) -> None:
    items.append(object())
    raise ValueError("used up")


@with_options(retry=RetryPolicy(max_attempts=1))
def ask_in_vain() -> None:
    raise Retry("not yet")


@task
def reject() -> None:
    ran.append("reject")
    raise Reject("never")


@task
def try_again() -> None:
    ran.append("try_again")
    raise Retry("not yet", after=timedelta(seconds=7))


@task(takes_context=True)
def come_later(context: CloudTaskContext) -> str:
    ran.append(context.attempt)
    if context.attempt > 1:
        return "came"
    raise Retry("busy", after=timedelta(hours=1))


@task(takes_context=True)
async def acome_later(context: CloudTaskContext) -> str:
    ran.append(context.attempt)
    if context.attempt > 1:
        return "came"
    raise Retry("busy", after=timedelta(hours=1))


@task(takes_context=True)
def come_again(context: CloudTaskContext) -> str:
    ran.append(context.attempt)
    if context.attempt < 3:
        raise Retry("busy")
    return "came"


@task(takes_context=True)
def third_time_lucky(context: CloudTaskContext) -> str:
    ran.append((context.attempt, context.request.previous_response))
    if context.attempt < 3:
        raise ValueError("no luck")
    return "lucky"


@task
def leave(kind: str) -> None:
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[kind]


@task
async def aleave(kind: str) -> None:
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[kind]


@task
def give(kind: str) -> Any:
    return GIFTS[kind]


@with_options(
    timeout=timedelta(minutes=20),
    retry=RetryPolicy(
        max_attempts=7,
        min_backoff=timedelta(milliseconds=250),
        max_backoff=timedelta(minutes=3),
        max_doublings=4,
        max_retry_duration=timedelta(hours=2),
    ),
)
def patient() -> None: ...


class Reports:
    """A place for tasks."""

    @task
    def monthly() -> None:  # type: ignore[misc]
        ran.append("monthly")

    number = 5


class EndlessList(list[Any]):
    """Contains itself."""

    def __init__(self) -> None:
        super().__init__([self])


#: What a task may return.
GIFTS: dict[str, Any] = {
    "pair": (1, b"two"),
    "set": {1},
    "bytes": b"\xff",
    "endless": EndlessList(),
}

#: Former names.
sum_up = add
#: No tasks.
number = 5
plain = add.func


# For tests that decorate them.


def context_first(context: CloudTaskContext) -> None: ...


def context_second(a: int, context: CloudTaskContext) -> None: ...


def no_arguments() -> None: ...


# Tasks that their paths do not lead to.


def _send() -> None:
    ran.append("send")


send = task(_send)


class Letters:
    @staticmethod
    @task
    def write() -> None:
        ran.append("write")


@task
def shadowed() -> None:
    ran.append("first")


shadowed_before = shadowed


@task
def shadowed() -> None:
    ran.append("second")
