"""Task definitions, and functions that are none."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

from django.db import connections

from cloudtask import CloudTaskRequest, Reject, Retry, RetryPolicy, task
from tests.tasks import ran

#: Whether `block` runs, and whether it may go on.
entered, gate = threading.Event(), threading.Event()


@task
def catch_all(request: CloudTaskRequest, /, *args: Any, **kwargs: Any) -> None:
    ran.append((args, kwargs))


@task(retry=RetryPolicy(max_attempts=3))
def limited(request: CloudTaskRequest) -> None:
    ran.append(("limited", request.attempt))
    raise ValueError("words of the task's own")


@task
def wait(request: CloudTaskRequest, after: timedelta) -> None:
    ran.append(("wait", after))
    raise Retry("not yet", after=after)


@task
def say(request: CloudTaskRequest, reason: str) -> None:
    raise Reject(reason)


@task
async def loop(request: CloudTaskRequest) -> None:
    ran.append(asyncio.get_running_loop())


@task
def thread(request: CloudTaskRequest) -> None:
    ran.append(threading.current_thread())


@task
def block(request: CloudTaskRequest) -> None:
    entered.set()
    assert gate.wait(10), "Nothing went on beside the task."
    ran.append("block")


@task
def transactions(request: CloudTaskRequest) -> None:
    ran.append({c.alias: c.in_atomic_block for c in connections.all()})


def undecorated(*args: object, **kwargs: object) -> None:
    ran.append("undecorated")


def undecorated_without_arguments() -> None:
    ran.append("undecorated")
