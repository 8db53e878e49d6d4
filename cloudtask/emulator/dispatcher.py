"""Drives the engine: wakes when something is due and sends it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from cloudtask.emulator.instants import SECOND
from cloudtask.emulator.journal import attempt_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.delivery import HttpDelivery
    from cloudtask.emulator.dispatches import Dispatch
    from cloudtask.emulator.engine import Engine
    from cloudtask.emulator.journal import Attempt, Journal
    from cloudtask.emulator.tokens import TokenIssuer

logger = logging.getLogger("cloudtask.emulator")


class Dispatcher:
    """
    Sends due tasks on the running event loop.

    Whoever changes the engine calls poke() afterwards.
    """

    def __init__(
        self,
        engine: Engine,
        delivery: HttpDelivery,
        issuer: TokenIssuer,
        journal: Journal,
        clock: Callable[[], int],
        on_attempt: Callable[[Attempt], object] | None,
    ) -> None:
        self._engine = engine
        self._delivery = delivery
        self._issuer = issuer
        self._journal = journal
        self._clock = clock
        self._on_attempt = on_attempt
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._poked = False
        self._stopped = False

    def poke(self) -> None:
        """
        Take note that the engine changed; what is due is sent right after.

        Not at once: the caller's answer shows the task as it is now, and a
        burst of changes wants to be looked at once.
        """
        self._journal.note(self._engine.pending)
        if self._poked or self._stopped:
            return
        self._poked = True
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_soon(self._send_due)

    async def stop(self, grace_seconds: float) -> None:
        """Send nothing more; wait for answers, then cut the connections."""
        self._stopped = True
        self._cancel_timer()
        if self._sending:
            await asyncio.wait(self._sending, timeout=grace_seconds)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _send_due(self) -> None:
        self._poked = False
        loop = asyncio.get_running_loop()
        for dispatch in self._engine.take_due(self._clock()):
            task = loop.create_task(self._send(dispatch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._cancel_timer()
        due = self._engine.next_due()
        if due is not None:
            wait = max(0, due - self._clock()) / SECOND
            self._timer = loop.call_later(wait, self._send_due)

    async def _send(self, dispatch: Dispatch) -> None:
        headers = dispatch.headers
        if dispatch.credential is not None:
            token = self._issuer.authorization(dispatch.credential, self._clock())
            headers = headers | {"Authorization": token}
        answer = await self._delivery.send(dispatch, headers)
        now = self._clock()
        verdict = self._engine.complete(dispatch, answer, now)
        attempt = attempt_of(dispatch, headers, answer, verdict, now)
        self._journal.note(self._engine.pending, attempt)
        self._report(attempt)
        self.poke()

    def _report(self, attempt: Attempt) -> None:
        if self._on_attempt is None:
            return
        try:
            self._on_attempt(attempt)
        except Exception:
            # The hook is the user's; the emulator goes on without it.
            logger.exception("on_attempt failed task=%s", attempt.name)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
