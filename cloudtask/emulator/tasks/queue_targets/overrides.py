"""
An HTTP task's request once its queue's HttpTarget is laid over it.

The stored task stays as it is, so what is set at the queue goes for tasks that
were there before, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2

from cloudtask.emulator.identity.credentials import read_credential
from cloudtask.emulator.targets.requests import METHODS, METHODS_WITH_BODY, Outline
from cloudtask.emulator.tasks import refusals
from cloudtask.emulator.values import header_rules, urls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.emulator.values.urls import Url

_IF_NOT_EXISTS = tasks_v2.UriOverride.UriOverrideEnforceMode.IF_NOT_EXISTS
_HTTP = tasks_v2.UriOverride.Scheme.HTTP
_CONTENT_TYPE = "application/json"

_TaskMessage = tasks_v2.Task.pb()


def outline_request(request: Any, target: Any | None) -> Outline:
    """
    Return what to send for an HttpRequest.

    Args:
        request: The task's.
        target: The queue's HttpTarget, None if it has none.
    """
    if target is None:
        return _outline(request, request.url, METHODS[request.http_method])
    url = _url(request.url, target.uri_override)
    method = METHODS[target.http_method or request.http_method]
    outline = _outline(request, url, method)
    return Outline(
        url,
        method,
        _headers(outline, target.header_overrides),
        outline.body,
        read_credential(target, url) or outline.credential,
    )


def make_buffered_task(target: Any, body: bytes, headers: Mapping[str, str]) -> Any:
    """
    Return the Task of a BufferTask, whose URL is all the queue's.

    Raises:
        ApiError: The queue does not say where to send it, or a header cannot
            be sent.
    """
    if not target.uri_override.host:
        raise refusals.no_http_target()
    header_rules.check("BufferTask", headers.items())
    message = _TaskMessage()
    message.http_request.headers.update(headers)
    message.http_request.body = body
    return message


def _outline(request: Any, url: str, method: str) -> Outline:
    return Outline(
        url,
        method,
        dict(request.headers),
        # GET is the documented case; the others can have no body, either.
        request.body if method in METHODS_WITH_BODY else b"",
        read_credential(request, url),
    )


def _headers(outline: Outline, overrides: Any) -> dict[str, str]:
    headers = {name.lower(): (name, value) for name, value in outline.headers.items()}
    if outline.body:  # The default that queues have and tasks have not.
        headers.setdefault("content-type", ("Content-Type", _CONTENT_TYPE))
    for each in overrides:
        headers[each.header.key.lower()] = (each.header.key, each.header.value)
    return dict(headers.values())


def _url(url: str, override: Any) -> str:
    if not override.ListFields():
        return url
    parts = urls.split(url)
    if url and override.uri_override_enforce_mode == _IF_NOT_EXISTS:
        return str(_complete(parts, override))
    return str(_override(parts, override))


def _complete(parts: Url, override: Any) -> Url:
    # Unconfirmed: a URL of the task's own always says where to, be it by the
    # default port, so that only the path and the query can be missing.
    return parts._replace(
        path=parts.path or _path(override), query=parts.query or _query(override)
    )


def _override(parts: Url, override: Any) -> Url:
    if override.HasField("scheme") or not parts.scheme:
        is_http = override.scheme == _HTTP
        parts = parts._replace(scheme="http" if is_http else "https")
    if override.HasField("host"):
        parts = parts._replace(host=override.host)
    if override.HasField("port"):
        parts = parts._replace(port=f":{override.port}" if override.port else "")
    if override.HasField("path_override"):
        parts = parts._replace(path=_path(override))
    if override.HasField("query_override"):
        parts = parts._replace(query=_query(override))
    return parts


def _path(override: Any) -> str:
    path: str = override.path_override.path
    return path if path.startswith("/") or not path else f"/{path}"


def _query(override: Any) -> str:
    query: str = override.query_override.query_params
    return f"?{query}" if query else ""
