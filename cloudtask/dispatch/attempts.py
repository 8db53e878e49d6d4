"""One attempt at a task: what is called, with what, and who is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Protocol

from cloudtask.privacy.redaction import NOTHING_SENSITIVE, Sensitive
from cloudtask.stores import NO_STORE
from cloudtask.wire.limits import DEFAULT_DEADLINE
from cloudtask.wire.request import CloudTaskRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.dispatch.outcomes import Outcome
    from cloudtask.stores import ResultStore
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.retry import RetryPolicy


class Definition(Protocol):
    """What an attempt needs to know of a task's function."""

    @property
    def path(self) -> str:
        """The path that payloads name it by."""

    @property
    def func(self) -> Callable[..., Any]:
        """The function itself."""

    @property
    def is_async(self) -> bool:
        """Whether calling the function returns a coroutine."""

    @property
    def retry(self) -> RetryPolicy | None:
        """Its own policy; None leaves it to the settings."""

    @property
    def run_once(self) -> bool:
        """Whether its tasks never run again once they began."""

    @property
    def deadline(self) -> timedelta | None:
        """Time for one attempt; None leaves it to the settings."""

    @property
    def sensitive(self) -> tuple[str, ...]:
        """Names of the arguments whose values nobody sees."""


class Observer:
    """
    Is told what happens to tasks, and raises nothing. This one does nothing.

    Asynchronous code calls the methods that begin with an `a`. An observer
    that may wait has them do its work in a thread.
    """

    def sent(self, task: OutgoingTask, name: str) -> None:
        """Cloud Tasks has a task, and calls it so."""

    async def asent(self, task: OutgoingTask, name: str) -> None:
        """See sent()."""
        self.sent(task, name)

    def starting(self, attempt: Attempt) -> None:
        """The function of an attempt is about to be called."""

    async def astarting(self, attempt: Attempt) -> None:
        """See starting()."""
        self.starting(attempt)

    def ended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        """
        An attempt has ended, and its end is kept.

        Called while what the function raised is handled. An attempt too many
        ends without having started.
        """

    async def aended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        """See ended()."""
        self.ended(attempt, outcome, error)

    def refused(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt never starts: the task is another's, over, or not due."""

    def lost(self, attempt: Attempt, outcome: Outcome) -> None:
        """The end of an attempt counts for nothing: another has the task."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    A function, what it is called with, and which attempt this is.

    Another kind of task derives from it.
    """

    definition: Definition
    payload: Payload
    request: CloudTaskRequest
    store: ResultStore = field(default=NO_STORE, kw_only=True)
    observers: tuple[Observer, ...] = field(default=(), kw_only=True)

    def arguments(self) -> tuple[Any, ...]:
        """What the function gets by position."""
        return (self.request, *self.payload.args)

    @property
    def sensitive(self) -> Sensitive:
        """Which of its arguments nobody is to see."""
        if not self.definition.sensitive:
            return NOTHING_SENSITIVE
        leading = len(self.arguments()) - len(self.payload.args)
        return Sensitive(self.definition.func, self.definition.sensitive, leading)

    def scrub(self, text: str) -> str:
        """A text without the values of its sensitive arguments."""
        if not text or not self.definition.sensitive:
            return text
        args, kwargs = self.payload.received_arguments()
        return self.sensitive.scrub(text, args, kwargs)

    def scrub_trace(self, error: BaseException | None) -> str | None:
        """What to show in place of an error that tells what is sensitive."""
        if error is None or not self.definition.sensitive:
            return None
        trace = "".join(format_exception(error))
        scrubbed = self.scrub(trace)
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
    has_policy = definition.retry is not None
    retry = definition.retry if has_policy else settings.default_retry
    return CloudTaskRequest(
        id=payload.id,
        meta=meta,
        request=request,
        last_attempt=retry.last_attempt if retry else None,
        deadline=definition.deadline or settings.deadline or DEFAULT_DEADLINE,
        run_once=definition.run_once or (settings.run_once and not has_policy),
    )
