"""An error is kept, in the transaction of the end that it is the cause of."""

from __future__ import annotations

from dataclasses import replace
from traceback import format_exception
from typing import TYPE_CHECKING

from cloudtask.conf import clock, get_settings
from cloudtask.exceptions import text_of
from cloudtask.results.columns.texts import clean_text
from cloudtask.results.declarations import find_sensitive
from cloudtask.results.models import TaskError
from cloudtask.results.settings import get_results_settings

if TYPE_CHECKING:
    from cloudtask.stores import Ending
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest


def keep_error(
    payload: Payload,
    request: CloudTaskRequest,
    ending: Ending,
    *,
    is_short: bool = False,
) -> None:
    """
    Keep what an attempt raised, unless too many errors of its task are kept.

    Args:
        payload: What was run.
        request: The attempt.
        ending: How it ended.
        is_short: Whether to leave out the texts.
    """
    error = ending.error
    is_one_too_many = request.attempt > get_results_settings(get_settings()).max_errors
    if error is None or (is_one_too_many and not ending.final):
        return
    if is_short:
        add_error(payload.id, request.attempt, error)
        return
    args, kwargs = payload.received_arguments()
    # The task may have put into its arguments what JSON cannot hold.
    sensitive = find_sensitive(replace(payload, args=args, kwargs=kwargs))
    add_error(
        payload.id,
        request.attempt,
        error,
        message=sensitive.scrub(text_of(error), args, kwargs),
        traceback=sensitive.scrub("".join(format_exception(error)), args, kwargs),
    )


def add_error(
    task_id: str,
    attempt: int,
    error: BaseException,
    *,
    message: str = "",
    traceback: str = "",
) -> None:
    """Add the row of an error."""
    kind = type(error)
    TaskError.objects.create(
        task_id=task_id,
        attempt=attempt,
        type=clean_text(f"{kind.__module__}.{kind.__qualname__}")[:255],
        message=clean_text(message),
        traceback=clean_text(traceback),
        happened_at=clock.now(),
    )
