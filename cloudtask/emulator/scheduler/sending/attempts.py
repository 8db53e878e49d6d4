"""The record of an attempt, for tests and for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudtask.emulator.values import instants, locations

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.emulator.scheduler.model.dispatch import (
        AttemptOutcome,
        Dispatch,
        Verdict,
    )
    from cloudtask.emulator.targets.messages import Answer

#: How many attempts are remembered; the oldest are dropped first.
MAX_ATTEMPTS = 10_000


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """One attempt of a job and what came of it. Times are aware, in UTC."""

    name: str  # The job's full name.
    schedule_time: datetime  # The slot; of a forced run, the next one.
    forced: bool  # By RunJob.
    number: int  # 1 is the first attempt of the execution.
    url: str  # For Pub/Sub, the topic.
    headers: dict[str, str] = field(repr=False)  # As sent, tokens included.
    status: int | None  # The answer's HTTP status; None: there was no answer.
    outcome: AttemptOutcome  # "done", "retry" or "gave up".
    dispatch_time: datetime
    response_time: datetime  # Of the answer, or when the attempt failed.
    retry_time: datetime | None  # Of the next attempt, if any.
    error: str | None = None  # Why there was no answer.

    @property
    def job_id(self) -> str:
        """The last part of the job's name."""
        return locations.last_part(self.name)


def make_attempt(
    dispatch: Dispatch,
    headers: dict[str, str],
    answer: Answer,
    verdict: Verdict,
    now: int,
) -> JobAttempt:
    """
    Make the record of a dispatch.

    Args:
        dispatch: What was sent.
        headers: Sent with it.
        answer: What came of it.
        verdict: What becomes of the execution.
        now: When the answer came, in microseconds since the epoch.
    """
    retry_at = verdict.retry_at
    return JobAttempt(
        name=dispatch.job,
        schedule_time=instants.to_datetime(dispatch.slot),
        forced=dispatch.forced,
        number=dispatch.attempt,
        url=dispatch.url,
        headers=headers,
        status=answer.status,
        outcome=verdict.outcome,
        dispatch_time=instants.to_datetime(dispatch.dispatch_time),
        response_time=instants.to_datetime(now),
        retry_time=None if retry_at is None else instants.to_datetime(retry_at),
        error=answer.error,
    )
