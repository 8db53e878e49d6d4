"""What the API does to tasks, except for running them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.tasks import limits, names, refusals
from cloudtask.emulator.tasks.model import tasks
from cloudtask.emulator.tasks.queue_targets import overrides
from cloudtask.emulator.values import errors, instants, locations, paging

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.tasks.engine.live_queues import LiveQueue, LiveQueues
    from cloudtask.emulator.tasks.tables.store import Store

#: A page of tasks ends before it is larger, in bytes; gRPC's clients take
#: 4 MiB unless they are told otherwise.
MAX_PAGE_BYTES = 3_500_000


class TaskMethods:
    """
    Creates, shows and removes tasks.

    Messages that it returns are the caller's.

    Args:
        store: Where they are kept.
        live: The queues at work.
        new_id: Returns a fresh random id for a task without a name.
        make_queue: Creates a missing queue that a task names; None if that is
            an error.
        require_https: Whether a task with a token needs an https URL even if
            its host is local.
    """

    def __init__(
        self,
        store: Store,
        live: LiveQueues,
        new_id: Callable[[], str],
        make_queue: Callable[[str, int], object] | None,
        *,
        require_https: bool,
    ) -> None:
        self._store = store
        self._live = live
        self._new_id = new_id
        self._make_queue = make_queue
        self._require_https = require_https

    def create(self, parent: str, message: Any, now: int) -> Any:
        """
        Add the task of a CreateTask, which is filled in place.

        Returns:
            The task, body included; see tasks.view().

        Raises:
            ApiError: The task is refused. The service's own order of checks
                is unconfirmed.
        """
        queue = self.queue_for(parent, now)
        task_id = self._name(message, parent)
        tasks.check(message, now, require_https=self._require_https)
        if message.HasField("retry_config"):
            queue.retry.override(message.retry_config)  # Raises if not valid.
        return self._add(queue, task_id, message, now)

    def buffer(
        self, parent: str, task_id: str, body: bytes, headers: dict[str, str], now: int
    ) -> Any:
        """Add a task that is sent where the queue's HTTP target says."""
        queue = self.queue_for(parent, now)
        if queue.http_target is None:
            raise refusals.no_http_target()
        message = overrides.make_buffered_task(queue.http_target, body, headers)
        message.name = f"{parent}/tasks/{task_id}" if task_id else ""
        return self._add(queue, self._name(message, parent), message, now)

    def get(self, name: str, now: int) -> Any:
        """Return a task, body included; see tasks.view()."""
        queue, task = self._live.find(name)
        if task is None:
            task_id = locations.last_part(name)
            blocked = queue is not None and self._live.is_blocked(queue, task_id, now)
            raise refusals.task_is_gone() if blocked else errors.entity_not_found()
        return task.message

    def list(
        self, parent: str, now: int, *, size: int = 0, token: str = ""
    ) -> tuple[list[Any], str]:
        """
        Return one page of a queue's tasks, in no promised order.

        Args:
            parent: The queue's path.
            size: At most this many; 0 means the maximum. Large tasks make
                shorter pages.
            token: What the previous page gave.

        Returns:
            The tasks, bodies included, and the token for the next page or "".
        """
        names.check_queue_path(parent)
        queue = self._live.require(parent)
        size = paging.page_size(size, limits.MAX_TASKS_PAGE)
        after = paging.decode(token, parent, now)
        page: list[Any] = []
        room = MAX_PAGE_BYTES
        for task in self._store.tasks.list_after(queue.row, after, size + 1):
            room -= task.message.ByteSize()
            if len(page) == size or (page and room < 0):
                last = locations.last_part(page[-1].name)
                return page, paging.encode(last, parent, now)
            page.append(task.message)
        return page, ""

    def delete(self, name: str, now: int) -> None:
        """Remove a task, even one that is being dispatched."""
        queue, task = self._live.find(name)
        if queue is None or task is None:
            raise errors.entity_not_found()
        self._live.finish(queue, task, now)

    def queue_for(self, path: str, now: int) -> LiveQueue:
        """
        Return the queue to add tasks to.

        Raises:
            ApiError: There is none, and none is to be made.
        """
        names.check_queue_path(path)
        if self._make_queue is not None and path not in self._live:
            self._make_queue(path, now)
        return self._live.require(path)

    def _name(self, message: Any, parent: str) -> str:
        if not message.name:
            task_id = self._new_id()
            message.name = f"{parent}/tasks/{task_id}"
            return task_id
        queue, task_id = names.split_task_name(message.name)
        if queue != parent:
            raise refusals.queue_mismatch(parent, queue)
        names.check_task_id(task_id)
        return task_id

    def _add(self, queue: LiveQueue, task_id: str, message: Any, now: int) -> Any:
        serialized = tasks.fill(message, now)
        is_taken = self._store.tasks.contains(queue.row.lane, task_id)
        if is_taken or self._live.is_blocked(queue, task_id, now):
            raise refusals.task_exists()
        due = instants.read(message.schedule_time)
        self._store.tasks.add(queue.row.lane, task_id, now, due, serialized)
        queue.depth += 1
        queue.schedule(due)
        return message
