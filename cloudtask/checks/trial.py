"""
A dispatch on trial: what the project's handler does with one.

It is Django's own handler with the project's middleware, and stops short of
the view. No database, cache or network is asked, and nobody is told of what
goes wrong.
"""

from __future__ import annotations

import logging
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from enum import Enum
from functools import wraps
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.core import signals
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.db import DatabaseError, connections
from django.dispatch import Signal
from django.http import HttpResponse
from django.urls import Resolver404, set_script_prefix

from cloudtask.wire.headers import BACKEND_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.urls import ResolverMatch

#: How Cloud Tasks calls itself.
USER_AGENT = "Google-Cloud-Tasks"
#: Status of the view's refusal.
_REFUSED = 403
_BODY = b"{}"
_VIEWS = "cloudtask.views"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Where a dispatch without credentials goes."""

    host: str  # With a port, where the URL has one.
    mount: str  # Path that the site is mounted at, without a slash at its end.
    path: str  # The rest of the path.
    query: str  # Of the URL, without a question mark.
    is_https: bool
    backend: str | None  # Alias of the task backend that it is for.

    @property
    def headers(self) -> dict[str, str]:
        """What Cloud Tasks, and a proxy in front, would send with it."""
        headers = {
            "host": self.host,
            "user-agent": USER_AGENT,
            "content-type": "application/json",
            "content-length": "2",
            "x-cloudtasks-queuename": "default",
            "x-cloudtasks-taskname": "1",
            "x-cloudtasks-taskretrycount": "0",
        }
        if self.backend is not None:
            headers[BACKEND_HEADER.lower()] = self.backend
        if self.is_https:
            # As from a proxy that ends TLS.
            headers["x-forwarded-proto"] = "https"
            key, value = django_settings.SECURE_PROXY_SSL_HEADER or ("", "")
            if key:
                headers[key.removeprefix("HTTP_").replace("_", "-").lower()] = value
        return headers


class Fate(Enum):
    """How far a dispatch came."""

    VIEW = "view"  # To the view, whose refusal came back.
    ELSEWHERE = "elsewhere"  # To another view, or to none.
    STOPPED = "stopped"  # Something else answered it.
    UNKNOWN = "unknown"  # The answer depends on the database.


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back for a dispatch."""

    fate: Fate
    status: int = 500
    location: str = ""  # Of a redirect.
    error: str = ""  # Name of the class of an exception.
    middleware: str = ""  # Dotted path of what stopped it, if it is known.
    is_wrong_path: bool = False  # Without that it would end elsewhere.


def send(dispatch: Dispatch) -> Reply:
    """Try a dispatch, and find out what stops it."""
    # A thread has connections of its own, and an empty context has the
    # language and the URLconf of nobody.
    with ThreadPoolExecutor(1) as pool, _mute() as errors:
        return pool.submit(Context().run, _Trial(dispatch, errors).run).result()


class _Trial:
    """One dispatch, sent through one stack of middleware after the other."""

    def __init__(self, dispatch: Dispatch, errors: list[str]) -> None:
        self._dispatch = dispatch
        self._errors = errors  # Grows with each exception that is handled.
        self._needs_database = False

    def run(self) -> Reply:
        """Send it under WSGI, and under ASGI if something stops it there."""
        set_script_prefix(f"{self._dispatch.mount}/")
        for connection in connections.all():
            connection.ensure_connection = self._refuse  # type: ignore[method-assign]
        for alias in django_settings.CACHES:
            caches[alias] = DummyCache(alias, {})
        reply, depth = self._find_stop(_Handler)
        if reply.fate is Fate.STOPPED:
            # Some middleware is for the other kind only.
            other, other_depth = self._find_stop(_AsyncHandler)
            if other.fate is not Fate.STOPPED or other_depth > depth:
                return other
        return reply

    def _find_stop(self, kind: type[_Handler]) -> tuple[Reply, int]:
        """The reply, and how many are passed before what stops it."""
        names = list(django_settings.MIDDLEWARE)
        reply = self._ask(kind, names)
        if reply.fate is not Fate.STOPPED:
            return reply, len(names)
        for end in reversed(range(len(names))):
            if self._ask(kind, names[:end]).fate is not Fate.STOPPED:
                rest = self._ask(kind, names[:end] + names[end + 1 :])
                is_wrong = rest.fate is Fate.ELSEWHERE
                reply = replace(reply, middleware=names[end], is_wrong_path=is_wrong)
                return reply, end
        return reply, 0

    def _ask(self, kind: type[_Handler], middleware: list[str]) -> Reply:
        self._errors.clear()
        self._needs_database = False
        handler = kind(self._dispatch)
        before = django_settings.MIDDLEWARE
        django_settings.MIDDLEWARE = middleware
        try:
            response = handler.respond()
        except Exception as error:
            # It could not be made, or Django is told to let exceptions pass.
            self._errors.append(type(error).__qualname__)
            response = HttpResponse(status=500)
        finally:
            django_settings.MIDDLEWARE = before
        return Reply(
            fate=self._judge(handler, response),
            status=response.status_code,
            location=response.headers.get("Location", ""),
            error=self._errors[-1] if self._errors else "",
        )

    def _judge(self, handler: _Handler, response: HttpResponseBase) -> Fate:
        if handler.fate is Fate.VIEW and response.status_code == _REFUSED:
            return Fate.VIEW
        if handler.fate is Fate.ELSEWHERE:
            return Fate.ELSEWHERE
        return Fate.UNKNOWN if self._needs_database else Fate.STOPPED

    def _refuse(self) -> None:
        self._needs_database = True
        raise DatabaseError("A check asks no database.")


