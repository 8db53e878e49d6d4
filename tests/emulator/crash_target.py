"""A target that remembers every attempt and which process made it."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

from aiohttp import web

from tests.emulator.crash_clients import queue_of, queue_path
from tests.emulator.crash_process import PATIENCE

# How many attempts of a task fail, by behaviour.
_FAILURES = {"once": 1, "flaky": 2}


@dataclass
class Arrival:
    """An attempt that the target saw."""

    task: str  # Its full name.
    key: str
    attempt: int  # 1 is the first.
    previous: str | None  # The answer before, as the headers say.
    life: int  # Counts the processes that were targets of kills.
    status: int | None = None  # How it was answered; None if it was not.


class CrashTarget:
    """
    Answers `/BEHAVIOUR/KEY`: a key tells which request made the task.

    `now` succeeds at once, `once` fails one attempt, `flaky` fails two, `hold`
    succeeds when release() is called.

    Attributes:
        arrivals: All attempts so far.
        on_arrival: Called after each, on the target's own thread.
        life: Which process it is that makes attempts now.
    """

    def __init__(self) -> None:
        self.url = ""
        self.arrivals: list[Arrival] = []
        self.on_arrival: Callable[[], object] = lambda: None
        self.life = 0
        self._held: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def serving(self) -> Iterator[Self]:
        started = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        thread.start()
        started.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    def wait_for_held(self, number: int) -> None:
        """Return when attempts of so many tasks of this life are held."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._held) == number, PATIENCE)

    @property
    def done(self) -> set[str]:
        """The tasks that had success."""
        return {each.task for each in self.arrivals if each.status == 200}

    def attempts(self, queue: str) -> dict[str, list[Arrival]]:
        """Return the attempts of a queue's tasks, by their names."""
        attempts: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in self.arrivals:
            if queue_of(arrival.task) == queue_path(queue):
                attempts[arrival.task].append(arrival)
        return attempts

    def begin_life(self) -> None:
        """Take what comes from now on for another process's: one is dead."""
        self._run(self._begin_life())

    def release(self) -> None:
        """Answer what is held, and hold nothing more in this life."""

        async def release() -> None:
            self._gate.set_result(True)

        self._run(release())

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        # Tells what is held whether there is still somebody to answer to.
        self._gate: asyncio.Future[bool] = self._loop.create_future()
        app = web.Application()
        app.router.add_post("/{behaviour}/{key}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        started.set()
        await self._stop.wait()
        self._end_life()
        await self._runner.cleanup()

    async def _begin_life(self) -> None:
        self._end_life()
        # What the dead process sent is read before its connections end.
        deadline = monotonic() + PATIENCE
        assert self._runner.server is not None
        while self._runner.server.connections:
            assert monotonic() < deadline
            await asyncio.sleep(0)
        self._gate = self._loop.create_future()
        with self._changed:
            self._held.clear()
        self.life += 1

    def _end_life(self) -> None:
        if not self._gate.done():
            self._gate.set_result(False)

    async def _answer(self, request: web.Request) -> web.Response:
        headers = request.headers
        behaviour = request.match_info["behaviour"]
        arrival = Arrival(
            f"{queue_path(headers['X-CloudTasks-QueueName'])}/tasks/"
            + headers["X-CloudTasks-TaskName"],
            request.match_info["key"],
            int(headers["X-CloudTasks-TaskRetryCount"]) + 1,
            headers.get("X-CloudTasks-TaskPreviousResponse"),
            self.life,
        )
        self.arrivals.append(arrival)
        self.on_arrival()
        if behaviour == "hold" and not await self._is_released(arrival.task):
            return web.Response(status=503)  # To nobody.
        failed = arrival.attempt <= _FAILURES.get(behaviour, 0)
        arrival.status = 500 if failed else 200
        return web.Response(status=arrival.status)

    async def _is_released(self, task: str) -> bool:
        with self._changed:
            self._held.add(task)
            self._changed.notify_all()
        return await asyncio.shield(self._gate)
