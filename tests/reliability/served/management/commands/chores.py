"""
What is to be done in the project, on request, each in a fork of this process.

A line of JSON asks, another one answers. The forks start at once, having all
that is imported, and the process itself never connects to anything.
"""

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from django.core.management import BaseCommand, call_command
from django.db import transaction

from cloudtask.results import sending
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import sweep
from cloudtask.transports.google import GoogleTransport
from tests.reliability.served import tasks
from tests.reliability.served.models import Order


def migrate() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)


def enqueue(seconds: list[float], copies: list[int], kind: str) -> dict[str, str]:
    """Enqueue tasks, each so often. Returns ids by names."""
    ids = {}
    for each, number in zip(seconds, copies, strict=True):
        enqueued = getattr(tasks, kind)(each).delay()
        ids[enqueued.name] = enqueued.id
        for _ in range(number - 1):
            row = TaskRecord.objects.get(pk=enqueued.id)
            ids[sending.send(row)] = enqueued.id
    return ids


def keep_sweeping() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        sweep()
        threading.Event().wait(0.3)


def transact(seed: int, count: int, point: str) -> None:
    """Make orders, roll half of them back, and die with the last one."""
    dice = random.Random(seed)  # noqa: S311
    if point == "anywhere":
        # Ends the process as SIGKILL does: nobody handles it.
        signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.02, 0.3))
    for number in range(count):
        is_last = number == count - 1
        _order(f"{seed}-{number}", dice, point if is_last else "")


def _order(number: str, dice: random.Random, point: str) -> None:
    try:
        with transaction.atomic():
            Order.objects.create(number=number)
            if point in ("before the call", "after the call"):
                _die_in_call(point)
            tasks.ship(number).delay()
            if point == "before the commit":
                _die()
            if not point and dice.random() < 0.5:
                raise _RolledBack
    except _RolledBack:
        pass


class _RolledBack(Exception):
    pass


def _die_in_call(point: str) -> None:
    send = GoogleTransport.send

    def deadly(self: GoogleTransport, task: Any) -> str:
        if point == "after the call":
            send(self, task)
        _die()

    GoogleTransport.send = deadly  # type: ignore[method-assign]


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _forked(function: Callable[..., Any], **arguments: Any) -> tuple[int, int]:
    """Call in a fork. Returns its pid, and where it writes what came of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        answer = json.dumps(function(**arguments)).encode()
        with os.fdopen(writing, "wb") as file:
            file.write(answer)
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _answer(pid: int, reading: int) -> Any:
    with os.fdopen(reading, "rb") as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


CHORES: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (migrate, enqueue, keep_sweeping, transact)
}


class Command(BaseCommand):
    help = "Do what is asked for."
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django has it

    def handle(self, *args: Any, **options: Any) -> None:
        for line in sys.stdin:
            name, calls = json.loads(line)
            function = CHORES[name]
            forks = [_forked(function, **arguments) for arguments in calls]
            if function is keep_sweeping:
                answers = [pid for pid, _ in forks]
            else:
                answers = [_answer(*fork) for fork in forks]
            self.stdout.write(json.dumps(answers))
            self.stdout.flush()
