"""
Two that want one row, which a third one has locked until both wait for it.

Whoever is second changes nothing that the first has done, and nobody waits
for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice, permutations
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from cloudtask.results import heartbeat
from cloudtask.results.control import cancel, redrive
from cloudtask.results.database.errors import is_conflict
from cloudtask.results.models import TaskRecord
from cloudtask.results.pruning import prune
from cloudtask.results.sweeping import sweep
from cloudtask.stores import Claim, Ending
from cloudtask.wire.payload import Payload
from tests.reliability.rivals import (
    PATIENCE,
    Rival,
    Watcher,
    database,  # noqa: F401 - a fixture
    databases,
    keep,
    servers,  # noqa: F401 - a fixture
    until,
)
from tests.results.conftest import _results, heart  # noqa: F401 - fixtures
from tests.results.samples import add, ago, change, claim, expire, payload

pytestmark = pytest.mark.reliability

ROUNDS = {"postgresql": 100, "mysql": 25}
UNDONE = "undone"


@dataclass
class Bone:
    """A task that two want."""

    payload: Payload = field(default_factory=lambda: payload(add.path))
    held: Claim = field(init=False)

    def __post_init__(self) -> None:
        keep([self.payload])

    @property
    def rows(self) -> Any:
        return TaskRecord.objects.filter(pk=self.payload.id)


def lost() -> Bone:
    """Its lease is over for so long that it is an orphan."""
    bone = Bone()
    bone.held = claim(bone.payload)
    expire(bone.payload.id)
    return bone


def failed() -> Bone:
    bone = Bone()
    change(bone.payload.id, status="FAILED", finished_at=ago())
    return bone


def unless_undone(act: Callable[[], object]) -> object:
    """
    Let a database that saw a deadlock undo it: the other one goes on.

    MariaDB locks indexes, too. What comes again by itself may be undone.
    """
    try:
        return act()
    except OperationalError as error:
        if not is_conflict(error):
            raise
        return UNDONE


def finish(bone: Bone) -> object:
    return bone.held.end(Ending(succeeded=True, value="kept"))


def try_again(bone: Bone) -> object:
    return bone.held.end(Ending(final=False, error=ValueError("kept")))


def take_over(bone: Bone) -> object:
    return claim(bone.payload, attempt=2).standing.value


def free(bone: Bone) -> object:
    return unless_undone(lambda: sweep().freed)


def stop(bone: Bone) -> object:
    return cancel(bone.payload.id)


def beat(bone: Bone) -> object:
    return unless_undone(heartbeat.HEART.prolong)


def revive(bone: Bone) -> object:
    return unless_undone(lambda: redrive(bone.rows))


def clear(bone: Bone) -> object:
    return unless_undone(lambda: sum(prune(bone.rows.filter(status="FAILED"))))


Act = Callable[[Bone], object]
SUCCESSFUL, READY, RUNNING, FAILED = "SUCCESSFUL", "READY", "RUNNING", "FAILED"
#: What may come of them: what each says, in this order, and the row's status.
CONTESTS: list[tuple[Callable[[], Bone], Act, Act, set[tuple[Any, ...]]]] = [
    (lost, finish, free, {(True, 0, SUCCESSFUL), (False, 1, READY)}),
    (lost, finish, stop, {(True, False, SUCCESSFUL), (True, True, SUCCESSFUL)}),
    (
        lost,
        finish,
        take_over,
        {(True, "finished", SUCCESSFUL), (False, "free", RUNNING)},
    ),
    # Once it is ready, it is cancelled as one that waits.
    (lost, try_again, stop, {(True, True, FAILED)}),
    (lost, try_again, free, {(True, 0, READY), (False, 1, READY)}),
    # The last one was cancelled while it was looked for: a later pass ends it.
    (lost, free, stop, {(1, True, FAILED), (0, True, RUNNING)}),
    (
        lost,
        free,
        take_over,
        {(0, "free", RUNNING), (1, "free", RUNNING), (UNDONE, "free", RUNNING)},
    ),
    (
        lost,
        free,
        beat,
        {(1, None, READY), (0, None, RUNNING), (UNDONE, None, RUNNING)},
    ),
    (lost, free, free, {(1, 0, READY), (0, 1, READY)}),
    (failed, clear, revive, {(1, 0, None), (0, 1, READY), (1, UNDONE, None)}),
    (failed, clear, stop, {(1, False, None)}),
    (failed, revive, stop, {(1, True, FAILED), (1, False, READY)}),
]


def contest(
    rivals: tuple[Rival, Rival],
    watcher: Watcher,
    locked: Any,
    *acts: Callable[[], object],
) -> list[object]:
    """Have them wait for a row in this order. Gives what they say."""
    answers: list[Future[object]] = []
    with transaction.atomic():
        locked.select_for_update().get()
        for rival, act in zip(rivals, acts, strict=True):
            answers.append(rival.start(act))
            until(lambda: watcher() == sum(not each.done() for each in answers))
    return [answer.result(PATIENCE) for answer in answers]


@databases("postgresql", "mariadb")
@pytest.mark.parametrize(
    ("make", "one", "two", "ends"),
    CONTESTS,
    ids=[f"{one.__name__}-{two.__name__}" for _, one, two, _ in CONTESTS],
)
def test_of_two_that_want_a_row_the_second_undoes_nothing(
    make: Callable[[], Bone], one: Act, two: Act, ends: set[tuple[Any, ...]]
) -> None:
    seen: Counter[tuple[Any, ...]] = Counter()
    rounds = ROUNDS[connection.vendor]
    with Rival() as first, Rival() as second, Watcher() as watcher:
        for acts in islice(cycle(permutations((one, two))), rounds):
            bone = make()
            bound = [partial(act, bone) for act in acts]
            answers = contest((first, second), watcher, bone.rows, *bound)
            if acts != (one, two):
                answers.reverse()
            status = bone.rows.values_list("status", flat=True).first()
            seen[(*answers, status)] += 1
            bone.rows.delete()
            heartbeat.HEART._leases.clear()

    assert set(seen) <= ends
    assert seen.total() == rounds


@databases("postgresql", "mariadb")
@pytest.mark.parametrize("is_beat_first", [False, True])
def test_of_two_that_want_many_rows_one_gets_them_all(is_beat_first: bool) -> None:
    with Rival() as first, Rival() as second, Watcher() as watcher:
        for number in range(5):
            bones = [lost() for _ in range(50)]
            acts = [
                partial(unless_undone, heartbeat.HEART.prolong),
                partial(unless_undone, lambda: sweep().freed),
            ]
            answers = contest(
                (first, second),
                watcher,
                # The first has locked some of the others by then.
                bones[number * 10].rows,
                *(acts if is_beat_first else acts[::-1]),
            )
            beaten, freed = answers if is_beat_first else answers[::-1]

            assert (beaten, freed) in {
                (None, 0),
                (None, 50),
                (None, UNDONE),
                (UNDONE, 50),
            }
            statuses = TaskRecord.objects.values_list("status", flat=True)
            assert set(statuses) == {READY if freed == 50 else RUNNING}
            TaskRecord.objects.all().delete()
            heartbeat.HEART._leases.clear()
