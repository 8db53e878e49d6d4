"""What becomes of one attempt: decisions, and nothing that waits."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cloudtask.conf import clock
from cloudtask.exceptions import Reject, Retry, text_of
from cloudtask.stores import Ending, Rearming, Standing

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.stores import Claim
    from cloudtask.wire.request import CloudTaskRequest


class Status(StrEnum):
    """What became of an attempt."""

    DONE = "done"  # The function returned.
    REJECTED = "rejected"  # It raised Reject: never again.
    FAILED = "failed"  # It raised in its last attempt, or none is left.
    RETRY = "retry"  # It raised, and attempts are left.
    REARMED = "rearmed"  # It goes on at a certain time, by another Cloud Task.
    BUSY = "busy"  # Another worker has the task.
    DUPLICATE = "duplicate"  # The task was over before.


#: After these no attempt follows, and the task has not succeeded.
FAILURES = frozenset({Status.REJECTED, Status.FAILED})
#: After these the task waits for another attempt.
WAITING = frozenset({Status.RETRY, Status.REARMED})

#: How early a dispatch may be.
EARLY = timedelta(minutes=1)
#: The longest wait: a longer one leads beyond what clocks show.
_LONGEST = timedelta(days=365_000)

_FOR_OTHERS = (SystemExit, KeyboardInterrupt, GeneratorExit, CancelledError)


class Rearm(BaseException):
    """
    Raised by the code that runs a task, to have it dispatched anew.

    The attempt has not failed, and does not count. Only a store that keeps
    tasks can do so: elsewhere it is a ConfigurationError.

    Args:
        at: When it is due. Aware; a past moment is "at once".
        reason: Why, for the log.
    """

    def __init__(self, at: datetime, reason: object = "") -> None:
        if at.utcoffset() is None:
            raise ValueError(f"Rearm(at={at!r}) must be an aware datetime.")
        self.at = at
        self.reason = text_of(reason)
        super().__init__(self.reason)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt."""

    status: Status
    value: Any = None  # What the function returned.
    error: BaseException | None = None  # What it raised, if that is an error.
    after: timedelta | None = None  # Shortest wait that a Retry asked for.
    rearming: Rearming | None = None  # Where it is REARMED.


def outcome_of_claim(claim: Claim) -> Outcome:
    """What follows from a claim that does not let the attempt run."""
    is_busy = claim.standing is Standing.BUSY
    return Outcome(Status.BUSY if is_busy else Status.DUPLICATE)


def is_early(request: CloudTaskRequest) -> bool:
    """Whether a dispatch comes long before its task is due."""
    due = request.arming.due
    if due is None:
        return False
    # The queue's clock may be ahead of this one, as that of an emulator is.
    now = clock.now()
    return due - max(now, request.eta or now) > EARLY


def outcome_of_early_dispatch(request: CloudTaskRequest) -> Outcome:
    """What follows from a dispatch that comes too early."""
    attempts = request.arming.attempts
    rearming = Rearming(at=None, attempts=attempts, has_begun=False)
    return Outcome(Status.REARMED, rearming=rearming)


def outcome_of_error(
    request: CloudTaskRequest, claim: Claim, error: BaseException
) -> Outcome:
    """What follows from what the function raised."""
    if isinstance(error, Reject):
        return Outcome(Status.REJECTED)
    if isinstance(error, Rearm):
        rearming = Rearming(at=error.at, attempts=request.attempt - 1)
        return Outcome(Status.REARMED, rearming=rearming)
    if request.is_last_attempt:
        return Outcome(Status.FAILED, error=error)
    after = error.after if isinstance(error, Retry) else None
    # Without a wait, the backoff decides: it is there to spare the task.
    if after and claim.can_rearm:
        at = clock.now() + min(after, _LONGEST)
        rearming = Rearming(at=at, attempts=request.attempt)
        return Outcome(Status.REARMED, error=error, rearming=rearming)
    return Outcome(Status.RETRY, error=error, after=after)


def make_ending(outcome: Outcome, error: BaseException | None) -> Ending:
    """What a store is told of an outcome, and of what the function raised."""
    return Ending(
        succeeded=outcome.status is Status.DONE,
        final=outcome.status not in WAITING,
        value=outcome.value,
        error=None if isinstance(error, Rearm) else error,
        rearming=outcome.rearming,
    )


def ends_more_than_the_task(error: BaseException) -> bool:
    """Whether an exception is for the process, its loop or its greenlet."""
    if isinstance(error, _FOR_OTHERS):
        return True
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and isinstance(error, greenlet.GreenletExit)
