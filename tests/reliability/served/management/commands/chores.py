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
from contextlib import suppress
from time import time
from typing import Any, NoReturn

from django.core.management import BaseCommand, call_command
from django.db import transaction

from cloudtask.exceptions import ServiceUnavailable
from cloudtask.results import control, sending
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import LIMIT, sweep
from cloudtask.schedules import schedule_task
from cloudtask.transports.google import GoogleTransport
from tests.reliability.served import points, tasks
from tests.reliability.served.models import Order
from tests.reliability.served.notes import note
from tests.reliability.served.tasks import bear


def migrate() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)


def enqueue(wanted: list[tuple[str, float, int]], pause: float) -> dict[str, str]:
    """
    Enqueue tasks.

    Args:
        wanted: Of each, its function's name, its argument, and how often it
            is to be in the queue.
        pause: Seconds between two.

    Returns:
        Their ids, by names.
    """
    ids = {}
    for kind, each, number in wanted:
        made = getattr(tasks, kind)(each)
        since = time()
        # One that raises has not enqueued it.
        enqueued = bear(made.delay)
        note(
            "enqueue",
            enqueued.id,
            took=time() - since,
            is_sent=enqueued.name is not None,
        )
        ids[enqueued.name or f"later {enqueued.id}"] = enqueued.id
        for _ in range(number - 1):
            row = TaskRecord.objects.get(pk=enqueued.id)
            [[(_, name)]] = sending.send_many([row], sending.make_patience())
            ids[name] = enqueued.id
        threading.Event().wait(pause)
    return ids


def enqueue_unsent(number: int) -> None:
    """Enqueue tasks as a process does that dies after each commit."""
    GoogleTransport.send = _no_service  # type: ignore[method-assign]
    for each in range(number):
        tasks.ship(str(each)).delay()


def _no_service(transport: GoogleTransport, task: Any) -> NoReturn:
    raise ServiceUnavailable("not now", queue_path=task.route.queue_path)


def schedule(wanted: list[tuple[str, str, str]]) -> None:
    """
    Schedule a task again and again.

    Args:
        wanted: Of each schedule its name, its cron, and its time zone.
    """
    for start in range(0, len(wanted), 100):
        # What one transaction arms goes out in one call.
        with transaction.atomic():
            for name, cron, zone in wanted[start : start + 100]:
                schedule_task(tasks.look_in, cron, name=name, timezone=zone)


def redrive() -> int:
    """Have all tasks that failed run again. Returns how many."""
    number = control.redrive(TaskRecord.objects.all())
    sweep(number)
    return number


def keep_sweeping(limit: int = LIMIT) -> None:
    """Sweep, in a process that is begun again if it dies, as cron would."""
    os.setsid()
    points.sender = "sweeper"
    parent = os.getppid()
    while os.getppid() == parent:
        pid, _ = _forked(_sweep_on, limit=limit)
        os.waitpid(pid, 0)


def _sweep_on(limit: int) -> None:
    while True:
        sweep(limit)
        threading.Event().wait(0.3)


def transact(seed: int, count: int, point: str) -> None:
    """Make orders, roll half of them back, and die with the last one."""
    dice = random.Random(seed)  # noqa: S311
    if point == "anywhere":
        # Ends the process as SIGKILL does: nobody handles it.
        signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.02, 0.3))
    for number in range(count):
        is_last = number == count - 1
        if is_last:
            points.doomed_at = point
        with suppress(_RolledBack):
            _order(
                f"{seed}-{number}", is_rolled_back=not is_last and dice.random() < 0.5
            )


def _order(number: str, *, is_rolled_back: bool) -> None:
    with transaction.atomic():
        Order.objects.create(number=number)
        tasks.ship(number).delay()
        points.reach("before the commit", number)
        if is_rolled_back:
            raise _RolledBack


class _RolledBack(Exception):
    pass


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
    each.__name__: each
    for each in (
        *(migrate, enqueue, enqueue_unsent, schedule),
        *(redrive, keep_sweeping, transact),
    )
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
