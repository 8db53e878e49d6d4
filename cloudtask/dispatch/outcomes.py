"""What becomes of one attempt: decisions, and nothing that waits."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cloudtask.exceptions import Reject, Retry
from cloudtask.stores import Ending, Standing

if TYPE_CHECKING:
    from datetime import timedelta

    from cloudtask.stores import Claim
    from cloudtask.wire.request import CloudTaskRequest


class Status(StrEnum):
    """What became of an attempt."""

    DONE = "done"  # The function returned.
    REJECTED = "rejected"  # It raised Reject: never again.
    FAILED = "failed"  # It raised in its last attempt, or none is left.
    RETRY = "retry"  # It raised, and attempts are left.
    BUSY = "busy"  # Another worker has the task.
    DUPLICATE = "duplicate"  # The task was over before.


#: After these no attempt follows, and the task has not succeeded.
FAILURES = frozenset({Status.REJECTED, Status.FAILED})

_FOR_OTHERS = (SystemExit, KeyboardInterrupt, GeneratorExit, CancelledError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt."""

    status: Status
    value: Any = None  # What the function returned.
    error: BaseException | None = None  # What it raised, Reject excepted.
    after: timedelta | None = None  # Shortest wait that a Retry asked for.


def outcome_of_claim(claim: Claim) -> Outcome:
    """What follows from a claim that does not let the attempt run."""
    is_busy = claim.standing is Standing.BUSY
    return Outcome(Status.BUSY if is_busy else Status.DUPLICATE)


def outcome_of_error(request: CloudTaskRequest, error: BaseException) -> Outcome:
    """What follows from what the function raised."""
    if isinstance(error, Reject):
        return Outcome(Status.REJECTED)
    if request.is_last_attempt:
        return Outcome(Status.FAILED, error=error)
    after = error.after if isinstance(error, Retry) else None
    return Outcome(Status.RETRY, error=error, after=after)


def make_ending(outcome: Outcome, error: BaseException | None) -> Ending:
    """What a store is told of an outcome, and of what the function raised."""
    return Ending(
        succeeded=outcome.status is Status.DONE,
        final=outcome.status is not Status.RETRY,
        value=outcome.value,
        error=error,
    )


def ends_more_than_the_task(error: BaseException) -> bool:
    """Whether an exception is for the process, its loop or its greenlet."""
    if isinstance(error, _FOR_OTHERS):
        return True
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and isinstance(error, greenlet.GreenletExit)
