"""What happened so far, and waiting for more, across threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Changes:
    """
    Tells whoever waits that something has changed.

    The emulator's thread makes changes, any thread reads and waits.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._watchers: set[asyncio.Event] = set()

    @contextmanager
    def make(self) -> Iterator[None]:
        """Make a change: all of it becomes visible at the same time."""
        with self._changed:
            yield
            self._count += 1
            self._changed.notify_all()
        for watcher in self._watchers:
            watcher.set()

    @contextmanager
    def look(self) -> Iterator[None]:
        """Read while nothing changes."""
        with self._changed:
            yield

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """Give an event of the emulator's loop that every change sets."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    def wait_for(
        self,
        predicate: Callable[[], object],
        timeout: float,
        describe: Callable[[], str],
    ) -> None:
        """
        Return as soon as `predicate()` is true.

        It is evaluated now and after every change.

        Raises:
            TimeoutError: It was not true within `timeout` seconds; with what
                `describe()` returns.
        """
        deadline = time.monotonic() + timeout
        while True:
            seen = self._count
            # Without the lock, which the emulator takes, too, if it is asked.
            if predicate():
                return
            if not self._changes_after(seen, deadline - time.monotonic()):
                raise TimeoutError(f"Not true within {timeout:g} s: {describe()}")

    def _changes_after(self, seen: int, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._count > seen, timeout)


class Records(Generic[T]):
    """
    The newest records of one kind; the oldest are dropped first.

    Args:
        changes: Who is told of them.
        most: How many are kept.
    """

    def __init__(self, changes: Changes, most: int) -> None:
        self._changes = changes
        self._records: deque[T] = deque(maxlen=most)
        self._count = 0

    @property
    def count(self) -> int:
        """How many there were, including those that were dropped."""
        with self._changes.look():
            return self._count

    def list_all(self) -> list[T]:
        """Return all that are kept, oldest first."""
        with self._changes.look():
            return list(self._records)

    def list_since(self, count: int) -> list[T]:
        """Return the records since there were `count`, oldest first."""
        with self._changes.look():
            newer = min(max(0, self._count - count), len(self._records))
            return list(self._records)[len(self._records) - newer :]

    def add(self, record: T) -> None:
        """Add a record."""
        with self._changes.make():
            self._records.append(record)
            self._count += 1

    def clear(self) -> None:
        """Forget the records, but not how many there were."""
        with self._changes.look():
            self._records.clear()
