"""What the emulator's tests build on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.cloud import tasks_v2

from cloudtask.emulator.schema import SCHEMA
from cloudtask.emulator.storage.file import StoreFile
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.engine.engine import Engine, EngineOptions
from cloudtask.emulator.tasks.faults import Faults
from cloudtask.emulator.tasks.model.dispatch import Dispatch, Verdict
from cloudtask.emulator.tasks.tables.store import Store
from cloudtask.emulator.values.instants import SECOND

PARENT = "projects/demo/locations/local"
QUEUE = f"{PARENT}/queues/default"
URL = "http://127.0.0.1:9/run"
#: 2026-06-01 12:00:00.250001 UTC, in microseconds.
NOW = 1_780_315_200_250_001
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def queue(path: str = QUEUE, **fields: Any) -> Any:
    """Return a raw Queue message."""
    return tasks_v2.Queue.pb(tasks_v2.Queue(name=path, **fields))


def task(task_id: str | None = None, **fields: Any) -> Any:
    """Return a raw Task message; `http` replaces parts of the request."""
    request = {"url": URL} | fields.pop("http", {})
    if task_id is not None:
        fields["name"] = f"{QUEUE}/tasks/{task_id}"
    return tasks_v2.Task.pb(tasks_v2.Task(http_request=request, **fields))


def at(due: int, task_id: str | None = None, **fields: Any) -> Any:
    """Return a raw Task message that is scheduled, in microseconds."""
    message = task(task_id, **fields)
    schedule_time = message.schedule_time
    schedule_time.seconds, rest = divmod(due, SECOND)
    schedule_time.nanos = rest * 1000
    return message


def name_of(task_id: str) -> str:
    """Return the full name of a task in the queue `default`."""
    return f"{QUEUE}/tasks/{task_id}"


def counted() -> Callable[[], str]:
    """Return a function that gives ids, counting from 1."""
    ids = iter(range(1, 1_000_000))
    return lambda: str(next(ids))


def open_engine(
    path: Path | None = None,
    faults: Faults | None = None,
    new_id: Callable[[], str] | None = None,
    **options: Any,
) -> Engine:
    """Return an engine, new ones without queues. Close its store."""
    return Engine(
        Store(StoreFile(path, SCHEMA)),
        faults or Faults(),
        new_id or counted(),
        EngineOptions(
            **{"tombstone_ttl": DAY, "queue_tombstone_ttl": 7 * DAY, **options}
        ),
    )


def take_one(engine: Engine, now: int) -> Dispatch:
    """Return the only dispatch that is due."""
    [dispatch] = engine.launcher.take_due(now)
    return dispatch


def attempt(engine: Engine, answer: Answer, now: int) -> Verdict:
    """Send the only task that is due, and have it answered at once."""
    return engine.launcher.complete(take_one(engine, now), answer, now)
