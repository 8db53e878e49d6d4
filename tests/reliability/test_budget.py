"""A task whose worker died goes on or ends, however few attempts it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections

from cloudtask.emulator import Emulator
from cloudtask.results import leases
from cloudtask.results.claims import LeaseClaim
from cloudtask.results.columns.moments import Now
from cloudtask.results.database.statements import Update
from cloudtask.results.sweeping import sweep
from cloudtask.stores import Ending
from tests.live import live
from tests.reliability.rivals import (
    database,  # noqa: F401 - a fixture
    databases,
    servers,  # noqa: F401 - a fixture
)
from tests.results.conftest import _results, heart  # noqa: F401 - fixtures
from tests.results.samples import add, row
from tests.tasks import ran

pytestmark = pytest.mark.reliability

#: Of attempts, before the waits double.
MIN_BACKOFF = 1
#: Between two passes of the sweeper.
PASS = timedelta(minutes=5)
#: Three leases of ten minutes, and the waits for what notices their ends.
LONGEST = timedelta(hours=4)


def share_clock(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the database tell the emulator's time."""

    def as_postgresql(
        self: Now, compiler: Any, connection: Any, **context: Any
    ) -> tuple[str, Any]:
        ahead = round((emulator.now - datetime.now(UTC)).total_seconds())
        template = f"(STATEMENT_TIMESTAMP() + INTERVAL '{ahead} seconds')"
        return self.as_sql(compiler, connection, template=template, **context)

    monkeypatch.setattr(Now, "as_postgresql", as_postgresql)
    write = Update._compile

    def write_anew(update: Update, using: str) -> tuple[str, tuple[Any, ...]]:
        """What is kept of a statement has a moment of this clock."""
        update._compiled.clear()
        try:
            return write(update, using)
        finally:
            update._compiled.clear()

    monkeypatch.setattr(Update, "_compile", write_anew)


def kill_workers(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first so many runs end like their processes."""

    def func(*args: Any) -> str:
        ran.append("begun")
        if len(ran) > number:
            return "done"
        connections.close_all()
        raise SystemExit

    monkeypatch.setattr(add, "func", func)
    end = LeaseClaim.end

    def end_unless_killed(claim: LeaseClaim, ending: Ending) -> bool:
        """A process that is killed records nothing."""
        is_killed = isinstance(ending.error, SystemExit)
        return not is_killed and end(claim, ending)

    monkeypatch.setattr(LeaseClaim, "end", end_unless_killed)


@databases("postgresql")
@pytest.mark.parametrize("deaths", [1, 3])
@pytest.mark.parametrize("lease", [30, 60, 600])
@pytest.mark.parametrize("attempts", [1, 3, 10, 100])
def test_a_task_whose_worker_died_is_never_stuck(
    attempts: int, lease: int, deaths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE", timedelta(seconds=lease))
    kill_workers(deaths, monkeypatch)
    queue = f"default:max_attempts={attempts},min_backoff={MIN_BACKOFF}s"
    with live(queue) as project:
        emulator = project.emulator
        share_clock(emulator, monkeypatch)
        began = emulator.now
        enqueued = add().delay()
        emulator.drain()
        assert row(enqueued.id).status == "RUNNING"
        while row(enqueued.id).finished_at is None:
            assert emulator.now - began < LONGEST, "it is stuck"
            emulator.advance(timeout=30, seconds=PASS.total_seconds())
            sweep()
            emulator.drain()
        found = row(enqueued.id)

    if deaths == 3:
        assert (found.status, found.interruptions) == ("FAILED", 3)
        [error] = found.errors.all()
        assert error.type == "cloudtask.exceptions.WorkerDied"
    else:
        assert (found.status, found.interruptions) == ("SUCCESSFUL", 1)
    assert len(ran) == min(deaths + 1, 3)
    if deaths == 1:
        # Without the sweeper, if an attempt was left when the lease was over.
        last = MIN_BACKOFF * (2 ** (attempts - 1) - 1)
        assert (found.name == enqueued.name) is (last > lease)
