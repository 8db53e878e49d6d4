"""What the tests of Cloud Scheduler build on."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.cloud import scheduler_v1

from cloudtask.emulator.scheduler.engine.engine import Engine
from cloudtask.emulator.scheduler.engine.options import EngineOptions
from cloudtask.emulator.scheduler.tables.store import Store
from cloudtask.emulator.schema import SCHEMA
from cloudtask.emulator.storage.file import StoreFile
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloudtask.emulator.scheduler.model.dispatch import Dispatch, Verdict

PARENT = "projects/demo/locations/local"
JOB = f"{PARENT}/jobs/nightly"
URL = "http://127.0.0.1:9/tick"
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

FAILURE = Answer(500)


def at(text: str) -> int:
    """Return the instant of a text such as "2026-10-01T05:20:14Z"."""
    return instants.from_datetime(datetime.fromisoformat(text).astimezone(UTC))


#: A Thursday, as many of the recordings.
NOW = at("2026-10-01T05:20:14.250001Z")


def job(job_id: str = "nightly", **fields: Any) -> Any:
    """Return a raw Job message; `http` replaces parts of the target."""
    target = {"uri": URL} | fields.pop("http", {})
    if not fields.keys() & {"pubsub_target", "app_engine_http_target"}:
        fields["http_target"] = target
    name = f"{PARENT}/jobs/{job_id}" if job_id else ""
    fields = {"name": name, "schedule": "* * * * *"} | fields
    return scheduler_v1.Job.pb(scheduler_v1.Job(**fields))


@contextmanager
def open_engine(path: Path | None = None, **options: Any) -> Iterator[Engine]:
    """Give an engine without jobs."""
    file = StoreFile(path, SCHEMA)
    try:
        yield Engine(Store(file), counted(), EngineOptions(**options))
    finally:
        file.close()


def take(engine: Engine, now: int) -> list[Dispatch]:
    """Return what is due, kept."""
    due = engine.launcher.take_due(now)
    engine.commit()
    return due


def take_one(engine: Engine, now: int) -> Dispatch:
    """Return the only attempt that is due."""
    [dispatch] = take(engine, now)
    return dispatch


def complete(engine: Engine, dispatch: Dispatch, answer: Answer, now: int) -> Verdict:
    """Hand back an answer, and keep what it means."""
    verdict = engine.launcher.complete(dispatch, answer, now)
    engine.commit()
    return verdict


def wake(engine: Engine, now: int = 0) -> int:
    """Return when there is something to do next, which there must be."""
    instant = engine.launcher.next_wake(now)
    assert instant is not None
    return instant


def fail_attempts(engine: Engine, until: int) -> list[int]:
    """Let every attempt fail at once; return when they were made."""
    made: list[int] = []
    while (instant := engine.launcher.next_wake(0)) is not None and instant <= until:
        for dispatch in take(engine, instant):
            made.append(instant)
            complete(engine, dispatch, FAILURE, instant)
    return made
