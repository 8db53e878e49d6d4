"""
Runs a payload's task and says what became of it. No HTTP here.

A task that returns is done. One that raises is tried again until its own
policy, or Cloud Tasks, says that it was the last time.

The steps are written once, as a coroutine. Synchronous code runs it to its
end in one go, since nothing in it waits there.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from cloudtask.dispatch import calling
from cloudtask.dispatch.deferral import Deferral
from cloudtask.dispatch.outcomes import (
    Outcome,
    Rearm,
    Status,
    ends_more_than_the_task,
    is_early,
    make_ending,
    outcome_of_claim,
    outcome_of_early_dispatch,
    outcome_of_error,
)
from cloudtask.exceptions import ConfigurationError, StoreUnavailable
from cloudtask.stores import NO_STORE, Standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator

    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.stores import Claim

_T = TypeVar("_T")


def run(attempt: Attempt) -> Outcome:
    """
    Run it. Only exceptions that end the process, or its loop, pass through.

    Raises:
        StoreUnavailable: Nothing was run, or nothing of it could be kept.
        InvalidCredentials: Nothing was run: its id is another task's.
    """
    return _finish(_run(attempt, _InPlace()))


async def arun(attempt: Attempt) -> Outcome:
    """
    See run(). An `async def` task runs on the running loop.

    Cancelled, as by a server whose client has gone, it lets that through once
    what runs in a thread has ended and its end is kept.

    Raises:
        CancelledError: It was cancelled meanwhile.
    """
    deferral = Deferral()
    outcome = await _run(attempt, _OnLoop(deferral))
    deferral.let_through()
    return outcome


async def _run(attempt: Attempt, steps: _Steps) -> Outcome:
    claim: Claim = await steps.ask(
        attempt, attempt.store.claim, attempt.payload, attempt.request
    )
    if claim.standing is not Standing.FREE:
        return _refuse(attempt, outcome_of_claim(claim))
    if is_early(attempt.request):
        return await _put_off(attempt, steps, claim)
    attempt.request.set_hold(claim)
    if attempt.is_over:
        return await _end(attempt, steps, claim, Outcome(Status.FAILED))
    try:
        await steps.start(attempt)
        with _explain_rearm(attempt, claim):
            value = await steps.call(attempt)
    except steps.last_words:
        # Nothing can be awaited any more: the lease lapses.
        raise
    except BaseException as error:
        outcome = outcome_of_error(attempt.request, claim, error)
        if not ends_more_than_the_task(error):
            return await _end(attempt, steps, claim, outcome, error)
        with suppress(StoreUnavailable):
            await _end(attempt, steps, claim, outcome, error)
        raise
    return await _end(attempt, steps, claim, Outcome(Status.DONE, value=value))


@contextmanager
def _explain_rearm(attempt: Attempt, claim: Claim) -> Iterator[None]:
    try:
        yield
    except Rearm as rearm:
        if claim.can_rearm:
            raise
        raise ConfigurationError(
            "RESULTS",
            f"must be 'all' for {attempt.definition.path}, which goes on at "
            f"{rearm.at}: only the app cloudtask.results keeps a task until then.",
        ) from rearm


async def _put_off(attempt: Attempt, steps: _Steps, claim: Claim) -> Outcome:
    """
    Have a task dispatched anew when it is due.

    Raises:
        StoreUnavailable: It is not kept any more, and it is not run early.
    """
    if not claim.can_rearm:
        raise StoreUnavailable(
            f"{attempt.definition.path} is due at {attempt.request.arming.due}, and "
            "only CLOUDTASK['RESULTS'] = 'all' keeps a task until then."
        )
    outcome = outcome_of_early_dispatch(attempt.request)
    if not await steps.ask(attempt, claim.end, make_ending(outcome, None)):
        return _lose(attempt)
    return _refuse(attempt, outcome)


async def _end(
    attempt: Attempt,
    steps: _Steps,
    claim: Claim,
    outcome: Outcome,
    error: BaseException | None = None,
) -> Outcome:
    if not await steps.ask(attempt, claim.end, make_ending(outcome, error)):
        return _lose(attempt)
    await steps.end(attempt, outcome, error)
    return outcome


def _refuse(attempt: Attempt, outcome: Outcome) -> Outcome:
    for observer in attempt.observers:
        observer.refused(attempt, outcome)
    return outcome


def _lose(attempt: Attempt) -> Outcome:
    outcome = Outcome(Status.BUSY)
    for observer in attempt.observers:
        observer.lost(attempt, outcome)
    return outcome


class _Steps(Protocol):
    """The steps that differ between synchronous and asynchronous code."""

    #: After these nothing can be awaited.
    last_words: ClassVar[tuple[type[BaseException], ...]]

    def ask(
        self, attempt: Attempt, question: Callable[..., _T], *args: Any
    ) -> Awaitable[_T]:
        """Ask the store of an attempt, which may wait."""

    def start(self, attempt: Attempt) -> Awaitable[None]:
        """Tell that it starts."""

    def call(self, attempt: Attempt) -> Awaitable[Any]:
        """Call its function."""

    def end(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> Awaitable[None]:
        """Tell how it ended."""


class _InPlace:
    """Steps that are over when they return."""

    last_words: ClassVar[tuple[type[BaseException], ...]] = ()

    def ask(
        self, attempt: Attempt, question: Callable[..., _T], *args: Any
    ) -> Awaitable[_T]:
        """See _Steps.ask()."""
        return _Done(question(*args))

    def start(self, attempt: Attempt) -> Awaitable[None]:
        """See _Steps.start()."""
        for observer in attempt.observers:
            observer.starting(attempt)
        return _NOTHING

    def call(self, attempt: Attempt) -> Awaitable[Any]:
        """Call the function here, on a loop of its own if it is async."""
        payload = attempt.payload
        return _Done(
            calling.call(attempt.definition, *attempt.arguments(), **payload.kwargs)
        )

    def end(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> Awaitable[None]:
        """See _Steps.end()."""
        for observer in attempt.observers:
            observer.ended(attempt, outcome, error)
        return _NOTHING


class _OnLoop:
    """Steps that never keep the loop from others."""

    last_words: ClassVar[tuple[type[BaseException], ...]] = (GeneratorExit,)

    def __init__(self, deferral: Deferral) -> None:
        self._deferral = deferral

    async def ask(
        self, attempt: Attempt, question: Callable[..., _T], *args: Any
    ) -> _T:
        """Ask in a thread, unless the store keeps nothing."""
        if attempt.store is NO_STORE:
            return question(*args)
        return await self._deferral.in_thread(partial(question, *args))

    async def start(self, attempt: Attempt) -> None:
        """See _Steps.start()."""
        for observer in attempt.observers:
            await observer.astarting(attempt)

    async def call(self, attempt: Attempt) -> Any:
        """Await an async function here, and call any other in a thread."""
        definition, arguments = attempt.definition, attempt.arguments()
        kwargs = attempt.payload.kwargs
        if not definition.is_async:
            return await self._deferral.in_thread(
                partial(calling.call, definition, *arguments, **kwargs)
            )
        self._deferral.let_through()
        return await calling.acall(definition, *arguments, **kwargs)

    async def end(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        """See _Steps.end()."""
        for observer in attempt.observers:
            await observer.aended(attempt, outcome, error)


class _Done(Generic[_T]):
    """What is over. To await it is to have its value, at once."""

    __slots__ = ("_value",)

    def __init__(self, value: _T) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, _T]:
        yield from ()
        return self._value


_NOTHING = _Done(None)


def _finish(steps: Coroutine[Any, Any, Outcome]) -> Outcome:
    """The outcome of a coroutine in which nothing waits."""
    try:
        steps.send(None)
    except StopIteration as end:
        outcome: Outcome = end.value
    return outcome
