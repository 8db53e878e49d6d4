"""What a test can do to an emulator besides calling its API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.pace.travel import Travel
    from cloudtask.emulator.storage.commits import Commits
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.engine.live_queues import LiveQueue
    from cloudtask.emulator.tasks.faults import Fault, Faults
    from cloudtask.emulator.tasks.sending.journal import Attempt, Journal


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue as it is now. Times in microseconds since the epoch."""

    path: str
    message: Any  # The google.cloud.tasks.v2.Queue.
    depth: int  # Tasks that are not finished.
    in_flight: int
    oldest: int | None  # When the first waiting task is due.
    effective_rate: float  # Dispatches per second, less than set if slowed.
    dispatched_last_minute: int


class Instrument:
    """
    The emulator's clock, faults and records, on its event loop.

    Attributes:
        clock: The time of the queues.
        faults: What is to go wrong on purpose.
        journal: What was sent so far.
    """

    def __init__(
        self,
        engine: Engine,
        commits: Commits,
        travel: Travel,
        journal: Journal,
        clock: Clock,
        faults: Faults,
        declare: Callable[[], object],
    ) -> None:
        self.clock = clock
        self.faults = faults
        self.journal = journal
        self._engine = engine
        self._commits = commits
        self._travel = travel
        self._declare = declare

    def queues(self) -> list[QueueView]:
        """Return all queues, ordered by their paths."""
        now = self.clock.now()
        return [self._view(queue, now) for queue in self._engine.live_queues]

    def inject(self, fault: Fault) -> Fault:
        """Let something go wrong from now on, and return it with its id."""
        added = self.faults.add(fault)
        self._tell()
        return added

    def remove_fault(self, number: int) -> bool:
        """Remove a fault, and tell whether there was one."""
        is_known = self.faults.remove(number)
        self._tell()
        return is_known

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.faults.clear()
        self._tell()

    async def drain(self, timeout: float) -> list[Attempt]:
        """
        Send what is due, and what becomes due by that, until nothing is.

        Returns:
            The attempts made meanwhile.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
        """
        return await self.advance(0, timeout)

    async def advance(self, microseconds: int, timeout: float) -> list[Attempt]:
        """
        Move the clock, stopping wherever something is due on the way.

        Whatever is sent is answered before the clock moves on, so that a task
        that fails is tried again as often as its retries fall into the time.

        Returns:
            The attempts made meanwhile.

        Raises:
            ValueError: The clock cannot go back.
            TimeoutError: It took longer than `timeout` seconds.
        """
        seen = self.journal.count
        try:
            await self._travel.advance(microseconds, timeout)
        finally:
            self._tell()
        return self.journal.list_since(seen)

    async def reset(self) -> None:
        """
        Forget queues, tasks, names, attempts and faults, and reset the clock.

        The queues that were declared at the start are there again.
        """
        await self._travel.cut()

        def forget() -> None:
            self._engine.reset()
            self.faults.clear()
            self.clock.reset()
            self._declare()

        try:
            await self._commits.run(forget)
            self.journal.clear()
        finally:
            self._travel.poke()
            self._tell()

    def _view(self, queue: LiveQueue, now: int) -> QueueView:
        figures = queue.figures(self._engine.store, now)
        return QueueView(path=queue.path, message=queue.message, **figures._asdict())

    def _tell(self) -> None:
        # Faults do not belong to the engine, whose changes are noted.
        self.journal.note(self._engine.pending)
