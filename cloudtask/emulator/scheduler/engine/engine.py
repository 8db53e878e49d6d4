"""
The state machine: jobs, their executions, retries and logs.

Plain values and `now` (microseconds since the epoch) in, values out. It reads
no clock, sends nothing and starts nothing: whoever drives it calls take_due()
when next_wake() has come, sends what it gets, and hands back the answers. What
it did is kept with commit(), all of it, or undone with rollback().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.emulator.scheduler.engine.agenda import Agenda
from cloudtask.emulator.scheduler.engine.job_methods import JobMethods
from cloudtask.emulator.scheduler.engine.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.scheduler.engine.options import EngineOptions
    from cloudtask.emulator.scheduler.tables.store import Store


class Engine:
    """
    All jobs of one emulator.

    Args:
        store: Where they are kept.
        new_id: Returns a fresh random id for a job without a name.
        options: See EngineOptions.

    Attributes:
        agenda: When jobs are due.
        jobs: What the API does to jobs.
        launcher: Starts their attempts and takes the answers.
    """

    def __init__(
        self, store: Store, new_id: Callable[[], str], options: EngineOptions
    ) -> None:
        self.store = store
        self.agenda = Agenda(options.doubled)
        self.jobs = JobMethods(store, self.agenda, new_id)
        self.launcher = Launcher(store, self.agenda, options)

    @property
    def is_dirty(self) -> bool:
        """Whether anything was done that is not kept yet."""
        return self.store.file.is_dirty

    def commit(self) -> None:
        """
        Keep what was done.

        Raises:
            sqlite3.Error: It could not be kept; call rollback().
        """
        self.store.file.commit()

    def rollback(self) -> None:
        """
        Undo everything since the last commit().

        An attempt that was taken meanwhile must not be sent, and one whose
        answer came meanwhile is made again.
        """
        self.store.file.rollback()
        self.launcher.undo()

    def forget(self) -> None:
        """Forget what is not in the store, whose file was cleared."""
        self.jobs.forget()
        self.launcher.forget()
