"""What the emulator's tests build on."""

from typing import Any

from google.cloud import tasks_v2

from cloudtask.emulator.engine import Engine
from cloudtask.emulator.instants import SECOND

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


def new_engine(tombstone_ttl: int = DAY, **queue_fields: Any) -> Engine:
    """Return an engine with the queue `default`; ids count from 1."""
    ids = iter(range(1, 1_000_000))
    engine = Engine(lambda: str(next(ids)), tombstone_ttl)
    engine.create_queue(PARENT, queue(**queue_fields))
    return engine
