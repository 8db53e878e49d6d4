"""What a cancelled coroutine does about its work in threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from cloudtask.dispatch.deferral import Deferral, _fulfil

PATIENCE = 10


class Work:
    """Is done in a thread, from `begun` until `go_on`."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.is_done = False

    def __call__(self) -> str:
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        self.is_done = True
        return "done"


async def wait_for(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


async def finish(task: asyncio.Task[str]) -> None:
    """Give a cancellation the time to do harm."""
    await asyncio.wait([task], timeout=0.05)
    assert not task.done()


def test_a_cancellation_waits_for_the_end_and_is_let_through() -> None:
    async def run() -> None:
        work, deferral = Work(), Deferral()
        task = asyncio.ensure_future(deferral.in_thread(work))
        await wait_for(work.begun)
        for _ in range(2):
            task.cancel("enough")
            await finish(task)
        work.go_on.set()

        assert await task == "done"
        with pytest.raises(asyncio.CancelledError, match="enough"):
            deferral.let_through()
        deferral.let_through()

    asyncio.run(run())


def test_a_loop_that_closes_waits_for_what_has_begun_alone() -> None:
    async def run() -> None:
        first, second = Work(), Work()
        tasks = [
            asyncio.ensure_future(Deferral().in_thread(w)) for w in (first, second)
        ]
        await wait_for(first.begun)
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await finish(tasks[0])
        first.go_on.set()

        assert await tasks[0] == "done"
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        assert not second.begun.is_set()

    asyncio.run(run())


def test_a_thread_that_comes_too_late_does_not_begin() -> None:
    work, outcome = Work(), Future[str]()
    outcome.cancel()
    _fulfil(outcome, work)

    assert not work.begun.is_set()


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_what_a_function_raises_is_raised(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        asyncio.run(Deferral().in_thread(fail))

    assert caught.value is error


def test_a_generators_end_is_no_end_of_the_coroutine() -> None:
    def fail() -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(Deferral().in_thread(fail))
