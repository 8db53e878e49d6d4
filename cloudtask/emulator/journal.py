"""What happened so far, and waiting for what is to happen, across threads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudtask.emulator import instants, names

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cloudtask.emulator.dispatches import Answer, Dispatch, Outcome, Verdict

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
    outcome: Outcome  # "done", "retry" or "gave up".
    dispatch_time: datetime
    response_time: datetime  # Of the answer, or when the attempt failed.
    retry_time: datetime | None  # The next attempt's schedule time, if any.
    error: str | None = None  # Why there was no answer.

    @property
    def task_id(self) -> str:
        return names.last_part(self.name)

    @property
    def queue(self) -> str:
        """The queue's id."""
        return self.name.split("/")[5]


def attempt_of(
    dispatch: Dispatch,
    headers: dict[str, str],
    answer: Answer,
    verdict: Verdict,
    now: int,
) -> Attempt:
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
    )


class Journal:
    """
    The attempts so far and the number of pending tasks.

    The emulator's thread writes, any thread reads and waits.
    """

    def __init__(self) -> None:
        # Its lock is reentrant: a predicate may read what it guards.
        self._changed = threading.Condition()
        self._attempts: deque[Attempt] = deque(maxlen=MAX_ATTEMPTS)
        self._pending = 0

    @property
    def attempts(self) -> list[Attempt]:
        with self._changed:
            return list(self._attempts)

    @property
    def pending(self) -> int:
        with self._changed:
            return self._pending

    def note(self, pending: int, attempt: Attempt | None = None) -> None:
        """Take in a change of state: both facts become visible at once."""
        with self._changed:
            self._pending = pending
            if attempt is not None:
                self._attempts.append(attempt)
            self._changed.notify_all()

    def wait_for(self, predicate: Callable[[], object], timeout: float) -> None:
        """
        Return as soon as `predicate()` is true.

        It is evaluated now and after every change.

        Raises:
            TimeoutError: It was not true within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(predicate, timeout):
                raise TimeoutError(self._describe(timeout))

    def _describe(self, timeout: float) -> str:
        text = (
            f"Still not so after {timeout:g} s: {len(self._attempts)} attempts "
            f"recorded, {self._pending} tasks pending."
        )
        if self._attempts:
            last = self._attempts[-1]
            text += (
                f" Last: {last.queue}/{last.task_id} attempt {last.number}, "
                f"status {last.status}, {last.outcome}."
            )
        return text
