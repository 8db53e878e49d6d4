"""The service's parts on one loop: no network, and time stands still."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from cloudtask.emulator.changes import Changes, Records
from cloudtask.emulator.clock import Clock
from cloudtask.emulator.identity.tokens import TokenIssuer
from cloudtask.emulator.pace.travel import Travel
from cloudtask.emulator.scheduler.service import SchedulerService
from cloudtask.emulator.storage.commits import Commits
from tests.emulator.parts import Delivery

from .samples import NOW, open_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cloudtask.emulator.scheduler.engine.engine import Engine
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt
    from cloudtask.emulator.targets.delivery import HttpDelivery


@dataclass(frozen=True)
class Parts:
    engine: Engine
    commits: Commits
    delivery: Delivery
    attempts: Records[JobAttempt]
    clock: Clock
    travel: Travel
    service: SchedulerService

    async def call(self, method: str, request: Any) -> Any:
        return await self.service.api.call(method, request)

    def fill_disk(self) -> None:
        """Let the store not grow any more."""
        (pages,) = self._run("PRAGMA page_count").fetchone()
        self._run(f"PRAGMA max_page_count = {pages}")

    def free_disk(self) -> None:
        self._run("PRAGMA max_page_count = 1000000")

    def _run(self, statement: str) -> Any:
        return self.engine.store.file.read(statement)


@asynccontextmanager
async def running(
    path: Path | None = None,
    *,
    now: int = NOW,
    on_attempt: Any = None,
    **options: Any,
) -> AsyncIterator[Parts]:
    """
    Give the parts, at work.

    Args:
        path: Of the store; None keeps all in memory.
        now: Where the clock stands.
        on_attempt: As of the service.
        options: As of the engine.
    """
    with open_engine(path, **options) as engine:
        commits = Commits(engine)
        delivery = Delivery()
        delivery.gate.set()
        changes = Changes()
        attempts: Records[JobAttempt] = Records(changes, 1000)
        clock = Clock(lambda: now)
        travel = Travel(clock)
        service = SchedulerService(
            engine,
            commits,
            cast("HttpDelivery", delivery),
            TokenIssuer(),
            attempts=attempts,
            changes=changes,
            clock=clock,
            travel=travel,
            on_attempt=on_attempt,
        )
        service.dispatcher.pump.start()
        try:
            yield Parts(engine, commits, delivery, attempts, clock, travel, service)
        finally:
            delivery.gate.set()
            await service.dispatcher.pump.stop(10)
            commits.commit()
