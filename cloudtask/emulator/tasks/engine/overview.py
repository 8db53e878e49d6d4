"""What all queues have to do next, without asking each of them."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar

#: Outdated entries that are kept before the heap is rebuilt.
_MAX_OUTDATED = 1000

S = TypeVar("S", bound="Sender")


class Sender(Protocol):
    """What an overview asks of a queue."""

    @property
    def depth(self) -> int:
        """How many tasks are not finished."""
        ...

    def next_wake(self, now: int) -> int | None:
        """Return when the next task can be sent, None if none ever can."""
        ...


class Overview(Generic[S]):
    """
    When the next queue can send, and how many tasks there are.

    A queue that has changed is asked once, when somebody wants to know.

    Attributes:
        pending: Tasks of all queues that are not finished.
    """

    def __init__(self) -> None:
        self.pending = 0
        # A dictionary for its order.
        self._changed: dict[S, None] = {}
        self._wakes: dict[S, int] = {}
        # Entries that do not agree with _wakes are outdated.
        self._heap: list[tuple[int, int, S]] = []
        self._numbers = count()
        self._asked_at = 0

    def change(self, queue: S) -> None:
        """Ask a queue again, as it may send at another time than before."""
        self._changed[queue] = None

    def remove(self, queue: S) -> None:
        """Forget a queue and its tasks."""
        self.pending -= queue.depth
        self._changed.pop(queue, None)
        self._wakes.pop(queue, None)

    def next_wake(self, now: int) -> int | None:
        """Return when the next queue can send, None if none ever can."""
        self._ask_changed(now)
        while self._heap:
            wake, _, queue = self._heap[0]
            if self._wakes.get(queue) == wake:
                return wake
            heappop(self._heap)
        return None

    def take_ready(self, now: int) -> list[S]:
        """Return the queues that can send now, in the order they became so."""
        ready = []
        while (wake := self.next_wake(now)) is not None and wake <= now:
            _, _, queue = heappop(self._heap)
            del self._wakes[queue]
            ready.append(queue)
        # What they do with it changes when they can send again.
        self._changed.update(dict.fromkeys(ready))
        return ready

    def _ask_changed(self, now: int) -> None:
        if now < self._asked_at:
            # The clock went back: tokens may come sooner than was planned.
            self._changed.update(dict.fromkeys(self._wakes))
        self._asked_at = now
        for queue in self._changed:
            self._plan(queue, queue.next_wake(now))
        self._changed.clear()
        if len(self._heap) > len(self._wakes) + _MAX_OUTDATED:
            self._heap = [
                (wake, next(self._numbers), queue)
                for queue, wake in self._wakes.items()
            ]
            heapify(self._heap)

    def _plan(self, queue: S, wake: int | None) -> None:
        if wake is None:
            self._wakes.pop(queue, None)
        elif self._wakes.get(queue) != wake:
            self._wakes[queue] = wake
            heappush(self._heap, (wake, next(self._numbers), queue))
