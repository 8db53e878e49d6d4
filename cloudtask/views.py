"""
The dispatch view: every task comes back through it.

Its status tells Cloud Tasks what to do: 2xx is the end, everything else is
tried again. Its body never says more than that.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from cloudtask import auth
from cloudtask.auth.credentials import BACKEND_KEY, remove_signature
from cloudtask.backends.borders import check_dispatch
from cloudtask.dispatch import execution
from cloudtask.dispatch.dispatches import attempt_for, settings_for
from cloudtask.dispatch.execution import Attempt, Outcome, Status
from cloudtask.exceptions import (
    CloudTaskError,
    DecodeError,
    DispatchRefused,
    InvalidCredentials,
    KeysUnavailable,
    MetadataUnavailable,
    StoreUnavailable,
    TaskNotFound,
)
from cloudtask.wire.payload import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.http import HttpRequest

    from cloudtask.auth.admission import Admission
    from cloudtask.conf import Settings

_View = TypeVar("_View", bound="Callable[..., Any]")

logger = logging.getLogger("cloudtask")

#: Bytes of the largest body that is read. Cloud Tasks stores no larger task.
MAX_BODY_BYTES = 1024 * 1024
#: Seconds to wait when this side is at fault.
_RETRY_AFTER = 10
#: Characters of an error that are logged.
_MAX_LOGGED = 1000

#: What may be known, or there, at the next attempt.
_UNAVAILABLE = (KeysUnavailable, MetadataUnavailable, StoreUnavailable)

#: Attempts that are over stop Cloud Tasks; only a 2xx does.
_STATUS_CODES = {Status.RETRY: 500, Status.BUSY: 409}


def _non_atomic(view: _View) -> _View:
    """Keep a view out of ATOMIC_REQUESTS, whichever database has it."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


@login_not_required
@csrf_exempt
@_non_atomic
def dispatch(request: HttpRequest, backend: str | None = None) -> HttpResponse:
    """
    Run the task that Cloud Tasks posts. For WSGI.

    Args:
        request: The dispatch.
        backend: Alias of the task backend whose tasks alone are run here.
            Without it the dispatch says whose it is.
    """
    try:
        backend = _backend(request, backend)
        settings = settings_for(backend)
        meta = _meta(request, backend)
        admission = auth.authenticate(meta, settings)
        body = _body(request)
        if not admission.allows(body):
            admission = auth.authenticate(remove_signature(meta), settings)
        attempt = _attempt(request, body, backend, admission)
    except (CloudTaskError, _Refusal) as error:
        return _refuse(error)
    try:
        return _answer(execution.run(attempt))
    except (StoreUnavailable, DispatchRefused) as error:
        return _refuse(error)


@login_not_required
@csrf_exempt
@_non_atomic
async def adispatch(request: HttpRequest, backend: str | None = None) -> HttpResponse:
    """See dispatch(). For ASGI: `async def` tasks run on the server's loop."""
    try:
        backend = _backend(request, backend)
        settings = settings_for(backend)
        meta = _meta(request, backend)
        admission = auth.recognise(meta, settings)
        if admission is None:
            admission = await _authenticate_in_thread(meta, settings)
        body = _body(request)
        if not admission.allows(body):
            admission = await _authenticate_in_thread(remove_signature(meta), settings)
        attempt = _attempt(request, body, backend, admission)
    except (CloudTaskError, _Refusal) as error:
        return _refuse(error)
    try:
        return _answer(await execution.arun(attempt))
    except (StoreUnavailable, DispatchRefused) as error:
        return _refuse(error)


class _Refusal(Exception):
    """A request that is refused for its form."""

    def __init__(self, status: int, word: str) -> None:
        self.status = status
        self.word = word
        super().__init__(word)


def _backend(request: HttpRequest, bound: str | None) -> str | None:
    """Whose settings guard the dispatch; what it says is proven later."""
    if request.method != "POST":
        raise _Refusal(405, "method not allowed")
    named = request.META.get(BACKEND_KEY)
    return bound if bound is not None else named and unquote(named)


def _meta(request: HttpRequest, backend: str | None) -> Mapping[str, Any]:
    """META, whose header is that of the backend that a route is bound to."""
    named = backend and quote(backend)
    if request.META.get(BACKEND_KEY) == named:
        return request.META
    return {**request.META, BACKEND_KEY: named}


async def _authenticate_in_thread(
    meta: Mapping[str, Any], settings: Settings
) -> Admission:
    from asgiref.sync import sync_to_async

    # Keys may have to be fetched.
    return await sync_to_async(auth.authenticate, thread_sensitive=False)(
        meta, settings
    )


def _attempt(
    request: HttpRequest, body: bytes, backend: str | None, admission: Admission
) -> Attempt:
    payload = decode(body)
    admission.check_payload(payload)
    if payload.backend != backend:
        raise InvalidCredentials(
            f"the payload is for the backend {payload.backend!r}, "
            f"its credentials were for {backend!r}"
        )
    attempt = attempt_for(payload, request.META, request)
    check_dispatch(payload)
    return attempt


def _body(request: HttpRequest) -> bytes:
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise _Refusal(415, "unsupported content encoding")
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if length.isdecimal() and int(length[:12]) > MAX_BODY_BYTES:
        raise _Refusal(413, "too large")
    try:
        # Read to a limit, since the length may be missing or a lie.
        body = request.read(MAX_BODY_BYTES + 1)
    except UnreadablePostError:
        raise _Refusal(400, "malformed") from None
    if len(body) > MAX_BODY_BYTES:
        raise _Refusal(413, "too large")
    return body


def _answer(outcome: Outcome) -> HttpResponse:
    response = _response(_STATUS_CODES.get(outcome.status, 200), outcome.status.value)
    if outcome.after is not None:
        response["Retry-After"] = str(math.ceil(outcome.after.total_seconds()))
    return response


def _refuse(error: CloudTaskError | _Refusal) -> HttpResponse:
    _log(error)
    if isinstance(error, _Refusal):
        response = _response(error.status, error.word)
        if error.status == 405:
            response["Allow"] = "POST"
        return response
    if isinstance(error, DecodeError):
        return _response(400, "malformed")
    if isinstance(error, TaskNotFound):
        return _response(404, "unknown task")
    if isinstance(error, _UNAVAILABLE):
        response = _response(503, "unavailable")
        response["Retry-After"] = str(_RETRY_AFTER)
        return response
    # Wrong settings close the view, too.
    return _response(403, "forbidden")


def _log(error: CloudTaskError | _Refusal) -> None:
    senders_fault = isinstance(error, (_Refusal, DecodeError, DispatchRefused))
    level = logging.WARNING if senders_fault else logging.ERROR
    # It may quote a body of any length.
    logger.log(level, "refused a dispatch: %r", str(error)[:_MAX_LOGGED])


def _response(status: int, word: str) -> HttpResponse:
    response = HttpResponse(
        f'{{"status": "{word}"}}',
        status=status,
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )
    # Logged here, by what it means. Django would log every 500 as an error.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
