"""Tasks, and what the tests of results do again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from cloudtask import CloudTaskRequest, Reject, Retry, RetryPolicy, task
from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.dispatch.execution import run
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.dispatch.outcomes import Outcome
from cloudtask.emulator import Emulator
from cloudtask.exceptions import ServiceUnavailable
from cloudtask.results.models import TaskRecord
from cloudtask.stores import Claim, get_store
from cloudtask.transports import get_transport
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.payload import Payload, decode, new_id
from cloudtask.wire.request import CloudTaskRequest as Request
from tests.tasks import aadd, add, ran

__all__ = ["aadd", "add"]

#: Nobody answers.
AWAY = ServiceUnavailable("UNAVAILABLE", queue_path="q")

needs_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql",
    reason="threads lock each other out of SQLite in memory; run on PostgreSQL",
)

SECRET = "a secret for tests of 32 bytes.."
HOUR = timedelta(hours=1)


class Endless(list[Any]):
    """Contains itself."""

    def __init__(self) -> None:
        super().__init__([self])


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


#: What `give` returns, by name.
GIFTS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "text": lambda: "naïve 🎉",
    "empty text": lambda: "",
    "numbers": lambda: [1, -2.5, True, 2**70],
    "object": lambda: {"b": 1, "a": {"c": None}},
    "reserved key": lambda: {"__type__": "tuple", "value": 1},
    "tuple": lambda: (1, (2, [3])),
    "set": lambda: {1, 2},
    "moment": lambda: datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC),
    "duration": lambda: timedelta(days=-1, microseconds=1),
    "uuid": lambda: UUID(int=5),
    "bytes": lambda: b"\0\xff",
    "32 levels": lambda: nested(32),
    "64 levels": lambda: nested(64),
    # Not storable.
    "NUL": lambda: "a\0b",
    "NUL key": lambda: {"a\0": 1},
    "surrogate": lambda: "\ud800",
    "NaN": lambda: [float("nan")],
    "infinity": lambda: float("inf"),
    "huge": lambda: "x" * (256 * 1024),
    "object()": object,
    "exception": lambda: ValueError("returned"),
    "65 levels": lambda: nested(65),
    "very deep": lambda: nested(100_000),
    "endless": Endless,
    "long int": lambda: 10**5000,
}


@task
def give(request: CloudTaskRequest, gift: str) -> Any:
    ran.append(gift)
    return GIFTS[gift]()


@task
def fail(request: CloudTaskRequest, message: str = "broken") -> None:
    ran.append(request.attempt)
    raise ValueError(message)


@task(retry=RetryPolicy(max_attempts=2))
def fail_twice(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    raise ValueError("broken")


@task
def reject(request: CloudTaskRequest) -> None:
    raise Reject("never")


@task
def come_again(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    raise Retry("not yet")


@task
def leave(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    raise SystemExit


@task
def advance(request: CloudTaskRequest, steps: int = 1) -> int:
    for step in range(steps):
        request.progress(step + 1, steps, f"step {step + 1}")
    return steps


@task(named="tidy")
def tidy(request: CloudTaskRequest) -> None:
    ran.append("tidy")


@task(url="https://other.example/_tasks/")
def elsewhere(request: CloudTaskRequest) -> None:
    ran.append("elsewhere")


@task(priority=60)
def urgent(request: CloudTaskRequest) -> None:
    ran.append("urgent")


def queue() -> MemoryTransport:
    transport = get_transport(get_settings())
    assert isinstance(transport, MemoryTransport)
    return transport


def refuse_sending(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *ids: str
) -> None:
    """Have the queue refuse these tasks, or all."""
    send = MemoryTransport.send

    def refuse(self: MemoryTransport, task: Any) -> str:
        if not ids or task.id in ids:
            raise error
        return send(self, task)

    monkeypatch.setattr(MemoryTransport, "send", refuse)


@contextmanager
def emulate(settings: Any, *queues: str, **changes: Any) -> Iterator[Emulator]:
    """Enqueue to an emulator, which sends nothing back."""
    with Emulator(queues, project="project", location="europe-west1") as emulator:
        settings.CLOUDTASK = {
            **settings.CLOUDTASK,
            "TRANSPORT": GOOGLE_TRANSPORT,
            "EMULATOR_HOST": emulator.host,
            **changes,
        }
        yield emulator


def row(id: str) -> TaskRecord:  # noqa: A002
    return TaskRecord.objects.get(pk=id)


def change(id: str, **values: Any) -> None:  # noqa: A002
    assert TaskRecord.objects.filter(pk=id).update(**values) == 1


def values(id: str) -> dict[str, Any]:  # noqa: A002
    """The whole row, to compare."""
    [found] = TaskRecord.objects.filter(pk=id).values()
    return found


def ago(wait: timedelta = HOUR) -> datetime:
    return datetime.now(UTC) - wait


def payload_of(id: str) -> Payload:  # noqa: A002
    return decode(row(id).body.encode())


def payload(task: str = add.path, **changes: Any) -> Payload:
    """One that no row tells of."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "task": task,
        "kwargs": {},
        "enqueued_at": datetime.now(UTC),
        **changes,
    }
    return Payload(**fields)


