"""Tasks that note that they ran."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cloudtask import CloudTaskRequest, RetryPolicy, task
from tests.reliability.served.models import Effect
from tests.reliability.served.notes import note
from tests.reliability.served.points import reach


@contextmanager
def run(request: CloudTaskRequest, **more: str) -> Iterator[None]:
    note("begin", request.id, **more)
    try:
        yield
    finally:
        note("end", request.id)


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


@task
def work(request: CloudTaskRequest, seconds: float) -> str:
    """Take so long, half of it before the effect and half of it after."""
    with run(request):
        wait(seconds / 2)
        reach("in the body", request.id)
        Effect.objects.get_or_create(task=request.id)
        wait(seconds / 2)
    return request.id


@task
def falter(request: CloudTaskRequest, seconds: float) -> None:
    """Raise in the first run, which takes twice as long as the second."""
    with run(request):
        _, is_first = Effect.objects.get_or_create(task=request.id)
        wait(seconds)
        if is_first:
            wait(seconds)
            raise ValueError("the first run")


@task
def poison(request: CloudTaskRequest, seconds: float) -> None:
    """End the process that runs it."""
    note("begin", request.id)
    wait(seconds)
    note("killed", request.id)
    os.kill(os.getpid(), signal.SIGKILL)


@task(retry=RetryPolicy(max_attempts=2))
def exhaust(request: CloudTaskRequest, seconds: float) -> None:
    """Take all memory that there is."""
    with run(request):
        blocks = []
        while True:
            blocks.append(bytes(2**24))


@task(retry=RetryPolicy(max_attempts=2))
def recurse(request: CloudTaskRequest, seconds: float) -> None:
    """Call itself without an end."""
    with run(request):
        _deeper(0)


def _deeper(depth: int) -> int:
    return _deeper(depth + 1) + 1


@task
def ship(request: CloudTaskRequest, number: str) -> None:
    """What an order's transaction enqueues."""
    with run(request, number=number):
        pass
