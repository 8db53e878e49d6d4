"""Points in the life of a task where its process dies, or waits."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any, NoReturn

from django.conf import settings
from django.db.models.signals import post_save

from cloudtask.stores import Standing
from tests.reliability.served.notes import LONG, note

#: What sends tasks in this process.
sender = "outbox"
#: Where this process dies, whatever comes there first.
doomed_at = ""


def reach(point: str, task: str) -> None:
    """Die here, or wait, if that is asked for and a task comes here first."""
    if point == doomed_at:
        die()
    folder = Path(settings.POINTS)
    try:
        (folder / point / task).touch(exist_ok=False)
    except (FileNotFoundError, FileExistsError):
        return
    hold = folder / f"{point}.hold"
    if not hold.exists():
        note("killed", task)
        die()
    while hold.exists():
        threading.Event().wait(0.02)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def install() -> None:
    """Put the points around what the package does."""
    from cloudtask.dispatch import calling
    from cloudtask.results.claims import LeaseClaim
    from cloudtask.results.heartbeat import Heart
    from cloudtask.results.models import TaskError
    from cloudtask.results.store import DatabaseStore
    from cloudtask.transports.google import GoogleTransport

    for owner, name in ((DatabaseStore, "claim"), (LeaseClaim, "end")):
        setattr(owner, name, _timed(getattr(owner, name)))
    DatabaseStore.claim = _claimed(DatabaseStore.claim)  # type: ignore[method-assign]
    LeaseClaim.end = _answered(LeaseClaim.end)  # type: ignore[method-assign]
    _around(
        *(DatabaseStore, "claim", lambda store, payload, request: payload.id),
        before="before the claim",
        after="after the claim",
    )
    _around(
        *(calling, "call", lambda definition, request, *args, **_: request.id),
        before="before the body",
    )
    _around(
        *(LeaseClaim, "end", lambda claim, ending: claim._lease.task_id),
        before="before the end",
        after="after the end",
    )
    _around(
        *(GoogleTransport, "send_many", lambda transport, tasks, *_: tasks[0].id),
        before="{sender}, before the call",
        after="{sender}, after the call",
    )
    prolong = Heart.prolong
    Heart._tick = _timed(Heart._tick)  # type: ignore[method-assign]

    def beat(heart: Heart) -> None:
        for lease in list(heart._leases.values()):
            reach("in the heartbeat", lease.task_id)
        prolong(heart)

    Heart.prolong = beat  # type: ignore[method-assign, assignment]
    post_save.connect(_error_was_written, TaskError, weak=False)


def _error_was_written(instance: Any, **_: Any) -> None:
    # In the transaction of the task's end.
    is_death = instance.type == "cloudtask.exceptions.WorkerDied"
    reach("in the giving up" if is_death else "in the error's write", instance.task_id)


def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have it noted if the database takes so long that a lease may lapse."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        since = time()
        try:
            return function(*args, **kwargs)
        finally:
            if time() - since > LONG:
                note("stopped", since=since)

    return wrapper


def _claimed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have it noted when a claim that succeeded was begun."""

    def wrapper(store: Any, payload: Any, *args: Any) -> Any:
        since = time()
        claim = function(store, payload, *args)
        if claim.standing is Standing.FREE:
            note("claim", payload.id, since=since)
        return claim

    return wrapper


def _answered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have it noted when the end of a run was recorded, or could not be."""

    def wrapper(claim: Any, *args: Any) -> Any:
        try:
            return function(claim, *args)
        finally:
            note("answer", claim._lease.task_id)

    return wrapper


def _around(
    owner: Any,
    name: str,
    task_of: Callable[..., str],
    *,
    before: str = "",
    after: str = "",
) -> None:
    function = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        task = task_of(*args, **kwargs)
        if before:
            reach(before.format(sender=sender), task)
        result = function(*args, **kwargs)
        if after:
            reach(after.format(sender=sender), task)
        return result

    setattr(owner, name, wrapper)
