"""Queues at work: what is known of them besides what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtask.emulator.tasks import names, refusals
from cloudtask.emulator.tasks.engine.overview import Overview
from cloudtask.emulator.tasks.model import queues
from cloudtask.emulator.tasks.model.rates import TokenBucket
from cloudtask.emulator.values import locations
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from cloudtask.emulator.targets.messages import Answer
    from cloudtask.emulator.tasks.model.dispatch import Dispatch
    from cloudtask.emulator.tasks.model.tasks import StoredTask
    from cloudtask.emulator.tasks.tables.queues import QueueRow
    from cloudtask.emulator.tasks.tables.store import Store


#: How far back RecentCount counts, in seconds.
RECENT_SECONDS = 60


class RecentCount:
    """How often something happened in the last minute, by whole seconds."""

    def __init__(self) -> None:
        self._by_second: dict[int, int] = {}

    def add(self, now: int) -> None:
        """Count one more at `now`, in microseconds since the epoch."""
        second = now // SECOND
        if second not in self._by_second:
            self._forget(second)
        self._by_second[second] = self._by_second.get(second, 0) + 1

    def total(self, now: int) -> int:
        """How many there were in the minute that ends with `now`."""
        self._forget(now // SECOND)
        return sum(self._by_second.values())

    def _forget(self, second: int) -> None:
        for old in [s for s in self._by_second if s <= second - RECENT_SECONDS]:
            del self._by_second[old]


class QueueFigures(NamedTuple):
    """The figures of a queue's tasks."""

    depth: int  # Tasks that are not finished.
    in_flight: int  # Dispatches that have no answer yet.
    oldest: int | None  # When the first that waits is due.
    effective_rate: float  # Dispatches a second, less than set if slowed.
    dispatched_last_minute: int


class LiveQueue:
    """
    One queue's limits and counts.

    Args:
        row: The queue as it is stored.
        depth: How many tasks are not finished.
        overview: Learns of its changes.

    Attributes:
        next_due: Nothing that waits is due before; None if nothing waits.
        in_flight: Dispatches that have no answer yet.
        recent: How many were sent in the last minute.
        held: Numbers of tasks that a fault holds back, once for each dispatch;
            True if only until another task was sent.
    """

    def __init__(
        self, row: QueueRow, depth: int, overview: Overview[LiveQueue]
    ) -> None:
        self.row = row
        self._overview = overview
        self._depth = depth
        overview.pending += depth
        self.next_due: int | None = None
        self.in_flight = 0
        self.recent = RecentCount()
        self.held: dict[int, bool] = {}
        self._read(row.message)
        limits = row.message.rate_limits
        self.bucket = TokenBucket(
            limits.max_dispatches_per_second, limits.max_burst_size, now=0
        )

    @property
    def path(self) -> str:
        """The queue's full resource name."""
        return self.row.path

    @property
    def depth(self) -> int:
        """How many tasks are not finished."""
        return self._depth

    @depth.setter
    def depth(self, depth: int) -> None:
        self._overview.pending += depth - self._depth
        self._depth = depth

    @property
    def is_running(self) -> bool:
        """Whether the queue sends its tasks: its state is RUNNING."""
        state: int = self.message.state
        return state == queues.RUNNING

    def configure(self, message: Any, now: int) -> None:
        """Take over a changed configuration."""
        self._read(message)
        limits = message.rate_limits
        self.bucket.configure(
            limits.max_dispatches_per_second, limits.max_burst_size, now
        )
        self._overview.change(self)

    def empty(self, row: QueueRow) -> None:
        """Take over a lane in which there is nothing yet."""
        self.row = row
        self.depth = 0
        self.next_due = None
        self.held.clear()
        self._overview.change(self)

    def take_over(self, known: LiveQueue) -> None:
        """Take over what is not stored from this queue's former object."""
        self.recent = known.recent
        self.held = known.held
        if known.message.rate_limits == self.message.rate_limits:
            self.bucket = known.bucket
        self._overview.change(self)

    def schedule(self, due: int) -> None:
        """Plan for a task that waits until then."""
        if self.next_due is None or due < self.next_due:
            self.next_due = due
            self._overview.change(self)

    def look_up_next(self, store: Store) -> None:
        """Find out when the next task is due."""
        self.next_due = store.tasks.next_due(self.row.lane)
        self._overview.change(self)

    def count_ready(self, now: int) -> int:
        """Return how many tasks may be sent now, if so many are due."""
        if not self._may_send or self.next_due is None or self.next_due > now:
            return 0
        return min(self._free_slots, self.bucket.count_tokens(now))

    def next_wake(self, now: int) -> int | None:
        """Return when the next task can be sent as things are, if ever."""
        if not self._may_send or self.next_due is None:
            return None
        return max(self.next_due, self.bucket.next_at(now))

    def note_sent(self, number: int, now: int) -> None:
        """Count a dispatch of the task of this number."""
        self.held.pop(number, None)
        self.in_flight += 1
        self.recent.add(now)
        self._overview.change(self)

    def note_answer(self, dispatch: Dispatch, answer: Answer, now: int) -> None:
        """Free the slot of a dispatch and adapt the rate to its answer."""
        self.in_flight -= 1
        if answer.is_success:
            self.bucket.speed_up(now)
        elif dispatch.is_throttled_by(answer):
            self.bucket.slow_down(now)
        self._overview.change(self)

    def figures(self, store: Store, now: int) -> QueueFigures:
        """The figures of the queue, as of `now`."""
        return QueueFigures(
            depth=self.depth,
            in_flight=self.in_flight,
            oldest=store.tasks.next_due(self.row.lane),
            effective_rate=self.bucket.effective_rate,
            dispatched_last_minute=self.recent.total(now),
        )

    @property
    def _free_slots(self) -> int:
        limit: int = self.message.rate_limits.max_concurrent_dispatches
        return limit - self.in_flight

    @property
    def _may_send(self) -> bool:
        return self.is_running and self._free_slots > 0

    def _read(self, message: Any) -> None:
        self.message = message
        self.retry = queues.retry_policy(message)
        has_target = message.HasField("http_target")
        self.http_target = message.http_target if has_target else None


