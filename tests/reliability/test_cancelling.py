"""A task that is cancelled, at whatever moment of its life, has one end."""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import pytest
from django.db import connection, transaction

from cloudtask.dispatch.outcomes import Status
from cloudtask.results.control import cancel
from cloudtask.results.models import TaskRecord
from cloudtask.stores import Ending, Standing
from cloudtask.wire.payload import Payload
from tests.reliability.rivals import (
    PATIENCE,
    Rival,
    Watcher,
    database,  # noqa: F401 - a fixture
    databases,
    execute,
    keep,
    servers,  # noqa: F401 - a fixture
    until,
)
from tests.results.conftest import _results, heart  # noqa: F401 - fixtures
from tests.results.samples import add, claim, dispatch, payload, row
from tests.tasks import ran

pytestmark = pytest.mark.reliability

TASKS = 1000
#: Tasks at a time.
LANES = 4

# Whatever ends a task, or has it begin again, is noted.
_WATCH = """
CREATE TABLE ends (task text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO ends VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER watch AFTER UPDATE ON cloudtask_results_taskrecord
FOR EACH ROW WHEN (
    OLD.status IN ('SUCCESSFUL', 'FAILED') OR NEW.status IN ('SUCCESSFUL', 'FAILED')
)
EXECUTE FUNCTION note();
"""


@dataclass
class Life:
    """Of a task: when it is cancelled, and what came of it."""

    phase: str
    pauses: list[float]  # Seconds: before it comes, within it, before the cancel.
    fails: bool
    payload: Payload = field(default_factory=lambda: payload(add.path))
    outcome: Status | None = None
    is_cancelled: bool | None = None

    def __post_init__(self) -> None:
        self._phases = {phase: Event() for phase in PHASES}

    def dispatch(self) -> None:
        self.reach("waits")
        pause(self.pauses[0])
        self.outcome = dispatch(self.payload).status
        self.reach("is over")

    def run(self) -> None:
        self.reach("runs")
        pause(self.pauses[1])
        self.reach("ends")
        if self.fails:
            raise ValueError

    def cancel(self) -> None:
        assert self._phases[self.phase].wait(PATIENCE)
        pause(self.pauses[2])
        self.is_cancelled = cancel(self.payload.id)

    def reach(self, phase: str) -> None:
        self._phases[phase].set()


PHASES = ("waits", "runs", "ends", "is over")


def pause(seconds: float) -> None:
    Event().wait(seconds)


@databases("postgresql")
def test_a_task_that_is_cancelled_at_any_moment_ends_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seed = int(
        os.environ.get("CLOUDTASK_SEED") or random.SystemRandom().randrange(10**6)
    )
    print(f"CLOUDTASK_SEED={seed}")  # noqa: T201
    dice = random.Random(seed)  # noqa: S311
    lives = [
        Life(
            phase=dice.choice(PHASES),
            pauses=[dice.uniform(0, 0.003) for _ in range(3)],
            fails=dice.random() < 0.3,
        )
        for _ in range(TASKS)
    ]
    by_id = {life.payload.id: life for life in lives}

    def func(request: Any) -> None:
        ran.append(request.id)
        by_id[request.id].run()

    monkeypatch.setattr(add, "func", func)
    keep([life.payload for life in lives])
    execute(_WATCH)

    with ExitStack() as stack:
        done = []
        for lane in range(LANES):
            for act in (Life.dispatch, Life.cancel):
                rival = stack.enter_context(Rival())
                done += [rival.start(act, life) for life in lives[lane::LANES]]
        for each in done:
            each.result(60)

    seen = Counter(check(life, row(life.payload.id)) for life in lives)
    # They met at all moments.
    assert seen.total() == TASKS
    assert min(seen.values()) > TASKS / 50
    assert len(seen) == 4

    with connection.cursor() as cursor:
        cursor.execute("SELECT task FROM ends")
        assert Counter(cursor.fetchall()) == {(id,): 1 for id in by_id}  # noqa: A001


def check(life: Life, found: TaskRecord) -> str:
    """Say what a task lived through, which has to be one of a few."""
    times_run = ran.count(life.payload.id)
    assert life.is_cancelled is (found.cancelled_at is not None)
    if life.outcome is Status.DUPLICATE:
        assert (times_run, found.status, life.is_cancelled) == (0, "FAILED", True)
        return "never ran"
    assert times_run == 1
    if life.outcome is Status.RETRY:
        assert (found.status, life.is_cancelled) == ("FAILED", True)
        return "is not tried again"
    assert (life.outcome, found.status) == (Status.DONE, "SUCCESSFUL")
    return "was told" if life.is_cancelled else "was over"


def cancelled_during(act: Any, id: str) -> bool:  # noqa: A002
    """Cancel a task while somebody changes it, who commits then."""
    with Watcher() as watcher, Rival() as rival:
        with transaction.atomic():
            act()
            answer = rival.start(cancel, id)
            until(lambda: watcher() or answer.done())
            assert not answer.done()
        return bool(answer.result(PATIENCE))


@databases("postgresql", "mariadb")
def test_a_task_that_begins_just_when_it_is_cancelled_is_told() -> None:
    wanted = payload(add.path)
    keep([wanted])
    assert cancelled_during(lambda: claim(wanted), wanted.id) is True

    found = row(wanted.id)
    assert (found.status, found.finished_at) == ("RUNNING", None)
    assert found.cancelled_at is not None


@databases("postgresql", "mariadb")
def test_a_task_that_is_to_be_tried_again_just_when_it_is_cancelled_is_not() -> None:
    wanted = payload(add.path)
    keep([wanted])
    retry = Ending(final=False)
    # It ends in the transaction in which it was claimed.
    assert cancelled_during(lambda: claim(wanted).end(retry), wanted.id) is True

    found = row(wanted.id)
    assert found.status == "FAILED"
    assert found.cancelled_at == found.finished_at
    assert claim(wanted, attempt=2).standing is Standing.FINISHED
