from collections.abc import Callable
from typing import Any

import pytest

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.engine import sweeper
from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.tasks.limits import OPERATION_RETENTION, RETENTION
from cloudtask.emulator.tasks.model.dispatch import Verdict
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import (
    DAY,
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    at,
    name_of,
    queue,
    take_one,
    task,
)

MINUTE = 60 * SECOND


@pytest.fixture(autouse=True)
def _little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "_AT_ONCE", 3)


def rows(engine: Engine, table: str) -> int:
    (count,) = engine.store.file.read(
        f"SELECT count(*) FROM {table}"  # noqa: S608 - names from below
    ).fetchone()
    assert isinstance(count, int)
    return count


def create(engine: Engine, count: int, now: int = NOW) -> None:
    for _ in range(count):
        engine.tasks.create(QUEUE, at(now + DAY), now)


def sweeps(engine: Engine, now: int) -> int:
    """Sweep as long as that is wanted, and return how often it was."""
    count = 0
    while engine.sweeper.next_sweep() <= now:
        engine.sweeper.sweep(now)
        count += 1
    return count


def test_sweeping_begins_at_once_and_then_rests_for_a_minute(engine: Engine) -> None:
    assert sweeps(engine, NOW) == 1
    assert engine.sweeper.next_sweep() == NOW + MINUTE
    assert sweeps(engine, NOW + MINUTE - 1) == 0
    assert sweeps(engine, NOW + MINUTE) == 1


def test_tasks_are_dropped_after_31_days(engine: Engine) -> None:
    create(engine, 7)
    engine.tasks.create(QUEUE, task("paused"), NOW + 1)
    engine.queues.pause(QUEUE, NOW)

    sweeps(engine, NOW + RETENTION - 1)
    assert engine.pending == 8
    sweeps(engine, NOW + RETENTION + MINUTE)

    assert engine.pending == 0
    assert rows(engine, "tasks") == 0
    with pytest.raises(ApiError, match="The task no longer exists"):
        engine.tasks.get(name_of("paused"), NOW + RETENTION + MINUTE)


def test_no_more_is_dropped_at_once_than_is_quick(engine: Engine) -> None:
    create(engine, 7)
    later = NOW + RETENTION

    engine.sweeper.sweep(later)

    assert engine.pending == 4
    assert engine.sweeper.next_sweep() == later


def test_a_younger_task_is_not_dropped_with_an_old_one(engine: Engine) -> None:
    create(engine, 1)
    create(engine, 1, now=NOW + SECOND)

    sweeps(engine, NOW + RETENTION)

    assert engine.pending == 1


def test_a_task_that_is_dropped_while_it_is_sent_is_over(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)
    dispatch = take_one(engine, NOW)
    sweeps(engine, NOW + RETENTION)

    verdict = engine.launcher.complete(dispatch, Answer(500), NOW + RETENTION)

    assert verdict == Verdict("gave up")


@pytest.mark.parametrize("sent", [False, True])
def test_purged_tasks_are_removed_bit_by_bit(engine: Engine, sent: bool) -> None:
    create(engine, 7)
    if sent:
        engine.launcher.take_due(NOW + DAY)
    sweeps(engine, NOW)

    engine.queues.purge(QUEUE, NOW)

    assert rows(engine, "tasks") == 7
    assert sweeps(engine, NOW) == 4  # 3, 3, 1 and a look that finds nothing.
    assert rows(engine, "tasks") == rows(engine, "cleared_lanes") == 0
    assert rows(engine, "tombstones") == 7


def test_tasks_of_a_deleted_queue_are_removed(engine: Engine) -> None:
    create(engine, 4)
    engine.queues.delete(QUEUE, NOW)

    sweeps(engine, NOW)

    assert rows(engine, "tasks") == rows(engine, "tombstones") == 0


def test_old_tasks_that_were_purged_block_their_names_like_others(
    engine: Engine,
) -> None:
    for number in range(7):
        engine.tasks.create(QUEUE, task(f"t{number}"), NOW)
    later = NOW + RETENTION
    engine.queues.purge(QUEUE, later)

    sweeps(engine, later)

    assert rows(engine, "tasks") == 0
    for number in range(7):
        with pytest.raises(ApiError, match="already exists"):
            engine.tasks.create(QUEUE, task(f"t{number}"), later + DAY - 1)


def test_names_that_are_free_again_are_forgotten(engine: Engine) -> None:
    for number in range(7):
        engine.tasks.create(QUEUE, task(f"t{number}"), NOW)
        engine.tasks.delete(name_of(f"t{number}"), NOW + number // 6)

    sweeps(engine, NOW + DAY)

    assert rows(engine, "tombstones") == 1
    sweeps(engine, NOW + DAY + MINUTE)
    assert rows(engine, "tombstones") == 0


def test_names_of_deleted_queues_are_forgotten(engine: Engine) -> None:
    engine.queues.delete(QUEUE, NOW)

    sweeps(engine, NOW + 7 * DAY - 1)
    assert rows(engine, "queue_tombstones") == 1
    sweeps(engine, NOW + 7 * DAY + MINUTE)

    assert rows(engine, "queue_tombstones") == 0


def test_operations_are_forgotten_after_a_day(engine: Engine) -> None:
    engine.store.operations.add("o", "r", NOW, b"")

    sweeps(engine, NOW + OPERATION_RETENTION - 1)
    assert engine.store.operations.get("o") is not None
    sweeps(engine, NOW + OPERATION_RETENTION + MINUTE)

    assert engine.store.operations.get("o") is None


def test_sweeping_goes_on_where_it_was_left(
    make_engine: Callable[..., Engine], tmp_path: Any
) -> None:
    path = tmp_path / "store.sqlite3"
    engine = make_engine(path=path)
    create(engine, 7)
    engine.queues.purge(QUEUE, NOW)
    engine.sweeper.sweep(NOW)
    engine.commit()
    engine.store.file.close()

    again = make_engine({"path": f"{PARENT}/queues/other"}, path=path)

    assert rows(again, "tasks") == 4
    sweeps(again, NOW)
    assert rows(again, "tasks") == 0
    assert [live.path for live in again.live_queues] == [
        QUEUE,
        f"{PARENT}/queues/other",
    ]


def test_a_sweep_that_is_undone_is_made_again(engine: Engine) -> None:
    create(engine, 2)
    sweeps(engine, NOW)
    engine.queues.purge(QUEUE, NOW)
    engine.commit()
    sweeps(engine, NOW)

    engine.rollback()

    assert rows(engine, "tasks") == 2
    assert sweeps(engine, NOW + HOUR) > 0
    assert rows(engine, "tasks") == 0


def test_a_queue_made_again_is_not_swept_with_the_old_one(engine: Engine) -> None:
    create(engine, 4)
    engine.queues.delete(QUEUE, NOW)
    later = NOW + 7 * DAY
    engine.queues.create(PARENT, queue(), later)
    create(engine, 2, now=later)

    sweeps(engine, later)

    assert engine.pending == rows(engine, "tasks") == 2
