from collections.abc import Callable
from pathlib import Path

import pytest

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import (
    DAY,
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    at,
    attempt,
    name_of,
    open_engine,
    queue,
    take_one,
    task,
)

OTHER = f"{PARENT}/queues/other"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def reopen(path: Path) -> Callable[[Engine], Engine]:
    """Return a function that ends an engine and starts another on its file."""

    def reopen(engine: Engine) -> Engine:
        engine.store.file.close()
        return open_engine(path)

    return reopen


def task_ids(engine: Engine) -> list[str]:
    page, _ = engine.tasks.list(QUEUE, NOW)
    return [each.name.rpartition("/")[2] for each in page]


def test_queues_are_shown_by_name_with_their_counts(engine: Engine) -> None:
    engine.queues.create(PARENT, queue(f"{PARENT}/queues/a"), NOW)
    engine.tasks.create(QUEUE, task(), NOW)
    engine.tasks.create(QUEUE, at(NOW + 1), NOW)
    take_one(engine, NOW)

    shown = [
        (live.path.rpartition("/")[2], live.depth, live.in_flight)
        for live in engine.live_queues
    ]

    assert shown == [("a", 0, 0), ("default", 2, 1)]
    assert engine.pending == 2


def test_there_is_work_when_something_is_due_or_to_be_swept(engine: Engine) -> None:
    assert engine.next_work(NOW) == 0
    engine.sweeper.sweep(NOW)
    assert engine.next_work(NOW) == NOW + 60 * SECOND
    engine.tasks.create(QUEUE, at(NOW + HOUR), NOW)
    assert engine.next_work(NOW) == NOW + 60 * SECOND
    engine.tasks.create(QUEUE, at(NOW + 5), NOW)
    assert engine.next_work(NOW) == NOW + 5


def test_an_engine_is_dirty_until_it_is_kept(engine: Engine) -> None:
    engine.commit()
    assert not engine.is_dirty

    engine.tasks.create(QUEUE, task(), NOW)
    assert engine.is_dirty
    engine.commit()

    assert not engine.is_dirty


def test_a_rollback_restores_everything(engine: Engine) -> None:
    engine.tasks.create(QUEUE, at(NOW + 5, "kept"), NOW)
    engine.tasks.create(QUEUE, at(NOW + 5, "deleted"), NOW)
    engine.queues.create(PARENT, queue(OTHER), NOW)
    engine.commit()

    engine.tasks.create(QUEUE, task("undone"), NOW)
    engine.tasks.delete(name_of("deleted"), NOW)
    engine.queues.pause(QUEUE, NOW)
    engine.queues.delete(OTHER, NOW)
    engine.queues.create(PARENT, queue(f"{PARENT}/queues/new"), NOW)
    engine.rollback()

    assert not engine.is_dirty
    assert [live.path for live in engine.live_queues] == [QUEUE, OTHER]
    assert task_ids(engine) == ["deleted", "kept"]
    assert engine.pending == 2
    assert engine.launcher.next_wake(NOW) == NOW + 5
    engine.tasks.create(QUEUE, task("undone"), NOW)


def test_a_purge_that_is_undone_leaves_its_tasks(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)
    engine.commit()
    engine.queues.purge(QUEUE, NOW)

    engine.rollback()

    assert task_ids(engine) == ["t1"]
    assert attempt(engine, Answer(200), NOW).outcome == "done"


def test_what_was_kept_survives_a_restart(
    make_engine: Callable[..., Engine], path: Path, reopen: Callable[[Engine], Engine]
) -> None:
    engine = make_engine({"retry_config": {"max_attempts": 7}}, path=path)
    engine.tasks.create(QUEUE, task("failed"), NOW)
    failed = attempt(engine, Answer(503), NOW)
    engine.tasks.create(QUEUE, task("sent"), NOW)
    take_one(engine, NOW)
    engine.tasks.create(QUEUE, at(NOW + DAY, "later"), NOW)
    engine.tasks.create(QUEUE, at(NOW + DAY, "ended"), NOW)
    engine.tasks.delete(name_of("ended"), NOW)
    engine.queues.create(PARENT, queue(OTHER), NOW)
    engine.queues.delete(OTHER, NOW)
    engine.queues.pause(QUEUE, NOW)
    engine.commit()
    engine.tasks.create(QUEUE, task("new"), NOW)

    again = reopen(engine)

    try:
        assert task_ids(again) == ["failed", "later", "sent"]
        assert again.pending == 3
        with pytest.raises(ApiError, match="already exists"):
            again.tasks.create(QUEUE, task("ended"), NOW)
        with pytest.raises(ApiError, match="existed too recently"):
            again.queues.create(PARENT, queue(OTHER), NOW)
        assert again.queues.get(QUEUE).retry_config.max_attempts == 7
        assert again.launcher.take_due(NOW + DAY) == []
        again.queues.resume(QUEUE, NOW)
        # What was being sent is sent again, and counts as another attempt.
        sent = take_one(again, NOW)
        assert (sent.task, sent.attempt) == (name_of("sent"), 2)
        assert failed.retry_at is not None
        retried = take_one(again, failed.retry_at)
        assert retried.headers["X-CloudTasks-TaskPreviousResponse"] == "503"
    finally:
        again.store.file.close()


def test_a_run_that_a_crash_cut_off_is_made_up_for_at_once(
    make_engine: Callable[..., Engine], path: Path, reopen: Callable[[Engine], Engine]
) -> None:
    engine = make_engine(path=path)
    engine.tasks.create(QUEUE, at(NOW + DAY, "later"), NOW)
    engine.launcher.run(name_of("later"), NOW)
    engine.commit()

    again = reopen(engine)

    try:
        assert take_one(again, NOW).attempt == 2
    finally:
        again.store.file.close()


def test_a_reset_forgets_everything(engine: Engine) -> None:
    engine.queues.create(PARENT, queue(OTHER), NOW)
    engine.queues.delete(OTHER, NOW)
    engine.tasks.create(QUEUE, task("t1"), NOW)
    dispatch = take_one(engine, NOW)
    engine.store.facts.keep("key", b"value")
    engine.sweeper.sweep(NOW + DAY)
    engine.commit()

    engine.reset()
    engine.commit()

    assert (engine.pending, engine.live_queues) == (0, [])
    assert dispatch.serial not in engine.launcher.flights
    assert engine.store.facts.get("key") is None
    engine.queues.create(PARENT, queue(), NOW)
    engine.queues.create(PARENT, queue(OTHER), NOW)
    engine.tasks.create(QUEUE, task("t1"), NOW)
    [live, _] = engine.live_queues
    assert live.in_flight == 0
    # The clock may have gone back.
    assert engine.sweeper.next_sweep() <= NOW


def test_a_reset_that_is_undone_sends_again_what_was_cut(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)
    take_one(engine, NOW)
    engine.commit()
    engine.reset()

    engine.rollback()

    again = take_one(engine, NOW)
    assert (again.task, again.attempt) == (name_of("t1"), 2)
    [live] = engine.live_queues
    assert (live.depth, live.in_flight) == (1, 1)
