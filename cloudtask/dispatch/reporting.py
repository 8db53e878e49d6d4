"""Observers of all kinds of tasks: the log, and the signal of failures."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from cloudtask.dispatch.attempts import Observer
from cloudtask.dispatch.outcomes import FAILURES, Rearm, Status
from cloudtask.exceptions import Reject, Retry
from cloudtask.signals import task_failed

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.dispatch.outcomes import Outcome

logger = logging.getLogger("cloudtask")


class LogObserver(Observer):
    """
    Logs what becomes of each attempt. Takes no time that counts.

    Args:
        reports_failures: Whether a final failure is an error here, traceback
            and all. False where another logger reports it.
    """

    def __init__(self, *, reports_failures: bool) -> None:
        self._reports_failures = reports_failures

    def ended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        """Log the end of an attempt, at the level that fits its outcome."""
        status = outcome.status
        if status is Status.DONE:
            _log(logging.INFO, attempt, status)
        elif isinstance(error, Reject):
            _log(logging.WARNING, attempt, status, error.reason)
        elif error is None:
            # The last attempt did not live to say so: its worker died.
            self._log_failure(attempt, "no attempts are left")
        elif status is Status.FAILED:
            self._log_failure(attempt, error=error)
        elif isinstance(error, (Retry, Rearm)):
            at = outcome.rearming.at if outcome.rearming else None
            _log(logging.INFO, attempt, status, error.reason, at=at)
        else:
            _log(logging.WARNING, attempt, status, error=error)

    def refused(self, attempt: Attempt, outcome: Outcome) -> None:
        """Log why an attempt never starts."""
        due = attempt.request.arming.due if outcome.rearming else None
        _log(logging.INFO, attempt, outcome.status, at=due)

    def lost(self, attempt: Attempt, outcome: Outcome) -> None:
        """Log that the end of an attempt counts for nothing."""
        _log(logging.WARNING, attempt, outcome.status, "the lease was lost meanwhile")

    def _log_failure(
        self, attempt: Attempt, reason: str = "", error: BaseException | None = None
    ) -> None:
        if self._reports_failures:
            _log(logging.ERROR, attempt, Status.FAILED, reason, error)
        else:
            _log(logging.WARNING, attempt, Status.FAILED, reason)


class FailureSignal(Observer):
    """Sends `task_failed`."""

    def ended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        """Send the signal, if the task has failed for good."""
        if outcome.status in FAILURES:
            task_failed.send_robust(
                attempt.definition.path,
                task_id=attempt.payload.id,
                request=attempt.request,
                error=error,
            )

    async def aended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        """See ended()."""
        if outcome.status in FAILURES and task_failed.has_listeners():
            # Receivers may wait.
            await sync_to_async(self.ended)(attempt, outcome, error)


FAILURE_SIGNAL = FailureSignal()


def _log(
    level: int,
    attempt: Attempt,
    status: Status,
    reason: str = "",
    error: BaseException | None = None,
    at: datetime | None = None,
) -> None:
    line = "task=%s id=%s attempt=%d status=%s reason=%r"
    values = [
        attempt.definition.path,
        attempt.payload.id,
        attempt.request.attempt,
        status.value,
        reason and attempt.scrub(reason),
    ]
    if at is not None:
        line = f"{line} at=%s"
        values.append(at.isoformat())
    trace = attempt.scrub_trace(error)
    if trace is not None:
        # The exception itself would tell.
        error, line = None, f"{line}\n%s"
        values.append(trace)
    logger.log(level, line, *values, exc_info=error)
