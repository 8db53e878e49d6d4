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
from typing import TYPE_CHECKING, Any

from cloudtask import registry
from cloudtask.attempts import CloudTaskRequest
from cloudtask.exceptions import Reject, Retry, TaskNotFound
from cloudtask.validation import DEFAULT_DEADLINE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.payload import Payload
    from cloudtask.registry import Definition

logger = logging.getLogger("cloudtask")

KIND = "cloudtask"


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
    """A function, what it is called with, and for the how many-th time."""

    definition: Definition
    payload: Payload
    request: CloudTaskRequest

    @property
    def is_over(self) -> bool:
        """Whether the task's own policy had its last attempt before this."""
        last = self.request.last_attempt
        return last is not None and self.request.attempt > last

    @classmethod
    def of(
        cls,
        payload: Payload,
        settings: Settings,
        meta: Mapping[str, Any],
        request: HttpRequest | None = None,
    ) -> Attempt:
        """
        The attempt to run a payload.

        Args:
            payload: What was sent.
            settings: For what the definition leaves open.
            meta: The dispatch's headers, as in `HttpRequest.META`.
            request: The dispatch itself.

        Raises:
            TaskNotFound: This process has no such task.
        """
        if payload.kind != KIND:
            raise TaskNotFound(f"Payloads of kind {payload.kind!r} are not run here.")
        definition = registry.get(payload.task)
        retry = definition.retry or settings.retry
        return cls(
            definition,
            payload,
            CloudTaskRequest(
                id=payload.id,
                meta=meta,
                request=request,
                last_attempt=retry.last_attempt if retry else None,
                deadline=definition.deadline or settings.deadline or DEFAULT_DEADLINE,
            ),
        )


def run(attempt: Attempt) -> Outcome:
    """Run it. Only exceptions that end the process pass through."""
    if attempt.is_over:
        return _over(attempt)
    payload = attempt.payload
    try:
        value = call(
            attempt.definition, attempt.request, *payload.args, **payload.kwargs
        )
    except Exception as error:
        return _raised(attempt, error)
    return _returned(attempt, value)


async def arun(attempt: Attempt) -> Outcome:
    """See run(). An `async def` task runs on the running loop."""
    if attempt.is_over:
        return _over(attempt)
    payload = attempt.payload
    try:
        value = await acall(
            attempt.definition, attempt.request, *payload.args, **payload.kwargs
        )
    except Exception as error:
        return _raised(attempt, error)
    return _returned(attempt, value)


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
    _log(logging.ERROR, attempt, Status.FAILED, "no attempts are left")
    return Outcome(Status.FAILED)


def _returned(attempt: Attempt, value: Any) -> Outcome:
    _log(logging.INFO, attempt, Status.DONE)
    return Outcome(Status.DONE, value=value)


def _raised(attempt: Attempt, error: Exception) -> Outcome:
    if isinstance(error, Reject):
        _log(logging.WARNING, attempt, Status.REJECTED, error.reason)
        return Outcome(Status.REJECTED)
    if attempt.request.is_last_attempt:
        _log(logging.ERROR, attempt, Status.FAILED, error=error)
        return Outcome(Status.FAILED, error=error)
    if isinstance(error, Retry):
        _log(logging.INFO, attempt, Status.RETRY, error.reason)
        return Outcome(Status.RETRY, error=error, after=error.after)
    _log(logging.WARNING, attempt, Status.RETRY, error=error)
    return Outcome(Status.RETRY, error=error)


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
