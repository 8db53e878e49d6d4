"""
Tasks that note that they ran.

All bear what is done to them: a run beside another one of the same task, and
a connection that dies or that another task left changed.
"""

import asyncio
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import time
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    InterfaceError,
    connection,
    connections,
)

from cloudtask import CloudTaskRequest, Retry, RetryPolicy, task
from tests.reliability.served import untidy
from tests.reliability.served.models import Effect
from tests.reliability.served.notes import note
from tests.reliability.served.points import reach


@contextmanager
def run(request: CloudTaskRequest, **more: str) -> Iterator[None]:
    note("begin", request.id, **more)
    try:
        yield
    except asyncio.CancelledError:
        # As an `async def` task is whose client has hung up.
        note("cancelled", request.id)
        raise
    finally:
        note("end", request.id)


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


_T = TypeVar("_T")
#: More than any outage lasts.
_TRIES = 200


def bear(write: Callable[[], _T]) -> _T:
    """Make a write of this project, whatever has become of its connection."""
    if connection.in_atomic_block:
        # Another task never left it, and nothing in it would last.
        _connect_anew()
    for _ in range(_TRIES):
        try:
            return write()
        except (DatabaseError, InterfaceError):
            _connect_anew()
            wait(0.05)
    return write()


def _connect_anew() -> None:
    with suppress(DatabaseError, InterfaceError):
        connection.close()
    del connections[DEFAULT_DB_ALIAS]


def have_effect(request: CloudTaskRequest) -> bool:
    """Write what a task is for. False if an earlier run did."""
    _, is_first = bear(lambda: Effect.objects.get_or_create(task=request.id))
    return is_first


@task
def work(request: CloudTaskRequest, seconds: float) -> str:
    """Take so long, half of it before the effect and half of it after."""
    with run(request):
        wait(seconds / 2)
        reach("in the body", request.id)
        have_effect(request)
        request.progress(1, 2, "half")
        wait(seconds / 2)
    return request.id


@task
async def awork(request: CloudTaskRequest, seconds: float) -> str:
    """See work(), on the server's loop."""
    with run(request):
        await asyncio.sleep(seconds / 2)
        await sync_to_async(have_effect)(request)
        request.progress(1, 2, "half")
        await asyncio.sleep(seconds / 2)
    return request.id


@task
def boast(request: CloudTaskRequest, seconds: float) -> str:
    """Tell all sorts of progress, some of which is refused."""
    with run(request):
        have_effect(request)
        for values in _BOASTS:
            with suppress(Exception):
                request.progress(*values)
            wait(seconds / 2 / len(_BOASTS))
        wait(seconds / 2)
    return request.id


_BOASTS: tuple[tuple[Any, ...], ...] = (
    ("7 of 9",),
    (1, "9"),
    (-1, 2),
    (10**20, 10**21),
    (math.inf,),
    (1, 2, "\x00 and \ud800"),
    (1, 2, object()),
    (object(),),
    # Last, so that it is there for longest, and what the end would write.
    (math.nan, 9),
)


@task
def leave_untidy(request: CloudTaskRequest, seconds: float) -> str:
    """Leave its connection in a state of its own, and take so long."""
    with run(request):
        have_effect(request)
        way = bear(lambda: untidy.leave(request.id))
        note("left", request.id, way=way)
        wait(seconds)
    return request.id


@task
def falter(request: CloudTaskRequest, seconds: float) -> None:
    """Raise in the first run, which takes twice as long as the second."""
    with run(request):
        is_first = have_effect(request)
        wait(seconds)
        if is_first:
            wait(seconds)
            raise ValueError("the first run")


@task
def postpone(request: CloudTaskRequest, seconds: float) -> str:
    """Ask for another time, so much later, and be done then."""
    with run(request):
        have_effect(request)
        if request.arming.number == 0:
            note("postponed", request.id, until=time() + seconds)
            raise Retry("not yet", after=timedelta(seconds=seconds))
    return request.id


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
def look_in(request: CloudTaskRequest) -> None:
    """What schedules run: nothing."""


@task
def ship(request: CloudTaskRequest, number: str) -> None:
    """What an order's transaction enqueues."""
    with run(request, number=number):
        pass
