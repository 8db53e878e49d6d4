"""The attempts so far, and how many tasks are pending."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudtask.emulator.changes import Changes, Records
from cloudtask.emulator.values import instants, locations

if TYPE_CHECKING:
    from collections.abc import Callable
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

    Args:
        changes: Who is told of what changes; others may change something, too.
    """

    def __init__(self, changes: Changes | None = None) -> None:
        self.changes = changes or Changes()
        self._attempts: Records[Attempt] = Records(self.changes, MAX_ATTEMPTS)
        self._pending = 0

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts that are kept, the oldest first."""
        return self._attempts.list_all()

    @property
    def count(self) -> int:
        """How many attempts there were, including those that were dropped."""
        return self._attempts.count

    def list_since(self, count: int) -> list[Attempt]:
        """Return the attempts since there were `count`, oldest first."""
        return self._attempts.list_since(count)

    @property
    def pending(self) -> int:
        """How many tasks are not finished."""
        with self.changes.look():
            return self._pending

    def note(self, pending: int, attempt: Attempt | None = None) -> None:
        """Record a change: both facts become visible at the same time."""
        with self.changes.make():
            self._pending = pending
            if attempt is not None:
                self._attempts.add(attempt)

    def clear(self) -> None:
        """Forget the attempts."""
        self._attempts.clear()

    def wait_for(self, predicate: Callable[[], object], timeout: float) -> None:
        """Return as soon as `predicate()` is true. See Changes.wait_for()."""
        self.changes.wait_for(predicate, timeout, self._describe)

    def _describe(self) -> str:
        attempts = self.attempts
        text = f"{len(attempts)} attempts recorded, {self.pending} tasks pending."
        if attempts:
            last = attempts[-1]
            text += (
                f" Last: {last.queue}/{last.task_id} attempt {last.number}, "
                f"status {last.status}, {last.outcome}."
            )
        return text
