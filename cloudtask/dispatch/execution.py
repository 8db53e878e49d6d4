"""
Runs a payload's task and says what became of it. No HTTP here.

A task that returns is done. One that raises is tried again until its own
policy, or Cloud Tasks, says that it was the last time.
"""

from __future__ import annotations

import logging
import sys
from asyncio import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from inspect import isasyncgen, iscoroutine, isgenerator
from traceback import format_exception
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cloudtask.conf import ONCE
from cloudtask.dispatch.deferral import Deferral
from cloudtask.exceptions import Reject, Retry, StoreUnavailable
from cloudtask.privacy.redaction import NOTHING_SENSITIVE, Sensitive
from cloudtask.signals import task_failed
from cloudtask.stores import NO_STORE, Ending, Standing
from cloudtask.wire.attempts import CloudTaskRequest
from cloudtask.wire.limits import DEFAULT_DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.dispatch.registry import Definition
    from cloudtask.stores import Claim, ResultStore
    from cloudtask.wire.payload import Payload

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")


class Status(StrEnum):
    """What became of an attempt."""

    DONE = "done"  # The function returned.
    REJECTED = "rejected"  # It raised Reject: never again.
    FAILED = "failed"  # It raised in its last attempt, or none is left.
    RETRY = "retry"  # It raised, and attempts are left.
    BUSY = "busy"  # Another worker has the task.
    DUPLICATE = "duplicate"  # The task was over before.


