"""
The state machine: queues, tasks, retries and tombstones.

Plain values and `now` (microseconds since the epoch) in, values out. It reads
no clock, does no I/O and starts nothing: whoever drives it calls take_due()
when next_due() has come, sends what it gets, and hands back the answers.
"""

from __future__ import annotations

import heapq
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from cloudtask.emulator import errors, instants, names, queues, tasks
from cloudtask.emulator.dispatches import (
    Answer,
    Dispatch,
    Verdict,
    dispatch_of,
    write_status,
)
from cloudtask.emulator.tasks import StoredTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.queues import StoredQueue

#: Most queues on a page of ListQueues, and as many as without a page_size.
MAX_PAGE_SIZE = 9800


class Engine:
    """
    All queues and tasks of one emulator.

    Args:
        new_task_id: Returns a fresh random id for a task without a name.
        tombstone_ttl: How long the name of a finished or deleted task stays
            blocked, in microseconds.
    """

    def __init__(self, new_task_id: Callable[[], str], tombstone_ttl: int) -> None:
        self._new_task_id = new_task_id
        self._tombstone_ttl = tombstone_ttl
        self._queues: dict[str, StoredQueue] = {}
        self._tasks: dict[str, StoredTask] = {}
        # Name -> when it may be used again. All live equally long, so the
        # oldest are always in front.
        self._tombstones: dict[str, int] = {}
        # (due, ticket, name) of every waiting task. An entry whose ticket is
        # no longer its task's is stale; it is dropped when it comes up.
        self._agenda: list[tuple[int, int, str]] = []
        self._tickets = count(1)
        # Queues with something ready and a free slot; a dict keeps the order.
        self._runnable: dict[StoredQueue, None] = {}

    @property
    def pending(self) -> int:
        """How many tasks are not finished: waiting, due or in flight."""
        return len(self._tasks)

    def create_queue(self, parent: str, message: Any) -> Any:
        """Add the queue of a CreateQueue, which is filled in place."""
        names.check_parent(parent)
        names.check_queue_path(message.name)
        if not message.name.startswith(f"{parent}/queues/"):
            raise errors.bad_queue_name()
        queue = queues.stored(message)
        if message.name in self._queues:
            raise errors.queue_exists()
        self._queues[message.name] = queue
        return message

    def get_queue(self, path: str) -> Any:
        names.check_queue_path(path)
        return self._queue(path).message

    def list_queues(
        self, parent: str, page_size: int = 0, after: str = ""
    ) -> tuple[list[Any], str]:
        """
        Return one page of a location's queues, ordered by name.

        Args:
            parent: `projects/P/locations/L`.
            page_size: At most this many; 0 means the maximum.
            after: The token that the previous page gave.

        Returns:
            The queues, and the token for the next page or "".
        """
        names.check_parent(parent)
        size = min(page_size, MAX_PAGE_SIZE) if page_size > 0 else MAX_PAGE_SIZE
        prefix = f"{parent}/queues/"
        paths = (
            path
            for path in sorted(self._queues)
            if path.startswith(prefix) and path > after
        )
        page = list(islice(paths, size))
        token = page[-1] if next(paths, None) else ""
        return [self._queues[path].message for path in page], token

    def create_task(self, parent: str, message: Any, now: int) -> Any:
        """
        Add the task of a CreateTask, which is filled in place and kept.

        Returns:
            The stored task, see tasks.view().

        Raises:
            ApiError: The task is refused. The service's own order of checks
                is unconfirmed.
        """
        names.check_queue_path(parent)
        queue = self._queue(parent)
        self._name(message, parent)
        tasks.check(message, now)
        if message.HasField("retry_config"):
            queue.retry.overridden(message.retry_config)  # Raises if not valid.
        tasks.fill(message, now)
        if message.name in self._tasks or self._is_blocked(message.name, now):
            raise errors.task_exists()
        due = instants.read(message.schedule_time)
        task = StoredTask(message, queue=parent, due=due, ticket=0)
        self._tasks[message.name] = task
        self._schedule(task, due)
        return message

    def get_task(self, name: str, now: int) -> Any:
        """Return the stored task, see tasks.view()."""
        task = self._find(name)
        if task is None:
            blocked = self._is_blocked(name, now)
            raise errors.task_is_gone() if blocked else errors.task_not_found()
        return task.message

    def delete_task(self, name: str, now: int) -> None:
        """Remove a task, even one that is being dispatched."""
        task = self._find(name)
        if task is None:
            raise errors.task_not_found()
        self._finish(task, now)

    def next_due(self) -> int | None:
        """Return when take_due() has something to do next, None if never."""
        while self._agenda:
            due, ticket, name = self._agenda[0]
            if self._waiting(name, ticket) is not None:
                return due
            heapq.heappop(self._agenda)
        return None

    def take_due(self, now: int) -> list[Dispatch]:
        """
        Return the dispatches to send now, and count them as in flight.

        A due task of a queue without a free slot comes with the first call
        after one became free.
        """
        while self._agenda and self._agenda[0][0] <= now:
            _, ticket, name = heapq.heappop(self._agenda)
            task = self._waiting(name, ticket)
            if task is not None:
                queue = self._queues[task.queue]
                queue.ready.append(task)
                self._runnable[queue] = None
        runnable, self._runnable = self._runnable, {}
        return [
            self._start(task, now)
            for queue in runnable
            for task in self._take_ready(queue)
        ]

    def complete(self, dispatch: Dispatch, answer: Answer, now: int) -> Verdict:
        """Take in a dispatch's answer: finish the task or reschedule it."""
        queue = self._queues[dispatch.queue]
        queue.in_flight -= 1
        if queue.ready:
            self._runnable[queue] = None
        task = self._waiting(dispatch.task, dispatch.ticket)
        if task is None:  # Deleted meanwhile.
            return Verdict("done" if answer.is_success else "gave up")
        self._record(task, answer, now)
        if answer.is_success:
            self._finish(task, now)
            return Verdict("done")
        retry_at = self._retry_at(task, queue, answer, now)
        if retry_at is None:
            self._finish(task, now)
            return Verdict("gave up")
        instants.write(task.message.schedule_time, retry_at)
        self._schedule(task, retry_at)
        return Verdict("retry", retry_at)

    def _queue(self, path: str) -> StoredQueue:
        queue = self._queues.get(path)
        if queue is None:
            raise errors.queue_not_found()
        return queue

    def _name(self, message: Any, parent: str) -> None:
        if not message.name:
            message.name = f"{parent}/tasks/{self._new_task_id()}"
            return
        queue, task_id = names.split_task_name(message.name)
        if queue != parent:
            raise errors.queue_mismatch(parent, queue)
        names.check_task_id(task_id)

    def _find(self, name: str) -> StoredTask | None:
        names.split_task_name(name)
        return self._tasks.get(name)

    def _waiting(self, name: str, ticket: int) -> StoredTask | None:
        task = self._tasks.get(name)
        return task if task is not None and task.ticket == ticket else None

    def _schedule(self, task: StoredTask, due: int) -> None:
        task.due = due
        task.ticket = next(self._tickets)
        heapq.heappush(self._agenda, (due, task.ticket, task.message.name))

    def _finish(self, task: StoredTask, now: int) -> None:
        del self._tasks[task.message.name]
        self._prune_tombstones(now)
        self._tombstones[task.message.name] = now + self._tombstone_ttl

    def _is_blocked(self, name: str, now: int) -> bool:
        return self._tombstones.get(name, now) > now

    def _prune_tombstones(self, now: int) -> None:
        while self._tombstones:
            oldest = next(iter(self._tombstones))
            if self._tombstones[oldest] > now:
                return
            del self._tombstones[oldest]

    def _take_ready(self, queue: StoredQueue) -> list[StoredTask]:
        taken = []
        while queue.ready and queue.has_free_slot:
            task = queue.ready.popleft()
            if self._waiting(task.message.name, task.ticket) is task:
                queue.in_flight += 1
                taken.append(task)
        return taken

    def _start(self, task: StoredTask, now: int) -> Dispatch:
        message = task.message
        message.dispatch_count += 1
        if message.dispatch_count == 1:
            instants.write(message.first_attempt.dispatch_time, now)
        message.ClearField("last_attempt")
        instants.write(message.last_attempt.schedule_time, task.due)
        instants.write(message.last_attempt.dispatch_time, now)
        return dispatch_of(task, now)

    def _record(self, task: StoredTask, answer: Answer, now: int) -> None:
        message = task.message
        if answer.status is not None:
            message.response_count += 1
            instants.write(message.last_attempt.response_time, now)
        task.executions += answer.is_execution
        task.previous_response = answer.response_code
        write_status(message.last_attempt.response_status, answer.response_code)

    def _retry_at(
        self, task: StoredTask, queue: StoredQueue, answer: Answer, now: int
    ) -> int | None:
        message = task.message
        attempts = message.dispatch_count
        # The queue's policy as it is now; one of the task's own goes on top.
        policy = queue.retry
        if message.HasField("retry_config"):
            policy = policy.overridden(message.retry_config)
        elapsed = now - instants.read(message.first_attempt.dispatch_time)
        retry_at = max(now + policy.delay(attempts), answer.retry_at or 0)
        expires = instants.read(message.create_time) + tasks.RETENTION
        if policy.exhausted(attempts, elapsed) or retry_at >= expires:
            return None
        return retry_at
