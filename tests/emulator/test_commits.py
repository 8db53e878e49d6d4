import asyncio
import sqlite3
from pathlib import Path

import pytest
from google.rpc import code_pb2

from cloudtask.emulator.storage import commits as module
from cloudtask.emulator.storage.commits import Commits, States
from cloudtask.emulator.storage.file import StoreFile
from cloudtask.emulator.tasks.engine.engine import Engine, EngineOptions
from cloudtask.emulator.tasks.faults import Faults
from cloudtask.emulator.tasks.tables.store import Store
from cloudtask.emulator.values.errors import ApiError, entity_not_found
from tests.emulator.parts import running
from tests.emulator.samples import DAY, NOW, PARENT, QUEUE, queue, task
from tests.emulator.scheduler.samples import JOB, job, open_engine


class Counted(Commits):
    """Counts how often it commits."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.count = 0

    def commit(self) -> None:
        self.count += 1
        super().commit()


@pytest.fixture
def commits(engine: Engine) -> Counted:
    engine.commit()
    return Counted(engine)


def create(engine: Engine, task_id: str) -> str:
    return str(engine.tasks.create(QUEUE, task(task_id), NOW).name)


def fail() -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_states_of_one_file_are_kept_and_undone_together() -> None:
    with open_engine() as jobs:
        tasks = open_tasks_engine(jobs.store.file)
        states = States(tasks, jobs)
        tasks.queues.create(PARENT, queue(), NOW)
        jobs.jobs.create(PARENT, job(), NOW)
        assert states.is_dirty
        states.commit()
        tasks.queues.delete(QUEUE, NOW)
        jobs.jobs.delete(JOB)

        states.rollback()

        assert not states.is_dirty
        assert [each.path for each in tasks.live_queues] == [QUEUE]
        assert jobs.jobs.get(JOB).name == JOB


def open_tasks_engine(file: StoreFile) -> Engine:
    options = EngineOptions(tombstone_ttl=DAY, queue_tombstone_ttl=DAY)
    return Engine(Store(file), Faults(), str, options)


def test_an_action_is_answered_once_it_is_kept(
    engine: Engine, commits: Counted
) -> None:
    name = asyncio.run(commits.run(lambda: create(engine, "t1")))

    assert name == f"{QUEUE}/tasks/t1"
    assert not engine.is_dirty
    engine.rollback()
    assert engine.pending == 1


def test_actions_of_one_turn_are_kept_together(
    engine: Engine, commits: Counted
) -> None:
    async def main() -> None:
        await asyncio.gather(
            *(commits.run(lambda n=n: create(engine, f"t{n}")) for n in range(50))
        )

    asyncio.run(main())

    assert commits.count == 1
    assert engine.pending == 50


def test_what_only_reads_waits_for_nothing(engine: Engine, commits: Counted) -> None:
    assert asyncio.run(commits.run(lambda: engine.pending)) == 0

    assert commits.count == 0


def test_what_reads_waits_for_what_it_may_have_read(
    engine: Engine, commits: Counted
) -> None:
    async def main() -> bool:
        writing = asyncio.create_task(commits.run(lambda: create(engine, "t1")))
        while not engine.is_dirty:
            await asyncio.sleep(0)
        assert await commits.run(lambda: engine.pending) == 1
        dirty = engine.is_dirty
        await writing
        return dirty

    assert asyncio.run(main()) is False


def test_a_refusal_is_told_once_what_led_to_it_is_kept(
    engine: Engine, commits: Counted
) -> None:
    def create_and_refuse() -> None:
        create(engine, "t1")
        raise entity_not_found()

    with pytest.raises(ApiError, match="entity was not found"):
        asyncio.run(commits.run(create_and_refuse))

    assert not engine.is_dirty
    assert engine.pending == 1


@pytest.mark.parametrize("fails", ["action", "commit"])
def test_all_of_a_turn_are_told_if_it_cannot_be_kept(
    engine: Engine,
    commits: Counted,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fails: str,
) -> None:
    async def main() -> list[object]:
        actions = [lambda: create(engine, "t1"), lambda: create(engine, "t2")]
        if fails == "action":
            actions.append(fail)  # type: ignore[arg-type]
        else:
            monkeypatch.setattr(engine.store.file, "commit", fail)
        return await asyncio.gather(
            *(commits.run(action) for action in actions), return_exceptions=True
        )

    results = asyncio.run(main())

    for result in results:
        assert isinstance(result, ApiError)
        assert result.code == code_pb2.UNAVAILABLE
        assert result.message == (
            "The emulator cannot write its store; nothing of this call is kept: "
            "database or disk is full"
        )
    assert caplog.messages == ["the store cannot be written: database or disk is full"]
    assert not engine.is_dirty
    assert engine.pending == 0


def test_it_goes_on_after_a_failure(engine: Engine, commits: Counted) -> None:
    async def main() -> None:
        with pytest.raises(ApiError):
            await commits.run(fail)
        await commits.run(lambda: create(engine, "t1"))

    asyncio.run(main())

    assert (engine.pending, engine.is_dirty) == (1, False)


def test_an_undone_turn_does_not_commit_the_next_one_for_it(
    engine: Engine, commits: Counted
) -> None:
    """The timer of what was undone goes off in vain."""

    async def main() -> None:
        first = asyncio.create_task(commits.run(lambda: create(engine, "t1")))
        second = asyncio.create_task(commits.run(fail))
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(each, ApiError) for each in results)
        await asyncio.sleep(0)

    asyncio.run(main())

    assert commits.count == 0


def test_who_gives_up_takes_nobodys_answer_away(
    engine: Engine, commits: Counted
) -> None:
    async def main() -> str:
        leaving = asyncio.create_task(commits.run(lambda: create(engine, "t1")))
        staying = asyncio.create_task(commits.run(lambda: create(engine, "t2")))
        while engine.pending < 2:
            await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    assert asyncio.run(main()) == f"{QUEUE}/tasks/t2"
    assert (engine.pending, engine.is_dirty) == (2, False)


def test_a_failure_that_nobody_waits_for_is_logged_and_no_more(
    engine: Engine, commits: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.store.file, "commit", fail)

    async def main() -> None:
        leaving = asyncio.create_task(commits.run(lambda: create(engine, "t1")))
        while not engine.pending:
            await asyncio.sleep(0)
        leaving.cancel()
        while engine.pending:
            await asyncio.sleep(0)

    asyncio.run(main(), debug=True)


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_kept_when_the_loop_ends(
    engine: Engine, commits: Counted, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    create(engine, "t1")
    if fails:
        monkeypatch.setattr(engine.store.file, "commit", fail)

    commits.commit()

    assert (engine.pending, engine.is_dirty) == (not fails, False)


def test_where_many_wait_a_commit_waits_for_more(
    engine: Engine, commits: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 0.001, 1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))

    async def turn(*task_ids: str) -> float:
        await asyncio.gather(
            *(commits.run(lambda i=i: create(engine, i)) for i in task_ids)
        )
        return commits._linger_seconds

    async def main() -> list[float]:
        return [await turn("a", "b"), await turn("c", "d"), await turn("e")]

    few, longest, alone = asyncio.run(main())

    assert few == pytest.approx(0.004)
    assert longest == 0.005
    assert alone == 0


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"

    async def main() -> list[str]:
        async with running(path, start=False) as parts:
            acknowledged = []
            parts.fill_disk()
            for number in range(200):
                task_id = f"t{number}"
                try:
                    message = task(task_id, http={"body": b"x" * 1000})
                    await parts.commits.run(
                        lambda m=message: parts.engine.tasks.create(QUEUE, m, NOW)
                    )
                except ApiError:
                    parts.free_disk()
                else:
                    acknowledged.append(task_id)
                    parts.fill_disk()
            return acknowledged

    acknowledged = asyncio.run(main())

    async def kept() -> list[str]:
        async with running(path, start=False) as parts:
            tasks, _ = parts.engine.tasks.list(QUEUE, NOW)
            return [each.name.rpartition("/")[2] for each in tasks]

    assert 0 < len(acknowledged) < 200
    assert sorted(asyncio.run(kept())) == sorted(acknowledged)
