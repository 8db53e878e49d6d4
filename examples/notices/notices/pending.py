"""
How each backend is made to run what is pending.

Nothing else of this project knows which backend runs its tasks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import StringIO
from typing import Any
from unittest import SkipTest

from django.conf import settings
from django.core.management import call_command

from notices.tasks import Unreachable


@contextmanager
def pending() -> Iterator[Callable[[], None]]:
    """Give what runs the tasks that are due, and those that they enqueue."""
    backend = settings.TASKS["default"]["BACKEND"].rpartition(".")[2]
    if backend == "CloudTasksBackend":
        from cloudtask.testing import memory_queue

        with memory_queue() as queue:
            yield partial(_drain, queue)
    elif backend == "DatabaseBackend":
        yield _work
    elif backend == "DummyBackend":
        yield _skip
    else:
        yield lambda: None  # They have run where they were enqueued.


def _drain(queue: Any) -> None:
    while True:
        try:
            queue.drain()
        except Unreachable:
            continue  # Raised by a task; the others are still to run.
        return


def _work() -> None:
    call_command(
        "db_worker",
        batch=True,
        queue_name="*",
        startup_delay=False,
        stdout=StringIO(),
    )


def _skip() -> None:
    raise SkipTest("DummyBackend runs nothing.")
