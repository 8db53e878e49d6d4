"""What enqueueing returns: a handle on the task."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from cloudtask.conf import get_settings
from cloudtask.exceptions import ResultNotFound
from cloudtask.stores import get_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cloudtask.stores import StoredResult


@dataclass(slots=True)
class EnqueuedTask:
    """
    A task that was handed over, or waits for the commit of a transaction.

    Until the commit `name` is None, and so is that of a task that the
    database rolled back.
    """

    id: str  # 128 bits in hex, given here.
    queue: str  # Queue name.
    name: str | None = None  # Full resource name.
    schedule_time: datetime | None = None  # Aware; None is "at once".

    def note_sent(self, name: str) -> None:
        self.name = name

    def result(self, timeout: float | None = None) -> StoredResult:
        """
        What is known of this task. Kept by `cloudtask.results`.

        Args:
            timeout: Wait until it has finished, up to so many seconds.

        Raises:
            ResultNotFound: Nothing is.
            TimeoutError: It has not finished in time.
        """
        deadline = monotonic() + timeout if timeout is not None else None
        pauses = _iterate_pauses()
        while not (found := self._find()).is_finished and deadline is not None:
            threading.Event().wait(_cut_pause(deadline, next(pauses)))
        return found

    async def aresult(self, timeout: float | None = None) -> StoredResult:
        """See result()."""
        deadline = monotonic() + timeout if timeout is not None else None
        pauses = _iterate_pauses()
        find = sync_to_async(self._find)
        while not (found := await find()).is_finished and deadline is not None:
            await asyncio.sleep(_cut_pause(deadline, next(pauses)))
        return found

    def _find(self) -> StoredResult:
        found = get_store(get_settings()).find(self.id)
        if found is None:
            raise ResultNotFound(self.id)
        return found


def _iterate_pauses() -> Iterator[float]:
    """Seconds between two looks: short first, for short tasks."""
    pause = 0.05
    while True:
        yield pause
        pause = min(1.0, pause * 1.5)


def _cut_pause(deadline: float, pause: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("The task has not finished in time.")
    return min(pause, left)
