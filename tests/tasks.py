"""Task definitions that tests share."""

from __future__ import annotations

from cloudtask import CloudTaskRequest, Reject, Retry, task

#: What the tasks below did, in order. Emptied before each test.
ran: list[object] = []


@task
def add(request: CloudTaskRequest, a: int = 5, b: int = 4) -> int:
    ran.append(("add", a, b))
    return a + b


@task
async def aadd(request: CloudTaskRequest, a: int = 5, b: int = 4) -> int:
    ran.append(("aadd", a, b))
    return a + b


@task
def inspect(request: CloudTaskRequest) -> None:
    ran.append(request)


@task
def fail(request: CloudTaskRequest, message: str = "broken") -> None:
    ran.append(("fail", message))
    raise ValueError(message)


@task
def try_again(request: CloudTaskRequest) -> None:
    ran.append(("try_again", request.attempt))
    raise Retry("not yet")


@task
def reject(request: CloudTaskRequest) -> None:
    ran.append(("reject",))
    raise Reject("never")


@task(named=True)
def clean(request: CloudTaskRequest) -> None:
    ran.append(("clean",))