def meta(attempt: int = 1, **headers: str) -> dict[str, str]:
    names = {
        "TASKRETRYCOUNT": str(attempt - 1),
        "QUEUENAME": "default",
        "TASKNAME": "123",
        **headers,
    }
    return {f"HTTP_X_CLOUDTASKS_{name}": value for name, value in names.items()}


def alarm(task: str | Payload, attempt: int = 1) -> dict[str, str]:
    """The headers of a row's latest Cloud Task, a payload's first one."""
    if isinstance(task, Payload):
        return meta(attempt)
    found = row(task)
    if not found.arming:
        return meta(attempt)
    value = f"{found.arming}.{found.attempts_before}"
    return {**meta(attempt), "HTTP_X_TASK_REARM": value}


def claim(task: str | Payload, attempt: int = 1) -> Claim:
    """Ask to run a task, by its id or its payload."""
    wanted = payload_of(task) if isinstance(task, str) else task
    request = Request(id=wanted.id, meta=alarm(task, attempt))
    return get_store(get_settings()).claim(wanted, request)


def dispatch(task: str | Payload, attempt: int = 1) -> Outcome:
    """Run an attempt, as the view does."""
    wanted = payload_of(task) if isinstance(task, str) else task
    return run(make_attempt(wanted, alarm(task, attempt)))


def post(id: str, attempt: int = 1) -> Any:  # noqa: A002
    """Dispatch a task over HTTP."""
    found = row(id)
    headers = {"HTTP_X_TASK_BACKEND": found.backend} if found.backend else {}
    return Client().post(
        "/_tasks/",
        found.body,
        content_type="application/json",
        HTTP_X_TASK_SECRET=SECRET,
        **alarm(id, attempt),
        **headers,
    )


def die(id: str, attempt: int = 1) -> None:  # noqa: A002
    """A worker takes the task, and is not heard of again."""
    claim(id, attempt)
    expire(id)


def expire(id: str, by: timedelta = HOUR) -> None:  # noqa: A002
    change(id, lease_expires_at=ago(by))


def verbs(queries: CaptureQueriesContext) -> list[str]:
    """What was asked of the database, but for transactions and savepoints."""
    words = [query["sql"].split()[0] for query in queries.captured_queries]
    return [w for w in words if w in ("SELECT", "INSERT", "UPDATE", "DELETE")]


def statements() -> CaptureQueriesContext:
    return CaptureQueriesContext(connection)


def together(count: int, function: Callable[[], Any]) -> list[Any]:
    """Call a function in so many threads at the same moment."""
    barrier = threading.Barrier(count, timeout=10)
    answers: list[Any] = []

    def call() -> None:
        try:
            connection.ensure_connection()
            barrier.wait()
            answers.append(function())
        except Exception as error:
            answers.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == count
    return answers
