"""Has the signals of Django's framework tell of its tasks."""

from __future__ import annotations

import logging
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from cloudtask.backends.results import change_result, to_django_time
from cloudtask.conf import clock
from cloudtask.dispatch.attempts import Observer
from cloudtask.dispatch.outcomes import WAITING, Status
from cloudtask.framework import (
    TaskError,
    TaskResultStatus,
    normalize_json,
    task_enqueued,
    task_finished,
    task_started,
)

if TYPE_CHECKING:
    from cloudtask.backends.results import CloudTaskResult
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.dispatch.outcomes import Outcome
    from cloudtask.framework import BaseTaskBackend
    from cloudtask.wire.outgoing import OutgoingTask

logger = logging.getLogger("cloudtask")


class SensitiveError(Exception):
    """Stands for an exception that tells what is sensitive."""


class TaskSignals(Observer):
    """
    Notes in a result what becomes of its task, and sends Django's signals.

    Args:
        sender: The class of the task's backend.
        result: The result of the one task that it observes.
    """

    def __init__(self, sender: type[BaseTaskBackend], result: CloudTaskResult) -> None:
        self._sender = sender
        self._result = result

    def sent(self, task: OutgoingTask, name: str) -> None:
        """Note the task's name, and send `task_enqueued`."""
        self._note_sent(name)
        task_enqueued.send_robust(self._sender, task_result=self._result)

    async def asent(self, task: OutgoingTask, name: str) -> None:
        """See sent()."""
        self._note_sent(name)
        await task_enqueued.asend_robust(self._sender, task_result=self._result)

    def starting(self, attempt: Attempt) -> None:
        """Send `task_started`."""
        task_started.send_robust(self._sender, task_result=self._result)

    async def astarting(self, attempt: Attempt) -> None:
        """See starting()."""
        await task_started.asend_robust(self._sender, task_result=self._result)

    def ended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        """Note the end, and send `task_finished` if no attempt follows."""
        self._note_end(attempt, outcome, error)
        if self._result.is_finished:
            self._tell_finished(attempt, error)

    async def aended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        """See ended()."""
        self._note_end(attempt, outcome, error)
        if self._result.is_finished:
            # Not by asend_robust(), which before Django 6.1 hides from
            # receivers, loggers above all, the exception that is handled.
            await sync_to_async(self._tell_finished)(attempt, error)

    def tell_finished(self) -> None:
        """Tell of a task that had ended before."""
        task_finished.send_robust(self._sender, task_result=self._result)

    def _tell_finished(self, attempt: Attempt, error: BaseException | None) -> None:
        trace = attempt.scrub_trace(error)
        if trace is None:
            self.tell_finished()
            return
        # Django's logger logs the exception that is handled.
        try:
            raise SensitiveError(trace)
        except SensitiveError as shown:
            # They have what is hidden here.
            shown.__context__ = shown.__traceback__ = None
            self.tell_finished()

    def _note_sent(self, name: str) -> None:
        change_result(self._result, name=name, enqueued_at=to_django_time(clock.now()))

    def _note_end(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        if outcome.status in WAITING:
            change_result(self._result, status=TaskResultStatus.READY)
            return
        if error is not None:
            self._result.errors.append(_make_error(attempt, error))
        is_done = outcome.status is Status.DONE
        change_result(
            self._result,
            status=TaskResultStatus.SUCCESSFUL if is_done else TaskResultStatus.FAILED,
            finished_at=to_django_time(clock.now()),
            _return_value=_normalize(attempt, outcome.value),
        )


def _make_error(attempt: Attempt, error: BaseException) -> TaskError:
    kind = type(error)
    return TaskError(
        exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
        traceback=attempt.scrub("".join(format_exception(error))),
    )


def _normalize(attempt: Attempt, value: Any) -> Any:
    try:
        return normalize_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        # The work is done, and doing it again would not change this.
        logger.warning(
            "task=%s id=%s its return value is not JSON and is dropped: %s",
            attempt.definition.path,
            attempt.payload.id,
            error,
        )
        return None
