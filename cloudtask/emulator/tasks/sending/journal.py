"""What happened so far, and waiting for more, across threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudtask.emulator.values import instants, locations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from cloudtask.emulator.targets.messages import Answer
    from cloudtask.emulator.tasks.model.dispatch import (
        AttemptOutcome,
        Dispatch,
        Verdict,
    )

#: How many attempts are remembered; the oldest are dropped first.
MAX_ATTEMPTS = 10_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One dispatch and what came of it. Times are aware and in UTC."""

    name: str  # The task's full name.
    url: str
    number: int  # 1 is the first attempt.
    headers: dict[str, str] = field(repr=False)  # As sent, tokens included.
    status: int | None  # The answer's HTTP status; None: there was no answer.
    outcome: AttemptOutcome  # "done", "retry" or "gave up".
    dispatch_time: datetime
    response_time: datetime  # Of the answer, or when the attempt failed.
    retry_time: datetime | None  # The next attempt's schedule time, if any.
    error: str | None = None  # Why there was no answer.
    fault: str | None = None  # What was made to go wrong.
    # The beginning of the answer's body, as it came: not decompressed.
    response_body: bytes = field(default=b"", repr=False)
    response_size: int = 0  # Of the whole body, in bytes.

    @property
    def task_id(self) -> str:
        """The last part of the task's name."""
        return locations.last_part(self.name)

    @property
    def queue(self) -> str:
        """The queue's id."""
        return self.name.split("/")[5]


def make_attempt(
    dispatch: Dispatch,
    headers: dict[str, str],
    answer: Answer,
    verdict: Verdict,
    now: int,
) -> Attempt:
    """
    Make the record of a dispatch.

    Args:
        dispatch: What was sent.
        headers: Sent with it.
        answer: What came of it.
        verdict: What becomes of the task.
        now: When the answer came, in microseconds since the epoch.
    """
    retry_at = verdict.retry_at
    return Attempt(
        name=dispatch.task,
        url=dispatch.url,
        number=dispatch.attempt,
        headers=headers,
        status=answer.status,
        outcome=verdict.outcome,
        dispatch_time=instants.to_datetime(dispatch.dispatch_time),
        response_time=instants.to_datetime(now),
        retry_time=None if retry_at is None else instants.to_datetime(retry_at),
        error=answer.error,
        fault=dispatch.fault.kind if dispatch.fault else None,
        response_body=answer.body,
        response_size=answer.size,
    )


class Journal:
    """
    The attempts so far and the number of pending tasks.

    The emulator's thread writes, any thread reads and waits.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._changes = 0
        self._attempts: deque[Attempt] = deque(maxlen=MAX_ATTEMPTS)
        self._count = 0
        self._pending = 0
        self._watchers: set[asyncio.Event] = set()

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts that are kept, the oldest first."""
        with self._changed:
            return list(self._attempts)

    @property
    def count(self) -> int:
        """How many attempts there were, including those that were dropped."""
        with self._changed:
            return self._count

    def list_since(self, count: int) -> list[Attempt]:
        """Return the attempts since there were `count`, oldest first."""
        with self._changed:
            newer = min(max(0, self._count - count), len(self._attempts))
            return list(self._attempts)[len(self._attempts) - newer :]

    @property
    def pending(self) -> int:
        """How many tasks are not finished."""
        with self._changed:
            return self._pending

    def note(self, pending: int, attempt: Attempt | None = None) -> None:
        """Record a change: both facts become visible at the same time."""
        with self._changed:
            self._pending = pending
            self._changes += 1
            if attempt is not None:
                self._attempts.append(attempt)
                self._count += 1
            self._changed.notify_all()
        for watcher in self._watchers:
            watcher.set()

    def clear(self) -> None:
        """Forget the attempts."""
        with self._changed:
            self._attempts.clear()

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """Give an event of the emulator's loop that every change sets."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    def wait_for(self, predicate: Callable[[], object], timeout: float) -> None:
        """
        Return as soon as `predicate()` is true.

        It is evaluated now and after every change.

        Raises:
            TimeoutError: It was not true within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            seen = self._changes
            # Without the lock, which the emulator takes, too, if it is asked.
            if predicate():
                return
            if not self._changes_after(seen, deadline - time.monotonic()):
                raise TimeoutError(self._describe(timeout))

    def _changes_after(self, seen: int, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._changes > seen, timeout)

    def _describe(self, timeout: float) -> str:
        attempts = self.attempts
        text = (
            f"Not true within {timeout:g} s: {len(attempts)} attempts recorded, "
            f"{self.pending} tasks pending."
        )
        if attempts:
            last = attempts[-1]
            text += (
                f" Last: {last.queue}/{last.task_id} attempt {last.number}, "
                f"status {last.status}, {last.outcome}."
            )
        return text
