"""The emulator's parts on one loop: no network, and time stands still."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from cloudtask.emulator.clock import Clock
from cloudtask.emulator.identity.tokens import TokenIssuer
from cloudtask.emulator.pace.travel import Travel
from cloudtask.emulator.storage.commits import Commits
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.api.methods import Api
from cloudtask.emulator.tasks.faults import Faults
from cloudtask.emulator.tasks.instrument import Instrument
from cloudtask.emulator.tasks.sending.dispatcher import Dispatcher
from cloudtask.emulator.tasks.sending.journal import Journal
from tests.emulator.samples import NOW, PARENT, QUEUE, open_engine, queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cloudtask.emulator.targets.delivery import HttpDelivery
    from cloudtask.emulator.targets.messages import Request
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.sending.journal import Attempt


@dataclass
class Delivery:
    """Answers from a script, then 200; a shut gate holds the answers."""

    answers: list[Answer] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, request: Request) -> Answer:
        self.sent.append(request)
        answer = self.answers.pop(0) if self.answers else Answer(200)
        await self.gate.wait()
        return answer

    @property
    def task_ids(self) -> list[str]:
        return [each.headers["X-CloudTasks-TaskName"] for each in self.sent]


@dataclass(frozen=True)
class Parts:
    engine: Engine
    commits: Commits
    delivery: Delivery
    journal: Journal
    clock: Clock
    faults: Faults
    dispatcher: Dispatcher
    travel: Travel
    instrument: Instrument
    api: Api

    async def until(self, condition: Callable[[], object]) -> None:
        """Return as soon as a condition is true; it is asked after changes."""
        with self.journal.changes.watch() as changed:
            async with asyncio.timeout(10):
                while not condition():
                    await changed.wait()
                    changed.clear()

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
    fields: dict[str, Any] | None = None,
    start: bool = True,
    on_attempt: Callable[[Attempt], object] | None = None,
    **options: Any,
) -> AsyncIterator[Parts]:
    """
    Give the parts, at work.

    Args:
        path: Of the store; None keeps all in memory.
        fields: Of the queue `default`.
        start: Whether due tasks are sent.
        on_attempt: As of the Dispatcher.
        options: As of the engine.
    """
    faults = Faults()
    engine = open_engine(path, faults, **options)
    commits = Commits(engine)
    delivery = Delivery()
    delivery.gate.set()
    journal = Journal()
    clock = Clock(lambda: NOW)
    dispatcher = Dispatcher(
        engine,
        commits,
        cast("HttpDelivery", delivery),
        TokenIssuer(),
        journal,
        clock,
        on_attempt,
    )

    def declare() -> None:
        if QUEUE not in {live.path for live in engine.live_queues}:
            engine.queues.create(PARENT, queue(**(fields or {})), clock.now())

    travel = Travel(clock)
    travel.add(dispatcher.pump)
    instrument = Instrument(engine, commits, travel, journal, clock, faults, declare)
    api = Api(
        engine,
        commits,
        clock,
        faults,
        changed=dispatcher.poke,
        send=dispatcher.send,
    )
    try:
        declare()
        commits.commit()
        if start:
            dispatcher.start()
        yield Parts(
            engine,
            commits,
            delivery,
            journal,
            clock,
            faults,
            dispatcher,
            travel,
            instrument,
            api,
        )
    finally:
        delivery.gate.set()
        await dispatcher.pump.stop(10)
        engine.store.file.close()
