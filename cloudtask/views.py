"""
The dispatch view: every task comes back through it.

Its status tells Cloud Tasks what to do: 2xx is the end, everything else is
tried again. Its body never says more than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.views.decorators.csrf import csrf_exempt

from cloudtask import auth
from cloudtask.auth.credentials import BACKEND_KEY, remove_signature
from cloudtask.dispatch import execution, kinds
from cloudtask.dispatch.answers import UnfitRequest, answer, refuse
from cloudtask.dispatch.bodies import check_method, read_body
from cloudtask.exceptions import (
    CloudTaskError,
    DispatchRefused,
    InvalidCredentials,
    StoreUnavailable,
)
from cloudtask.wire.payload import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.http import HttpRequest, HttpResponse

    from cloudtask.auth.admission import Admission
    from cloudtask.conf import Settings
    from cloudtask.dispatch.attempts import Attempt

_View = TypeVar("_View", bound="Callable[..., Any]")


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
        backend = _choose_backend(request, backend)
        settings = kinds.find_settings(backend)
        meta = _bind_meta(request, backend)
        admission = auth.authenticate(meta, settings)
        body = read_body(request)
        if not admission.allows(body):
            admission = auth.authenticate(remove_signature(meta), settings)
        attempt = _make_attempt(request, body, backend, admission)
    except (CloudTaskError, UnfitRequest) as error:
        return refuse(error)
    try:
        return answer(execution.run(attempt))
    except (StoreUnavailable, DispatchRefused) as error:
        return refuse(error)


@login_not_required
@csrf_exempt
@_non_atomic
async def adispatch(request: HttpRequest, backend: str | None = None) -> HttpResponse:
    """See dispatch(). For ASGI: `async def` tasks run on the server's loop."""
    try:
        backend = _choose_backend(request, backend)
        settings = kinds.find_settings(backend)
        meta = _bind_meta(request, backend)
        admission = auth.recognise(meta, settings)
        if admission is None:
            admission = await _authenticate_in_thread(meta, settings)
        body = read_body(request)
        if not admission.allows(body):
            admission = await _authenticate_in_thread(remove_signature(meta), settings)
        attempt = _make_attempt(request, body, backend, admission)
    except (CloudTaskError, UnfitRequest) as error:
        return refuse(error)
    try:
        return answer(await execution.arun(attempt))
    except (StoreUnavailable, DispatchRefused) as error:
        return refuse(error)


def _choose_backend(request: HttpRequest, bound: str | None) -> str | None:
    """Whose settings guard the dispatch; what it says is proven later."""
    check_method(request.method)
    named = request.META.get(BACKEND_KEY)
    return bound if bound is not None else named and unquote(named)


def _bind_meta(request: HttpRequest, backend: str | None) -> Mapping[str, Any]:
    """META, whose header is that of the backend that a route is bound to."""
    named = backend and quote(backend)
    if request.META.get(BACKEND_KEY) == named:
        return request.META
    return {**request.META, BACKEND_KEY: named}


async def _authenticate_in_thread(
    meta: Mapping[str, Any], settings: Settings
) -> Admission:
    # Keys may have to be fetched.
    return await sync_to_async(auth.authenticate, thread_sensitive=False)(
        meta, settings
    )


def _make_attempt(
    request: HttpRequest, body: bytes, backend: str | None, admission: Admission
) -> Attempt:
    payload = decode(body)
    admission.check_payload(payload)
    if payload.backend != backend:
        raise InvalidCredentials(
            f"the payload is for the backend {payload.backend!r}, "
            f"its credentials were for {backend!r}"
        )
    return kinds.make_attempt(payload, request.META, request)
