"""Drives the engine: wakes when something is due and sends it."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING

from cloudtask.emulator.targets.messages import Answer, Request
from cloudtask.emulator.tasks.sending.journal import make_attempt
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.identity.tokens import TokenIssuer
    from cloudtask.emulator.storage.commits import Commits
    from cloudtask.emulator.targets.delivery import HttpDelivery
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.model.dispatch import Dispatch
    from cloudtask.emulator.tasks.sending.journal import Attempt, Journal

logger = logging.getLogger("cloudtask.emulator")

#: Why a task for App Engine is not sent, if nobody said where that is.
NO_APP_ENGINE = "nowhere to send App Engine tasks to: set --app-engine-url"
#: How long to wait after a failure, such as a store that cannot be written.
RETRY_SECONDS = 1.0


class Dispatcher:
    """
    Sends due tasks on the running event loop.

    Whoever changes the engine or the clock calls poke() afterwards.
    """

    def __init__(
        self,
        engine: Engine,
        commits: Commits,
        delivery: HttpDelivery,
        issuer: TokenIssuer,
        journal: Journal,
        clock: Clock,
        on_attempt: Callable[[Attempt], object] | None,
    ) -> None:
        self._engine = engine
        self._commits = commits
        self._delivery = delivery
        self._issuer = issuer
        self._journal = journal
        self._clock = clock
        self._on_attempt = on_attempt
        self._sending: set[asyncio.Task[None]] = set()
        self._poked = asyncio.Event()
        self._turned = asyncio.Event()
        self._is_turning = False
        self._sleeps_until = 0
        self._pump: asyncio.Task[None] | None = None
        self._unrecorded = 0  # Flights that ended but are not in the journal.

    def start(self) -> None:
        """Begin to send."""
        self._pump = asyncio.create_task(self._run())
        self.poke()

    def poke(self) -> None:
        """Look for due tasks soon, since the engine has changed."""
        self._journal.note(self._pending)
        now = self._clock.now()
        next_work = self._engine.next_work(now)
        if next_work <= now or next_work < self._sleeps_until:
            self._poked.set()

    def send(self, dispatch: Dispatch) -> None:
        """Send what the engine gave and the store keeps."""
        if dispatch.serial not in self._engine.launcher.flights:
            return  # Everything was reset meanwhile.
        task = asyncio.create_task(self._send(dispatch))
        self._sending.add(task)
        task.add_done_callback(self._on_sent)

    async def wait_until_idle(self) -> None:
        """Return once nothing is due, on its way or to be swept."""
        while self._has_work():
            # An answer, too, makes another turn.
            self._turned.clear()
            await self._turned.wait()

    async def stop(self, grace_seconds: float) -> None:
        """Send nothing more; wait for answers, then cut the connections."""
        if self._pump is not None:
            await _cancel([self._pump])
        if self._sending:
            await asyncio.wait(self._sending, timeout=grace_seconds)
        await self.cut()

    async def cut(self) -> None:
        """Forget what is on its way."""
        while self._sending:  # Meanwhile more may have been sent.
            sending, self._sending = self._sending, set()
            await _cancel(list(sending))

    async def _run(self) -> None:
        while True:
            self._is_turning = True
            self._poked.clear()
            try:
                await self._send_due()
            except Exception as error:
                # Only stop() ends the emulator's work.
                if not isinstance(error, ApiError):  # That was logged.
                    logger.exception("tasks could not be sent")
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._is_turning = False
            self._turned.set()
            await self._until_next()

    async def _send_due(self) -> None:
        now = self._clock.now()
        if self._engine.sweeper.next_sweep() <= now:
            await self._commits.run(lambda: self._engine.sweeper.sweep(now))
            self._journal.note(self._pending)
        due = await self._commits.run(lambda: self._engine.launcher.take_due(now))
        for dispatch in due:
            self.send(dispatch)
        if due:
            self._journal.note(self._pending)

    async def _until_next(self) -> None:
        now = self._clock.now()
        self._sleeps_until = self._engine.next_work(now)
        seconds = max(0, self._sleeps_until - now) / SECOND
        try:
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        except TimeoutError:
            return

    def _has_work(self) -> bool:
        now = self._clock.now()
        is_sending = self._sending or self._engine.launcher.flights
        is_busy = self._is_turning or bool(is_sending)
        return is_busy or self._engine.next_work(now) <= now

    async def _send(self, dispatch: Dispatch) -> None:
        headers = dispatch.headers
        if dispatch.credential is not None:
            # Whoever verifies it goes by the real time.
            real_time = self._clock.now() - self._clock.offset
            token = self._issuer.authorization(dispatch.credential, real_time)
            headers = headers | {"Authorization": token}
        answers = await self._deliver(dispatch, headers)
        now = self._clock.now()
        # One commit may end several: each counts until it is in the journal.
        self._unrecorded += 1
        try:
            verdict = await self._commits.run(
                lambda: self._engine.launcher.complete(dispatch, answers[0], now)
            )
        finally:
            self._unrecorded -= 1
        for answer in answers:
            attempt = make_attempt(dispatch, headers, answer, verdict, now)
            self._journal.note(self._pending, attempt)
            self._report(attempt)
        self._poked.set()

    @property
    def _pending(self) -> int:
        # Those whose end is being committed may be counted twice.
        return self._engine.pending + self._unrecorded

    async def _deliver(
        self, dispatch: Dispatch, headers: dict[str, str]
    ) -> list[Answer]:
        """Send a dispatch, in the way that its fault asks for."""
        send = functools.partial(self._deliver_once, dispatch, headers)
        match dispatch.fault and dispatch.fault.kind:
            case "unreachable":
                return [Answer(error="fault: the target was not reached")]
            case "timeout":
                await send()
                return [Answer(timed_out=True, error="fault: no answer in time")]
            case "drop_answer":
                await send()
                return [Answer(error="fault: the answer was lost")]
            case "duplicate":
                return list(await asyncio.gather(send(), send()))
            case _:
                return [await send()]

    async def _deliver_once(
        self, dispatch: Dispatch, headers: dict[str, str]
    ) -> Answer:
        if dispatch.url.startswith("/"):
            return Answer(error=NO_APP_ENGINE)
        return await self._delivery.send(
            Request(
                dispatch.url,
                dispatch.method,
                headers,
                dispatch.body,
                dispatch.deadline,
            )
        )

    def _report(self, attempt: Attempt) -> None:
        if self._on_attempt is None:
            return
        try:
            self._on_attempt(attempt)
        except Exception:
            # The hook is the user's; the emulator goes on without it.
            logger.exception("on_attempt failed task=%s", attempt.name)

    def _on_sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._poked.set()
        error = None if task.cancelled() else task.exception()
        # If the store is full, the engine undid the answer and sends again.
        if error is not None and not isinstance(error, ApiError):
            logger.error("an attempt was not completed", exc_info=error)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