class LiveQueues:
    """
    All queues at work, by path, and their tasks in the store.

    Args:
        store: Where they are kept.
        tombstone_ttl: How long the name of a finished or deleted task stays
            blocked, in microseconds.
    """

    def __init__(self, store: Store, tombstone_ttl: int) -> None:
        self._store = store
        self._tombstone_ttl = tombstone_ttl
        self._by_path: dict[str, LiveQueue] = {}
        self.overview: Overview[LiveQueue] = Overview()

    def __iter__(self) -> Iterator[LiveQueue]:
        return iter(self._by_path.values())

    def __contains__(self, path: str) -> bool:
        return path in self._by_path

    def list_by_path(self) -> list[LiveQueue]:
        """Return all queues, ordered by their paths."""
        return [self._by_path[path] for path in sorted(self._by_path)]

    def get(self, path: str) -> LiveQueue | None:
        """The queue of a path; None if there is none."""
        return self._by_path.get(path)

    def require(self, path: str) -> LiveQueue:
        """Return a queue, or raise ApiError if there is none."""
        queue = self._by_path.get(path)
        if queue is None:
            raise refusals.queue_not_found()
        return queue

    def add(self, row: QueueRow) -> None:
        """Take up a queue that was stored and has no tasks."""
        self._by_path[row.path] = LiveQueue(row, depth=0, overview=self.overview)

    def remove(self, queue: LiveQueue) -> None:
        """Forget a queue, whose row and tasks are deleted elsewhere."""
        del self._by_path[queue.path]
        self.overview.remove(queue)

    def load(self, under_way: Counter[int]) -> None:
        """
        Take over what the store says.

        Args:
            under_way: How many attempts each queue has, by its number.
        """
        known, self._by_path = self._by_path, {}
        self.overview = Overview()
        for row in self._store.queues:
            queue = LiveQueue(row, self._store.tasks.count(row.lane), self.overview)
            queue.look_up_next(self._store)
            queue.in_flight = under_way[row.id]
            if row.path in known:
                queue.take_over(known[row.path])
            self._by_path[row.path] = queue

    def find(self, name: str) -> tuple[LiveQueue | None, StoredTask | None]:
        """Return the queue and the task of this name, as far as they exist."""
        path, task_id = names.split_task_name(name)
        queue = self._by_path.get(path)
        if queue is None:
            return None, None
        return queue, self._store.tasks.find(queue.row, task_id)

    def is_blocked(self, queue: LiveQueue, task_id: str, now: int) -> bool:
        """Tell whether a task of this name existed recently."""
        expires = self._store.names.end_of_block(queue.row.id, task_id)
        return expires is not None and expires > now

    def finish(self, queue: LiveQueue, task: StoredTask, now: int) -> None:
        """Remove a task and block its name."""
        self.drop(queue, task.id, locations.last_part(task.message.name), now)

    def drop(self, queue: LiveQueue, number: int, task_id: str, now: int) -> None:
        """Do the same by the task's number and id."""
        self._store.tasks.remove(number)
        self._store.names.block(queue.row.id, task_id, now + self._tombstone_ttl)
        queue.depth -= 1
        queue.held.pop(number, None)
