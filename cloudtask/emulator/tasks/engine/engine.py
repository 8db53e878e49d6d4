"""
The state machine: queues, tasks, retries and tombstones.

Plain values and `now` (microseconds since the epoch) in, values out. It reads
no clock, sends nothing and starts nothing: whoever drives it calls take_due()
when next_wake() has come, sends what it gets, and hands back the answers. What
it did is kept with commit(), all of it, or undone with rollback().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudtask.emulator.tasks.engine.launcher import Launcher
from cloudtask.emulator.tasks.engine.live_queues import LiveQueues
from cloudtask.emulator.tasks.engine.queue_methods import QueueMethods
from cloudtask.emulator.tasks.engine.sweeper import Sweeper
from cloudtask.emulator.tasks.engine.task_methods import TaskMethods
from cloudtask.emulator.tasks.model import queues

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.tasks.engine.live_queues import LiveQueue
    from cloudtask.emulator.tasks.faults import Faults
    from cloudtask.emulator.tasks.model.queues import QueueOptions
    from cloudtask.emulator.tasks.tables.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What the service decides and a developer may change. In microseconds."""

    tombstone_ttl: int  # Names of finished and deleted tasks stay blocked.
    queue_tombstone_ttl: int  # Names of deleted queues, too.
    create_queues: bool = False  # A task makes the queue that it names.
    concurrency: int | None = None  # Of declared queues that are made without.
    app_engine_url: str | None = None  # Where App Engine tasks are sent.
    require_https: bool = False  # For tasks with a token, local ones, too.


class Engine:
    """
    All queues and tasks of one emulator.

    Args:
        store: Where they are kept.
        faults: What is to go wrong with dispatches on purpose.
        new_id: Returns a fresh random id for a task without a name.
        options: See EngineOptions.

    Attributes:
        queues: What the API does to queues.
        tasks: What it does to tasks.
        launcher: Starts their dispatches and takes the answers.
        sweeper: Removes what is over.
    """

    def __init__(
        self,
        store: Store,
        faults: Faults,
        new_id: Callable[[], str],
        options: EngineOptions,
    ) -> None:
        self.store = store
        limit = options.concurrency
        self._defaults: QueueOptions = (
            {} if limit is None else {"max_concurrent_dispatches": limit}
        )
        self._live = LiveQueues(store, options.tombstone_ttl)
        self.queues = QueueMethods(
            store,
            self._live,
            task_tombstone_ttl=options.tombstone_ttl,
            tombstone_ttl=options.queue_tombstone_ttl,
            defaults=self._defaults,
        )
        self.tasks = TaskMethods(
            store,
            self._live,
            new_id,
            self._make_queue if options.create_queues else None,
            require_https=options.require_https,
        )
        self.launcher = Launcher(store, self._live, faults, options.app_engine_url)
        self.sweeper = Sweeper(store, self._live)
        self._load()

    @property
    def pending(self) -> int:
        """How many tasks are not finished: waiting, due or in flight."""
        return self._live.overview.pending

    @property
    def live_queues(self) -> list[LiveQueue]:
        """All queues, ordered by their paths."""
        return self._live.list_by_path()

    @property
    def is_dirty(self) -> bool:
        """Whether anything was done that is not kept yet."""
        return self.store.file.is_dirty

    def next_work(self, now: int) -> int:
        """Return when there is something to send or to sweep next."""
        sweep = self.sweeper.next_sweep()
        wake = self.launcher.next_wake(now)
        return sweep if wake is None else min(wake, sweep)

    def commit(self) -> None:
        """
        Keep what was done.

        Raises:
            sqlite3.Error: It could not be kept; call rollback().
        """
        self.store.file.commit()
        self.launcher.flights.commit()

    def rollback(self) -> None:
        """
        Undo everything since the last commit().

        A dispatch that was taken meanwhile must not be sent, and one whose
        answer came meanwhile is sent again.
        """
        self.store.file.rollback()
        self.launcher.flights.rollback()
        self._load()

    def reset(self) -> None:
        """Forget everything."""
        self.launcher.flights.clear()
        self.store.file.clear()
        self.sweeper = Sweeper(self.store, self._live)  # The clock may go back.
        self._load()

    def _load(self) -> None:
        self._live.load(self.launcher.flights.count_by_queue())

    def _make_queue(self, path: str, now: int) -> None:
        parent, _, _ = path.partition("/queues/")
        self.queues.create(parent, queues.make_declared(path, self._defaults), now)
