"""What the types promise. Only mypy runs this."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from django.http import HttpRequest
from django.http.request import HttpHeaders

from cloudtask import (
    CloudTaskRequest,
    EnqueuedTask,
    Reject,
    Retry,
    RetryPolicy,
    Task,
    TaskDefinition,
    task,
)
from cloudtask.decorators import task as dj_cloud_task
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import MemoryTransport


@task
def bare(request: CloudTaskRequest, a: int = 5, b: int = 4) -> int:
    return a + b


@task()
def called(request: CloudTaskRequest, to: str) -> None: ...


@task(
    queue="emails",
    url="https://shop.example/_tasks/",
    named=lambda to, **rest: f"mail-{to}",
    headers={"X-Shop": "berlin"},
    deadline=timedelta(minutes=5),
    retry=RetryPolicy(max_attempts=3),
    priority=0,
    on_commit=False,
    path="shop.tasks.mail",
    aliases=("shop.mail",),
)
def optioned(request: CloudTaskRequest, to: str, *cc: str, urgent: bool) -> str:
    return to


@task
async def later(request: CloudTaskRequest, a: int) -> float:
    return a / 2


@task(named=True)
async def named_later(request: CloudTaskRequest) -> list[str]:
    return []


@task
def untyped_request(request, a: int) -> int:  # type: ignore[no-untyped-def]
    return a


@dj_cloud_task
def imported_as_before(request: CloudTaskRequest) -> bytes:
    return b""


# A definition has the parameters of its function, the request left out.

assert_type(bare(1, b=2), Task[int])
assert_type(called("a@b.c"), Task[None])
assert_type(optioned("a", "b", urgent=True), Task[str])
assert_type(later(1), Task[float])
assert_type(named_later(), Task[list[str]])
assert_type(imported_as_before(), Task[bytes])

bare("x", 2)  # type: ignore[arg-type]
bare(c=2)  # type: ignore[call-arg]
bare(1, 2, 3)  # type: ignore[call-arg]
called()  # type: ignore[call-arg]
called(to=5)  # type: ignore[arg-type]
optioned("a")  # type: ignore[call-arg]
later(a="x")  # type: ignore[arg-type]
named_later(1)  # type: ignore[call-arg]

# Run in place, a task gives its function's value, also that of `async def`.

assert_type(bare(1, 2).execute(), int)
assert_type(bare(1, 2)(), int)
assert_type(later(1).execute(), float)
assert_type(later(1)(), float)
assert_type(imported_as_before().execute(), bytes)


async def run_in_place() -> None:
    assert_type(await bare(1).aexecute(), int)
    assert_type(await later(1).aexecute(), float)
    assert_type(await named_later().aexecute(), list[str])


# Enqueued, it gives what became of the task.

assert_type(bare(1).delay(), EnqueuedTask)
assert_type(bare(1).push(), EnqueuedTask)
assert_type(bare(1).schedule(after=timedelta(hours=1)), EnqueuedTask)
assert_type(later(1).delay(on_commit=False, using="other"), EnqueuedTask)
assert_type(bare(1).delay().name, str | None)

bare(1).delay(5)  # type: ignore[call-arg, arg-type]
bare(1).schedule(after=60)  # type: ignore[arg-type]
bare(1).schedule(at="tomorrow")  # type: ignore[arg-type]
bare(1).delay(on_commit="no")  # type: ignore[arg-type]


async def enqueue() -> None:
    assert_type(await bare(1).adelay(), EnqueuedTask)
    assert_type(await bare(1).apush(), EnqueuedTask)
    assert_type(await later(1).aschedule(after=timedelta(hours=1)), EnqueuedTask)


# The URL may be changed, the queue may not.

bound = called("a@b.c")
bound.url = "https://mysite.com/tasks"
bound.url = 5  # type: ignore[assignment]
bound.queue = "other"  # type: ignore[misc]
assert_type(bound.url, str)
assert_type(bound.queue, str)


# A task of any value can be passed on as one of `object`.


def enqueue_all(tasks: list[Task[int]]) -> Task[object]:
    return tasks[0]


def run_all(definition: TaskDefinition[[int], float]) -> float:
    return definition(1).execute()


run_all(later)
run_all(called)  # type: ignore[arg-type]
enqueue_all([bare(1), untyped_request(1)])
enqueue_all([called("a")])  # type: ignore[list-item]

# The decorator's options are checked.

task(quue="emails")  # type: ignore[call-overload]
task(queue=5)  # type: ignore[call-overload]
task(deadline=60)  # type: ignore[call-overload]
task(retry=3)  # type: ignore[call-overload]
task(aliases="shop.mail")  # type: ignore[call-overload]
task("emails")  # type: ignore[call-overload]


@task  # type: ignore[arg-type]
def no_request() -> None: ...


# What a task's function is given, and what it may raise.


@task
def introspective(request: CloudTaskRequest) -> None:
    assert_type(request.id, str)
    assert_type(request.attempt, int)
    assert_type(request.is_last_attempt, bool)
    assert_type(request.previous_response, int | None)
    assert_type(request.trace_id, str | None)
    assert_type(request.request, HttpRequest | None)
    assert_type(request.headers, HttpHeaders)
    assert_type(request.remaining(), timedelta | None)
    if request.is_last_attempt:
        raise Reject("enough")
    raise Retry("not yet", after=timedelta(minutes=1))


with memory_queue() as queue:
    assert_type(queue, MemoryTransport)
