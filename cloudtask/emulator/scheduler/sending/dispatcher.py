"""Drives the engine: wakes when a job is due and sends it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloudtask.emulator.pace.pump import Pump
from cloudtask.emulator.scheduler.sending.attempts import make_attempt
from cloudtask.emulator.targets.messages import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.changes import Changes, Records
    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.identity.tokens import TokenIssuer
    from cloudtask.emulator.scheduler.engine.engine import Engine
    from cloudtask.emulator.scheduler.model.dispatch import Dispatch
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt
    from cloudtask.emulator.storage.commits import Commits
    from cloudtask.emulator.targets.delivery import HttpDelivery

logger = logging.getLogger("cloudtask.emulator")

#: Why jobs of these targets are not sent.
NO_APP_ENGINE = "nowhere to send App Engine jobs to: set --app-engine-url"
NO_PUBSUB = "not delivered: the emulator has no Pub/Sub to publish to"


class Dispatcher:
    """
    Sends due jobs on the running event loop.

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
        attempts: Records[JobAttempt],
        changes: Changes,
        clock: Clock,
        on_attempt: Callable[[JobAttempt], object] | None,
    ) -> None:
        self._engine = engine
        self._commits = commits
        self._delivery = delivery
        self._issuer = issuer
        self._attempts = attempts
        self._changes = changes
        self._clock = clock
        self._on_attempt = on_attempt
        self.pump = Pump(self, clock)

    @property
    def has_flights(self) -> bool:
        """Whether any attempt is under way."""
        return bool(self._engine.launcher.flights)

    def next_send(self, now: int) -> int | None:
        """Return when a job is to be sent next, None if never."""
        return self._engine.launcher.next_wake(now)

    def next_work(self, now: int) -> int | None:
        """Return the same: there is nothing else to do."""
        return self.next_send(now)

    def poke(self) -> None:
        """Look for due jobs soon, since the engine has changed."""
        with self._changes.make():
            self.pump.poke()

    def send(self, dispatch: Dispatch) -> None:
        """Send what the engine gave and the store keeps."""
        # Or everything was reset meanwhile.
        if dispatch.execution in self._engine.launcher.flights:
            self.pump.carry(self._send(dispatch))

    async def work(self, now: int) -> None:
        """Send what is due."""
        due = await self._commits.run(lambda: self._engine.launcher.take_due(now))
        for dispatch in due:
            self.send(dispatch)
        if due:
            self.poke()

    async def _send(self, dispatch: Dispatch) -> None:
        headers = dispatch.headers
        if dispatch.credential is not None:
            # Whoever verifies it goes by the real time.
            real_time = self._clock.now() - self._clock.offset
            token = self._issuer.authorization(dispatch.credential, real_time)
            headers = headers | {"Authorization": token}
        answer = await self._deliver(dispatch, headers)
        now = self._clock.now()
        verdict = await self._commits.run(
            lambda: self._engine.launcher.complete(dispatch, answer, now)
        )
        attempt = make_attempt(dispatch, headers, answer, verdict, now)
        self._attempts.add(attempt)
        self._report(attempt)
        self.pump.wake()

    async def _deliver(self, dispatch: Dispatch, headers: dict[str, str]) -> Answer:
        if dispatch.target_type == "PUB_SUB":
            return Answer(error=NO_PUBSUB)
        if dispatch.url.startswith("/"):
            return Answer(error=NO_APP_ENGINE)
        return await self._delivery.send(
            Request(
                dispatch.url,
                dispatch.method,
                headers,
                dispatch.body,
                dispatch.deadline,
                follow_redirects=True,
            )
        )

    def _report(self, attempt: JobAttempt) -> None:
        if self._on_attempt is None:
            return
        try:
            self._on_attempt(attempt)
        except Exception:
            # The hook is the user's; the emulator goes on without it.
            logger.exception("on_job_attempt failed job=%s", attempt.name)
