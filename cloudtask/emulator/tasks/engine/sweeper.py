"""Removing what is over: expired tasks and names, purged tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.emulator.tasks import limits
from cloudtask.emulator.tasks.limits import OPERATION_RETENTION
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from cloudtask.emulator.tasks.engine.live_queues import LiveQueues
    from cloudtask.emulator.tasks.tables.store import Store


# How much one call removes, so that nothing waits long for it.
_AT_ONCE = 500
_INTERVAL = 60 * SECOND


class Sweeper:
    """
    Removes a little with each call.

    Args:
        store: Where everything is kept.
        live: The queues at work.
    """

    def __init__(self, store: Store, live: LiveQueues) -> None:
        self._store = store
        self._live = live
        self._next = 0

    def sweep(self, now: int) -> None:
        """
        Remove a little of what is over.

        Call it when next_sweep() has come.
        """
        self._store.lanes.clear(_AT_ONCE)
        more = self._expire(now)
        more |= self._store.names.drop_expired(now, _AT_ONCE) == _AT_ONCE
        self._store.operations.drop(now - OPERATION_RETENTION)
        self._next = now if more else now + _INTERVAL

    def next_sweep(self) -> int:
        """Return when sweep() is to be called again."""
        return 0 if self._store.lanes.are_left else self._next

    def _expire(self, now: int) -> bool:
        by_lane = {queue.row.lane: queue for queue in self._live}
        expired = self._store.tasks.find_created_until(now - limits.RETENTION, _AT_ONCE)
        for number, lane, task_id in expired:
            if lane in by_lane:  # The others are cleared, not expired.
                self._live.drop(by_lane[lane], number, task_id, now)
        return len(expired) == _AT_ONCE
