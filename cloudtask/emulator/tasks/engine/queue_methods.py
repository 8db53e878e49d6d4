"""What the API does to queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.tasks import limits, names, refusals
from cloudtask.emulator.tasks.filters.language import parse_filter
from cloudtask.emulator.tasks.model import queues
from cloudtask.emulator.values import errors, instants, locations, paging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtask.emulator.tasks.engine.live_queues import (
        LiveQueue,
        LiveQueues,
        QueueFigures,
    )
    from cloudtask.emulator.tasks.model.queues import QueueOptions
    from cloudtask.emulator.tasks.tables.store import Store


class QueueMethods:
    """
    Creates, changes and removes queues.

    Messages that it returns are its own: read them, do not change them.

    Args:
        store: Where they are kept.
        live: The queues at work.
        task_tombstone_ttl: How long the names of purged tasks stay blocked, in
            microseconds.
        tombstone_ttl: How long the name of a deleted queue stays blocked.
        defaults: Options of declared queues that leave them out.
    """

    def __init__(
        self,
        store: Store,
        live: LiveQueues,
        *,
        task_tombstone_ttl: int,
        tombstone_ttl: int,
        defaults: QueueOptions,
    ) -> None:
        self._store = store
        self._live = live
        self._task_tombstone_ttl = task_tombstone_ttl
        self._tombstone_ttl = tombstone_ttl
        self._defaults = defaults

    def create(self, parent: str, message: Any, now: int) -> Any:
        """Add the queue of a CreateQueue, which is filled in place."""
        locations.check_parent(parent)
        names.check_queue_path(message.name)
        if not message.name.startswith(f"{parent}/queues/"):
            raise refusals.bad_queue_name()
        queues.fill(message)
        if message.name in self._live:
            raise refusals.queue_exists()
        self._check_free(message.name, now)
        return self._add(message)

    def declare(self, path: str, options: QueueOptions, now: int) -> None:
        """
        Create a queue, or give the one that exists these options, if any.

        It does not matter whether a queue of this name was deleted.
        """
        message = queues.make_declared(path, {**self._defaults, **options})
        if path not in self._live:
            names.check_queue_path(path)
            queues.fill(message)
            self._add(message)
        elif options:
            self.update(message, ("rate_limits", "retry_config"), now)

    def get(self, path: str) -> Any:
        """
        The message of a queue.

        Raises:
            ApiError: The path is malformed, or there is no such queue.
        """
        names.check_queue_path(path)
        return self._live.require(path).message

    def exists(self, path: str) -> bool:
        """Tell whether there is a queue of this path."""
        names.check_queue_path(path)
        return path in self._live

    def figures(self, path: str, now: int) -> QueueFigures:
        """
        The figures of a queue, as of `now`.

        Raises:
            ApiError: There is no such queue.
        """
        return self._live.require(path).figures(self._store, now)

    def list(
        self,
        parent: str,
        now: int,
        *,
        expression: str = "",
        size: int = 0,
        token: str = "",
    ) -> tuple[list[Any], str]:
        """
        Return one page of a location's queues, ordered by name.

        Args:
            parent: `projects/P/locations/L`.
            expression: A filter, see filters.language.
            size: At most this many; 0 means the maximum.
            token: What the previous page gave.

        Returns:
            The queues, and the token for the next page or "".
        """
        locations.check_parent(parent)
        size = paging.page_size(size, limits.MAX_QUEUES_PAGE)
        scope = f"{parent} {expression}"
        after = paging.decode(token, scope, now)
        matches = parse_filter(expression)
        prefix = f"{parent}/queues/"
        found = [
            queue.message
            for queue in self._live.list_by_path()
            if queue.path.startswith(prefix)
            and queue.path > after
            and matches(queue.message)
        ]
        if len(found) <= size:
            return found, ""
        return found[:size], paging.encode(found[size - 1].name, scope, now)

    def update(self, message: Any, paths: Sequence[str], now: int) -> Any:
        """Change the fields of a queue that `paths` name, or create it."""
        names.check_queue_path(message.name)
        queue = self._live.get(message.name)
        if queue is None:
            queues.fill(message)
            self._check_free(message.name, now)
            return self._add(message)
        updated = queues.apply_update(queue.message, message, paths)
        self._replace(queue, updated, now)
        return updated

    def delete(self, path: str, now: int) -> None:
        """Remove a queue and its tasks."""
        names.check_queue_path(path)
        queue = self._live.get(path)
        if queue is None:
            raise errors.entity_not_found()
        self._live.remove(queue)
        self._store.queues.remove(queue.row, now + self._tombstone_ttl)

    def purge(self, path: str, now: int) -> Any:
        """Remove all tasks of a queue, even those that are being sent."""
        names.check_queue_path(path)
        queue = self._live.require(path)
        expires = now + self._task_tombstone_ttl
        queue.empty(self._store.queues.change_lane(queue.row, expires))
        message = queues.copy_message(queue.message)
        instants.write(message.purge_time, now)
        self._replace(queue, message, now)
        return message

    def pause(self, path: str, now: int) -> Any:
        """
        Have a queue send nothing until it is resumed.

        Raises:
            ApiError: There is no such queue.
        """
        return self._set_state(path, queues.PAUSED, now)

    def resume(self, path: str, now: int) -> Any:
        """
        Have a queue send its tasks again.

        Raises:
            ApiError: There is no such queue.
        """
        return self._set_state(path, queues.RUNNING, now)

    def _add(self, message: Any) -> Any:
        self._live.add(self._store.queues.add(message.name, message))
        return message

    def _check_free(self, path: str, now: int) -> None:
        if (self._store.queues.end_of_block(path) or now) > now:
            raise refusals.queue_existed_recently()

    def _set_state(self, path: str, state: int, now: int) -> Any:
        names.check_queue_path(path)
        queue = self._live.require(path)
        message = queues.copy_message(queue.message)
        message.state = state
        self._replace(queue, message, now)
        return message

    def _replace(self, queue: LiveQueue, message: Any, now: int) -> None:
        self._store.queues.update(queue.row.id, message)
        queue.configure(message, now)
