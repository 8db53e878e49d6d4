"""
A guard in front of an ASGI application.

    application = guard(get_asgi_application())

Django takes in the whole body of a request, into a file if it is large,
before any view may look at its headers. The guard looks first.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from cloudtask.dispatch.answers import UnfitRequest, refuse
from cloudtask.dispatch.bodies import check_length, check_method, check_size
from cloudtask.dispatch.kinds import find_all_settings
from cloudtask.exceptions import CloudTaskError, MissingCredentials
from cloudtask.wire.headers import SECRET_HEADER, SIGNATURE_HEADER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpResponse

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Any, Any, Any], Awaitable[None]]

#: Headers that may carry a credential. An Authenticator may know others.
_CREDENTIALS = frozenset(
    {"authorization", SECRET_HEADER.lower(), SIGNATURE_HEADER.lower()}
)


def guard(application: Application) -> Application:
    """
    Keep from an application what its dispatch view would refuse unread.

    On the path of the dispatch view, requests without a credential are
    answered with 403, and bodies above 1 MiB with 413, whatever length they
    announce. All others are the application's.

    Args:
        application: Django's, as `get_asgi_application()` returns it.
    """

    async def guarded(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_dispatch(scope):
            await application(scope, receive, send)
            return
        try:
            _check_head(scope)
            body = await _read(receive)
        except (CloudTaskError, UnfitRequest) as error:
            await _respond(refuse(error), send)
            return
        if body is not None:
            await application(scope, _replay(body, receive), send)

    return guarded


def _is_dispatch(scope: Message) -> bool:
    from django.core.handlers.asgi import get_script_prefix
    from django.urls import Resolver404, resolve
    from django.utils.translation import get_language_from_path, override

    from cloudtask.checks.trial import is_view

    path = scope["path"]
    mount = get_script_prefix(scope).rstrip("/")
    if path.startswith(f"{mount}/"):
        path = path[len(mount) :]
    language = get_language_from_path(path)
    try:
        with override(language) if language else nullcontext():
            return is_view(resolve(path))
    except Resolver404:
        return False


def _check_head(scope: Message) -> None:
    """Refuse what can be refused before the body comes."""
    check_method(scope["method"])
    headers = {name.decode("latin1").lower(): value for name, value in scope["headers"]}
    if _CREDENTIALS.isdisjoint(headers) and not _has_own_auth():
        raise MissingCredentials("no credential was sent")
    check_length(headers.get("content-length", b"").decode("latin1"))


def _has_own_auth() -> bool:
    return any(settings.has_own_auth for settings in find_all_settings())


async def _read(receive: Receive) -> bytes | None:
    """The body, or None if the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        check_size(len(body))
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once more, and then what else is received."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


async def _respond(response: HttpResponse, send: Send) -> None:
    response["Content-Length"] = str(len(response.content))
    headers = [
        (name.lower().encode("latin1"), value.encode("latin1"))
        for name, value in response.items()
    ]
    status = response.status_code
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
