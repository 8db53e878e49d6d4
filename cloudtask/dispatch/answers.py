"""What Cloud Tasks is answered, and what is logged of a refusal."""

from __future__ import annotations

import logging
import math

from django.http import HttpResponse

from cloudtask.dispatch.outcomes import Outcome, Status
from cloudtask.exceptions import (
    CloudTaskError,
    DecodeError,
    DispatchRefused,
    KeysUnavailable,
    MetadataUnavailable,
    StoreUnavailable,
    TaskNotFound,
)

logger = logging.getLogger("cloudtask")

#: Seconds to wait when this side is at fault.
RETRY_AFTER = 10
#: Attempts that are over stop Cloud Tasks; only a 2xx does.
STATUS_CODES = {Status.RETRY: 500, Status.BUSY: 409}
#: Characters of an error that are logged.
_MAX_LOGGED = 1000
#: What may be known, or there, at the next attempt.
_UNAVAILABLE = (KeysUnavailable, MetadataUnavailable, StoreUnavailable)


class UnfitRequest(Exception):
    """A request is refused for its form."""

    def __init__(self, status: int, word: str) -> None:
        self.status = status
        self.word = word
        super().__init__(word)


def answer(outcome: Outcome) -> HttpResponse:
    """The answer to a dispatch that was run, or needs not be."""
    response = _respond(STATUS_CODES.get(outcome.status, 200), outcome.status.value)
    if outcome.after is not None:
        response["Retry-After"] = str(math.ceil(outcome.after.total_seconds()))
    return response


def refuse(error: CloudTaskError | UnfitRequest) -> HttpResponse:
    """The answer to a request that is refused, which is logged."""
    _log(error)
    if isinstance(error, UnfitRequest):
        response = _respond(error.status, error.word)
        if error.status == 405:
            response["Allow"] = "POST"
        return response
    if isinstance(error, DecodeError):
        return _respond(400, "malformed")
    if isinstance(error, TaskNotFound):
        return _respond(404, "unknown task")
    if isinstance(error, _UNAVAILABLE):
        response = _respond(503, "unavailable")
        response["Retry-After"] = str(RETRY_AFTER)
        return response
    # Wrong settings close the view, too.
    return _respond(403, "forbidden")


def _log(error: CloudTaskError | UnfitRequest) -> None:
    senders_fault = isinstance(error, (UnfitRequest, DecodeError, DispatchRefused))
    level = logging.WARNING if senders_fault else logging.ERROR
    # It may quote a body of any length.
    logger.log(level, "refused a dispatch: %r", str(error)[:_MAX_LOGGED])


def _respond(status: int, word: str) -> HttpResponse:
    response = HttpResponse(
        f'{{"status": "{word}"}}',
        status=status,
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )
    # Logged here, by what it means. Django would log every 500 as an error.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
