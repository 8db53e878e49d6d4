"""Drives the engine: wakes when something is due and sends it."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING

from cloudtask.emulator.pace.pump import Pump
from cloudtask.emulator.targets.messages import Answer, Request
from cloudtask.emulator.tasks.sending.journal import make_attempt

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


class Dispatcher:
    """
    Sends due tasks on the running event loop.

    Whoever changes the engine calls poke() afterwards.

    Attributes:
        pump: Keeps it going.
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
        self._unrecorded = 0  # Flights that ended but are not in the journal.
        self.pump = Pump(self, clock)

    @property
    def has_flights(self) -> bool:
        """Whether any task is under way."""
        return bool(self._engine.launcher.flights)

    def next_send(self, now: int) -> int | None:
        """Return when a task is to be sent next, None if never."""
        return self._engine.launcher.next_wake(now)

    def next_work(self, now: int) -> int | None:
        """Return when there is something to send or to sweep next."""
        return self._engine.next_work(now)

    def start(self) -> None:
        """Begin to send."""
        self._journal.note(self._pending)
        self.pump.start()

    def poke(self) -> None:
        """Look for due tasks soon, since the engine has changed."""
        self._journal.note(self._pending)
        self.pump.poke()

    def send(self, dispatch: Dispatch) -> None:
        """Send what the engine gave and the store keeps."""
        # Or everything was reset meanwhile.
        if dispatch.serial in self._engine.launcher.flights:
            self.pump.carry(self._send(dispatch))

    async def work(self, now: int) -> None:
        """Sweep, and send what is due."""
        if self._engine.sweeper.next_sweep() <= now:
            await self._commits.run(lambda: self._engine.sweeper.sweep(now))
            self._journal.note(self._pending)
        due = await self._commits.run(lambda: self._engine.launcher.take_due(now))
        for dispatch in due:
            self.send(dispatch)
        if due:
            self._journal.note(self._pending)

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
        self.pump.wake()

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