_FOR_OTHERS = (SystemExit, KeyboardInterrupt, GeneratorExit, CancelledError)
_FAILURES = frozenset({Status.REJECTED, Status.FAILED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt."""

    status: Status
    value: Any = None  # What the function returned.
    error: BaseException | None = None  # What it raised, Reject excepted.
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
    store: ResultStore = field(default=NO_STORE, kw_only=True)

    #: Whether its final failure is logged here as an error, traceback and all.
    reports_failure: ClassVar[bool] = True

    def arguments(self) -> tuple[Any, ...]:
        """What the function gets by position."""
        return (self.request, *self.payload.args)

    def started(self) -> None:
        """Called before the function is."""

    async def astarted(self) -> None:
        """See started()."""

    def ended(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Called with what came of it, while what it raised is handled."""

    async def aended(
        self, outcome: Outcome, error: BaseException | None = None
    ) -> None:
        """See ended()."""

    @property
    def sensitive(self) -> Sensitive:
        """Which of its arguments nobody is to see."""
        if not self.definition.sensitive:
            return NOTHING_SENSITIVE
        leading = len(self.arguments()) - len(self.payload.args)
        return Sensitive(self.definition.func, self.definition.sensitive, leading)

    def scrubbed(self, text: str) -> str:
        """A text without the values of its sensitive arguments."""
        if not text or not self.definition.sensitive:
            return text
        args, kwargs = self.payload.received_arguments()
        return self.sensitive.scrubbed(text, args, kwargs)

    def scrubbed_trace(self, error: BaseException | None) -> str | None:
        """What to show in place of an error that tells what is sensitive."""
        if error is None or not self.definition.sensitive:
            return None
        trace = "".join(format_exception(error))
        scrubbed = self.scrubbed(trace)
        return scrubbed if scrubbed != trace else None

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
        run_once=retry is ONCE,
    )


def run(attempt: Attempt) -> Outcome:
    """
    Run it. Only exceptions that end the process, or its loop, pass through.

    Raises:
        StoreUnavailable: Nothing was run, or nothing of it could be kept.
        InvalidCredentials: Nothing was run: its id is another task's.
    """
    claim = attempt.store.claim(attempt.payload, attempt.request)
    if claim.standing is not Standing.FREE:
        return _refused(attempt, claim)
    attempt.request.hold(claim)
    if attempt.is_over:
        return _end(attempt, claim, Outcome(Status.FAILED))
    try:
        attempt.started()
        value = call(attempt.definition, *attempt.arguments(), **attempt.payload.kwargs)
    except BaseException as error:
        outcome = _outcome_of(attempt, error)
        if not _ends_more_than_the_task(error):
            return _end(attempt, claim, outcome, error)
        with suppress(StoreUnavailable):
            _end(attempt, claim, outcome, error)
        raise
    return _end(attempt, claim, Outcome(Status.DONE, value=value))


async def arun(attempt: Attempt) -> Outcome:
    """
    See run(). An `async def` task runs on the running loop.

    Cancelled, as by a server whose client has gone, it lets that through once
    what runs in a thread has ended and its end is kept.

    Raises:
        CancelledError: It was cancelled meanwhile.
    """
    deferral = Deferral()
    outcome = await _arun(attempt, deferral)
    deferral.let_through()
    return outcome


async def _arun(attempt: Attempt, deferral: Deferral) -> Outcome:
    claim = await _ask(
        attempt, deferral, attempt.store.claim, attempt.payload, attempt.request
    )
    if claim.standing is not Standing.FREE:
        return _refused(attempt, claim)
    attempt.request.hold(claim)
    if attempt.is_over:
        return await _aend(attempt, deferral, claim, Outcome(Status.FAILED))
    try:
        await attempt.astarted()
        value = await _call_deferring(attempt, deferral)
    except GeneratorExit:
        # Nothing can be awaited any more: the lease lapses.
        raise
    except BaseException as error:
        outcome = _outcome_of(attempt, error)
        if not _ends_more_than_the_task(error):
            return await _aend(attempt, deferral, claim, outcome, error)
        with suppress(StoreUnavailable):
            await _aend(attempt, deferral, claim, outcome, error)
        raise
    return await _aend(attempt, deferral, claim, Outcome(Status.DONE, value=value))


async def _call_deferring(attempt: Attempt, deferral: Deferral) -> Any:
    definition, arguments = attempt.definition, attempt.arguments()
    if not definition.is_async:
        return await deferral.in_thread(
            partial(call, definition, *arguments, **attempt.payload.kwargs)
        )
    deferral.let_through()
    return await acall(definition, *arguments, **attempt.payload.kwargs)


def _end(
    attempt: Attempt, claim: Claim, outcome: Outcome, error: BaseException | None = None
) -> Outcome:
    if not claim.end(_ending(outcome, error)):
        return _lost(attempt)
    _log_outcome(attempt, outcome, error)
    attempt.ended(outcome, error)
    if outcome.status in _FAILURES:
        _tell_failed(attempt, error)
    return outcome


async def _aend(
    attempt: Attempt,
    deferral: Deferral,
    claim: Claim,
    outcome: Outcome,
    error: BaseException | None = None,
) -> Outcome:
    if not await _ask(attempt, deferral, claim.end, _ending(outcome, error)):
        return _lost(attempt)
    _log_outcome(attempt, outcome, error)
    await attempt.aended(outcome, error)
    if outcome.status in _FAILURES and task_failed.has_listeners():
        from asgiref.sync import sync_to_async

        await sync_to_async(_tell_failed)(attempt, error)
    return outcome


def _tell_failed(attempt: Attempt, error: BaseException | None) -> None:
    task_failed.send_robust(
        attempt.definition.path,
        task_id=attempt.payload.id,
        request=attempt.request,
        error=error,
    )


def _ends_more_than_the_task(error: BaseException) -> bool:
    """Whether an exception is for the process, its loop or its greenlet."""
    if isinstance(error, _FOR_OTHERS):
        return True
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and isinstance(error, greenlet.GreenletExit)


async def _ask(
    attempt: Attempt, deferral: Deferral, function: Callable[..., _T], *args: Any
) -> _T:
    """Ask a store, which may wait, without keeping the loop from others."""
    if attempt.store is NO_STORE:
        return function(*args)
    return await deferral.in_thread(partial(function, *args))


def _outcome_of(attempt: Attempt, error: BaseException) -> Outcome:
    """What follows from what the function raised."""
    if isinstance(error, Reject):
        return Outcome(Status.REJECTED)
    if attempt.request.is_last_attempt:
        return Outcome(Status.FAILED, error=error)
    after = error.after if isinstance(error, Retry) else None
    return Outcome(Status.RETRY, error=error, after=after)


def _ending(outcome: Outcome, error: BaseException | None) -> Ending:
    return Ending(
        succeeded=outcome.status is Status.DONE,
        final=outcome.status is not Status.RETRY,
        value=outcome.value,
        error=error,
    )


def _refused(attempt: Attempt, claim: Claim) -> Outcome:
    is_busy = claim.standing is Standing.BUSY
    outcome = Outcome(Status.BUSY if is_busy else Status.DUPLICATE)
    _log(logging.INFO, attempt, outcome.status)
    return outcome


def _lost(attempt: Attempt) -> Outcome:
    _log(logging.WARNING, attempt, Status.BUSY, "the lease was lost meanwhile")
    return Outcome(Status.BUSY)


# A task's arguments may have any name, those of parameters here included.


def call(definition: Definition, /, *args: Any, **kwargs: Any) -> Any:
    """Call the function from synchronous code."""
    if not definition.is_async:
        return _call_sync(definition, *args, **kwargs)
    from asgiref.sync import async_to_sync

    return async_to_sync(partial(_call_async, definition, *args, **kwargs))()


async def acall(definition: Definition, /, *args: Any, **kwargs: Any) -> Any:
    """Call the function from a running loop, which it never blocks."""
    if definition.is_async:
        return await _call_async(definition, *args, **kwargs)
    from asgiref.sync import sync_to_async

    return await sync_to_async(partial(_call_sync, definition, *args, **kwargs))()


def _call_sync(definition: Definition, /, *args: Any, **kwargs: Any) -> Any:
    return _checked_value(definition, definition.func(*args, **kwargs))


async def _call_async(definition: Definition, /, *args: Any, **kwargs: Any) -> Any:
    return _checked_value(definition, await definition.func(*args, **kwargs))


def _checked_value(definition: Definition, value: Any) -> Any:
    """What the function returned, unless its work has yet to begin."""
    if isgenerator(value) or isasyncgen(value) or isinstance(value, (map, filter)):
        kind = type(value).__name__.removeprefix("async_")
        raise TypeError(
            f"{definition.path} returned a {kind}, of which nothing has run. "
            "Return a list, or loop over it in the task."
        )
    if iscoroutine(value):
        # It would count as done, and nothing of it has run.
        value.close()
        raise TypeError(
            f"{definition.path} returned a coroutine: a decorator hides that it is "
            "`async def`. Make the decorator's wrapper `async def`, too."
        )
    return value


def _log_outcome(
    attempt: Attempt, outcome: Outcome, error: BaseException | None
) -> None:
    status = outcome.status
    if status is Status.DONE:
        _log(logging.INFO, attempt, status)
    elif isinstance(error, Reject):
        _log(logging.WARNING, attempt, status, error.reason)
    elif error is None:
        # The last attempt did not live to say so: its worker died.
        _log_failure(attempt, "no attempts are left")
    elif status is Status.FAILED:
        _log_failure(attempt, error=error)
    elif isinstance(error, Retry):
        _log(logging.INFO, attempt, status, error.reason)
    else:
        _log(logging.WARNING, attempt, status, error=error)


def _log_failure(
    attempt: Attempt, reason: str = "", error: BaseException | None = None
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
    error: BaseException | None = None,
) -> None:
    line = "task=%s id=%s attempt=%d status=%s reason=%r"
    values = [
        attempt.definition.path,
        attempt.payload.id,
        attempt.request.attempt,
        status.value,
        reason and attempt.scrubbed(reason),
    ]
    trace = attempt.scrubbed_trace(error)
    if trace is not None:
        # The exception itself would tell.
        error, line = None, f"{line}\n%s"
        values.append(trace)
    logger.log(level, line, *values, exc_info=error)
