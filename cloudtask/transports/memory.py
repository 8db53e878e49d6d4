"""A queue in this process, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

from cloudtask.conf import clock
from cloudtask.dispatch import execution
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.dispatch.outcomes import Outcome, Status
from cloudtask.exceptions import Retry
from cloudtask.transports.base import QueueTransport
from cloudtask.transports.in_process import UsedNames, make_meta
from cloudtask.wire.limits import DEFAULT_MAX_ATTEMPTS
from cloudtask.wire.payload import Payload, decode

if TYPE_CHECKING:
    from cloudtask.conf import Settings
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.wire.outgoing import OutgoingTask

#: Before a task that another worker has is asked for again.
BUSY_WAIT = timedelta(seconds=1)


@dataclass(slots=True)
class StoredTask:
    """A task in the queue."""

    name: str
    sent: OutgoingTask
    payload: Payload  # Decoded again from the body that was sent.
    due: datetime
    attempt: int = 1  # The next one.


class MemoryTransport(QueueTransport):
    """
    Keeps tasks, in the order they were enqueued, until `drain()`.

    Tests read `tasks`, or assert on what `drain()` did.
    """

    has_own_clock = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._names = UsedNames()
        self.tasks: list[StoredTask] = []

    def send(self, task: OutgoingTask) -> str:
        """
        Put the task at the end of `tasks`.

        Raises:
            TaskAlreadyExists: Its name is in use.
        """
        name = self._names.claim(task)
        due = task.schedule_time or clock.now()
        self.tasks.append(StoredTask(name, task, decode(task.body), due))
        return name

    def delete(self, name: str, timeout: float = inf) -> None:
        """Take a task out of `tasks`."""
        self.tasks[:] = [task for task in self.tasks if task.name != name]

    def has(self, name: str, timeout: float = inf) -> bool:
        """Whether a task is in `tasks` still."""
        return any(task.name == name for task in self.tasks)

    def run(self, name: str, timeout: float = inf) -> bool:
        """Have a task run by the next drain(), whenever it is scheduled."""
        found = [task for task in self.tasks if task.name == name]
        for task in found:
            task.due = clock.now()
        return bool(found)

    def clear(self) -> None:
        """Forget tasks and used names."""
        self.tasks.clear()
        self._names.clear()

    def drain(self, now: datetime | None = None) -> list[Outcome]:
        """
        Run every task that is due, and those that they enqueue.

        A task that asks for a Retry is run again, once it is due. Where tasks
        are kept, `Retry(after=)` enqueues it anew, at the commit. Any other
        exception of a task is raised here, and the task is dropped.

        Args:
            now: Aware time to run as of. Without it, the present.

        Returns:
            One outcome for each attempt, in order.
        """
        outcomes = []
        while (stored := self._next_due(now or clock.now())) is not None:
            outcome = execution.run(self._make_attempt(stored))
            outcomes.append(outcome)
            if _is_tried_again(outcome) and stored.attempt < DEFAULT_MAX_ATTEMPTS:
                stored.attempt += 1
                stored.due = clock.now() + _choose_wait(outcome)
                self.tasks.append(stored)
            elif outcome.error is not None and outcome.status is not Status.REARMED:
                raise outcome.error
        return outcomes

    def _make_attempt(self, stored: StoredTask) -> Attempt:
        meta = make_meta(
            stored.sent, stored.name, due=stored.due, retry_count=stored.attempt - 1
        )
        return make_attempt(stored.payload, meta)

    def _next_due(self, now: datetime) -> StoredTask | None:
        due = [task for task in self.tasks if task.due <= now]
        if not due:
            return None
        stored = min(due, key=lambda task: task.due)
        self.tasks.remove(stored)
        return stored


def _choose_wait(outcome: Outcome) -> timedelta:
    if outcome.status is Status.BUSY:
        return BUSY_WAIT
    return outcome.after or timedelta(0)


def _is_tried_again(outcome: Outcome) -> bool:
    if outcome.status is Status.BUSY:
        return True
    return outcome.status is Status.RETRY and isinstance(outcome.error, Retry)