class _Handler(BaseHandler):
    """Django's handler, as under WSGI, but for the views."""

    def __init__(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        self.fate = Fate.STOPPED

    def respond(self) -> HttpResponseBase:
        """Send the dispatch through the middleware, and return the answer."""
        dispatch = self.dispatch
        self.load_middleware()
        headers = {
            _make_meta_key(name): value for name, value in dispatch.headers.items()
        }
        host, port = _split_host(dispatch)
        environ = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": dispatch.mount,
            "PATH_INFO": dispatch.path.encode().decode("latin1"),
            "QUERY_STRING": dispatch.query,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(_BODY),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            **headers,
        }
        return self.get_response(WSGIRequest(environ))

    def resolve_request(self, request: HttpRequest) -> Any:
        """Find the view of a request, with a refusal in its place."""
        try:
            match = super().resolve_request(request)
        except Resolver404:
            match = None
        if match is None or not self._serves(match):
            self.fate = Fate.ELSEWHERE
            # Whatever it does, it is not done for a trial.
            return (lambda *args, **kwargs: HttpResponse(status=404)), (), {}

        @wraps(match.func)
        def refuse(*args: object, **kwargs: object) -> HttpResponse:
            self.fate = Fate.VIEW
            return HttpResponse(status=_REFUSED)

        return refuse, match.args, match.kwargs

    def _serves(self, match: ResolverMatch) -> bool:
        backend = self.dispatch.backend
        return is_view(match) and match.kwargs.get("backend", backend) == backend


class _AsyncHandler(_Handler):
    """As under ASGI."""

    def respond(self) -> HttpResponseBase:
        """See _Handler.respond()."""
        dispatch = self.dispatch
        self.load_middleware(is_async=True)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": dispatch.mount + dispatch.path,
            "raw_path": (dispatch.mount + dispatch.path).encode(),
            "root_path": dispatch.mount,
            "query_string": dispatch.query.encode(),
            "headers": [
                (name.encode(), value.encode())
                for name, value in dispatch.headers.items()
            ],
            "client": ("127.0.0.1", 0),
            "server": _split_host(dispatch),
        }
        request = ASGIRequest(scope, BytesIO(_BODY))
        return async_to_sync(self.get_response_async)(request)


def _make_meta_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def _split_host(dispatch: Dispatch) -> tuple[str, int]:
    parts = urlsplit(f"//{dispatch.host}")
    return parts.hostname or "", parts.port or 80


def is_view(match: ResolverMatch) -> bool:
    """Whether a path leads to a dispatch view."""
    return getattr(match.func, "__module__", "") == _VIEWS


@contextmanager
def _mute() -> Iterator[list[str]]:
    """Collect the names of exceptions that are handled, and tell nobody."""
    errors: list[str] = []

    def note(**kwargs: object) -> None:
        errors.append(type(sys.exception()).__qualname__)

    before, level = signals.got_request_exception, logging.root.manager.disable
    signals.got_request_exception = Signal()
    signals.got_request_exception.connect(note, weak=False)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield errors
    finally:
        logging.disable(level)
        signals.got_request_exception = before
