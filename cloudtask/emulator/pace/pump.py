"""The loop of a service: it wakes when something is due, and sends it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from cloudtask.emulator.clock import Clock

logger = logging.getLogger("cloudtask.emulator")

#: How long to wait after a failure, such as a store that cannot be written.
RETRY_SECONDS = 1.0


class Work(Protocol):
    """What a pump keeps going. Instants are in microseconds."""

    @property
    def has_flights(self) -> bool:
        """Whether anything is under way that is not kept yet."""
        ...

    def next_send(self, now: int) -> int | None:
        """Return when there is something to send next, None if never."""
        ...

    def next_work(self, now: int) -> int | None:
        """Return when there is anything to do next, None if never."""
        ...

    async def work(self, now: int) -> None:
        """Do what is due, and have the pump carry what is sent."""
        ...


class Pump:
    """
    Keeps work going on the running event loop.

    Whoever changes the work or the clock calls poke() afterwards.
    """

    def __init__(self, work: Work, clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._carried: set[asyncio.Task[None]] = set()
        self._poked = asyncio.Event()
        self._turned = asyncio.Event()
        self._is_turning = False
        self._sleeps_until: int | None = 0
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._loop = asyncio.create_task(self._run())
        self.poke()

    def poke(self) -> None:
        """Look for what is due soon, since something has changed."""
        now = self._clock.now()
        next_work = self._work.next_work(now)
        if next_work is None:
            return
        if (
            next_work <= now
            or self._sleeps_until is None
            or next_work < self._sleeps_until
        ):
            self._poked.set()

    def carry(self, sending: Coroutine[Any, Any, None]) -> None:
        """Carry out a sending beside the loop."""
        task = asyncio.create_task(sending)
        self._carried.add(task)
        task.add_done_callback(self._on_carried)

    def wake(self) -> None:
        """Make another turn."""
        self._poked.set()

    @property
    def next_send(self) -> int | None:
        """When there is something to send next, None if never."""
        return self._work.next_send(self._clock.now())

    @property
    def has_work(self) -> bool:
        """Whether anything is due, on its way or to be cleared up."""
        if self._is_turning or self._carried or self._work.has_flights:
            return True
        now = self._clock.now()
        next_work = self._work.next_work(now)
        return next_work is not None and next_work <= now

    async def wait_for_turn(self) -> None:
        """Return after the next turn; an answer, too, makes one."""
        self._turned.clear()
        await self._turned.wait()

    async def stop(self, grace_seconds: float) -> None:
        """Send nothing more; wait for answers, then cut the connections."""
        if self._loop is not None:
            await _cancel([self._loop])
        if self._carried:
            await asyncio.wait(self._carried, timeout=grace_seconds)
        await self.cut()

    async def cut(self) -> None:
        """Forget what is on its way."""
        while self._carried:  # Meanwhile more may have been sent.
            carried, self._carried = self._carried, set()
            await _cancel(list(carried))

    async def _run(self) -> None:
        while True:
            self._is_turning = True
            self._poked.clear()
            try:
                await self._work.work(self._clock.now())
            except Exception as error:
                # Only stop() ends the emulator's work.
                if not isinstance(error, ApiError):  # That was logged.
                    logger.exception("what is due could not be sent")
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._is_turning = False
            self._turned.set()
            await self._until_next()

    async def _until_next(self) -> None:
        now = self._clock.now()
        self._sleeps_until = until = self._work.next_work(now)
        seconds = None if until is None else max(0, until - now) / SECOND
        try:
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        except TimeoutError:
            return

    def _on_carried(self, task: asyncio.Task[None]) -> None:
        self._carried.discard(task)
        self._poked.set()
        error = None if task.cancelled() else task.exception()
        # If the store is full, the engine undid the answer and sends again.
        if error is not None and not isinstance(error, ApiError):
            logger.error("an attempt was not completed", exc_info=error)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
