"""
Runs a payload's task and says what became of it. No HTTP here.

A task that returns is done. One that raises is tried again until its own
policy, or Cloud Tasks, says that it was the last time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, ClassVar

from cloudtask.attempts import CloudTaskRequest
from cloudtask.exceptions import Reject, Retry
from cloudtask.validation import DEFAULT_DEADLINE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.payload import Payload
    from cloudtask.registry import Definition

logger = logging.getLogger("cloudtask")


class Status(StrEnum):
    """What became of an attempt."""

    DONE = "done"  # The function returned.
    REJECTED = "rejected"  # It raised Reject: never again.
    FAILED = "failed"  # It raised in its last attempt, or none is left.
    RETRY = "retry"  # It raised, and attempts are left.


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt."""

    status: Status
    value: Any = None  # What the function returned.
    error: Exception | None = None  # What it raised, Reject excepted.
    after: timedelta | None = None  # Shortest wait that a Retry asked for.


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    A function, what it is called with, and for the how many-th time.

    Another kind of task derives from it, and is told what becomes of it.
    """

    definition: Definition
    payload: Payload
    request: CloudTaskRequest

    #: Whether its final failure is logged here as an error, traceback and all.
    reports_failure: ClassVar[bool] = True

    def arguments(self) -> tuple[Any, ...]:
        """What the function gets by position."""
        return (self.request, *self.payload.args)

    def started(self) -> None:
        """Called before the function is."""

    async def astarted(self) -> None:
        """See started()."""

    def ended(self, outcome: Outcome, error: Exception | None = None) -> None:
        """Called with what came of it, while what it raised is handled."""

    async def aended(self, outcome: Outcome, error: Exception | None = None) -> None:
        """See ended()."""

    @property
    def is_over(self) -> bool:
        """Whether the task's own policy had its last attempt before this."""
        last = self.request.last_attempt
        return last is not None and self.request.attempt > last


def make_request(
    payload: Payload,
    definition: Definition,
    settings: Settings,
    meta: Mapping[str, Any],
    request: HttpRequest | None,
) -> CloudTaskRequest:
    """
    What the code of a task gets to know of its dispatch.

    Args:
        payload: What was sent.
        definition: Whose task it is.
        settings: For what the definition leaves open.
        meta: The dispatch's headers, as in `HttpRequest.META`.
        request: The dispatch itself.
    """
    retry = definition.retry or settings.default_retry
    return CloudTaskRequest(
        id=payload.id,
        meta=meta,
        request=request,
        last_attempt=retry.last_attempt if retry else None,
        deadline=definition.deadline or settings.deadline or DEFAULT_DEADLINE,
    )


def run(attempt: Attempt) -> Outcome:
    """Run it. Only exceptions that end the process pass through."""
    if attempt.is_over:
        outcome = _over(attempt)
        attempt.ended(outcome)
        return outcome
    attempt.started()
    try:
        value = call(attempt.definition, *attempt.arguments(), **attempt.payload.kwargs)
    except Exception as error:
        outcome = _raised(attempt, error)
        attempt.ended(outcome, error)
    else:
        outcome = _returned(attempt, value)
        attempt.ended(outcome)
    return outcome


async def arun(attempt: Attempt) -> Outcome:
    """See run(). An `async def` task runs on the running loop."""
    if attempt.is_over:
        outcome = _over(attempt)
        await attempt.aended(outcome)
        return outcome
    await attempt.astarted()
    try:
        value = await acall(
            attempt.definition, *attempt.arguments(), **attempt.payload.kwargs
        )
    except Exception as error:
        outcome = _raised(attempt, error)
        await attempt.aended(outcome, error)
    else:
        outcome = _returned(attempt, value)
        await attempt.aended(outcome)
    return outcome


def call(definition: Definition, *args: Any, **kwargs: Any) -> Any:
    """Call the function from synchronous code."""
    if not definition.is_async:
        return _call_sync(definition, *args, **kwargs)
    from asgiref.sync import async_to_sync

    return async_to_sync(definition.func)(*args, **kwargs)


async def acall(definition: Definition, *args: Any, **kwargs: Any) -> Any:
    """Call the function from a running loop, which it never blocks."""
    if definition.is_async:
        return await definition.func(*args, **kwargs)
    from asgiref.sync import sync_to_async

    return await sync_to_async(_call_sync)(definition, *args, **kwargs)


def _call_sync(definition: Definition, *args: Any, **kwargs: Any) -> Any:
    value = definition.func(*args, **kwargs)
    if iscoroutine(value):
        # It would count as done, and nothing of it has run.
        value.close()
        raise TypeError(
            f"{definition.path} returned a coroutine: a decorator hides that it is "
            "`async def`. Make the decorator's wrapper `async def`, too."
        )
    return value


def _over(attempt: Attempt) -> Outcome:
    # The last attempt did not live to say so: its worker died.
    _log_failure(attempt, "no attempts are left")
    return Outcome(Status.FAILED)


def _returned(attempt: Attempt, value: Any) -> Outcome:
    _log(logging.INFO, attempt, Status.DONE)
    return Outcome(Status.DONE, value=value)


def _raised(attempt: Attempt, error: Exception) -> Outcome:
    if isinstance(error, Reject):
        _log(logging.WARNING, attempt, Status.REJECTED, error.reason)
        return Outcome(Status.REJECTED)
    if attempt.request.is_last_attempt:
        _log_failure(attempt, error=error)
        return Outcome(Status.FAILED, error=error)
    if isinstance(error, Retry):
        _log(logging.INFO, attempt, Status.RETRY, error.reason)
        return Outcome(Status.RETRY, error=error, after=error.after)
    _log(logging.WARNING, attempt, Status.RETRY, error=error)
    return Outcome(Status.RETRY, error=error)


def _log_failure(
    attempt: Attempt, reason: str = "", error: Exception | None = None
) -> None:
    if attempt.reports_failure:
        _log(logging.ERROR, attempt, Status.FAILED, reason, error)
    else:
        _log(logging.WARNING, attempt, Status.FAILED, reason)


def _log(
    level: int,
    attempt: Attempt,
    status: Status,
    reason: str = "",
    error: Exception | None = None,
) -> None:
    logger.log(
        level,
        "task=%s id=%s attempt=%d status=%s reason=%r",
        attempt.definition.path,
        attempt.payload.id,
        attempt.request.attempt,
        status.value,
        reason,
        exc_info=error,
    )
