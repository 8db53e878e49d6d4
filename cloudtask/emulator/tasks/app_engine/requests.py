"""Tasks for App Engine: what they may be, and what is sent for them."""

from __future__ import annotations

import re
from typing import Any

from cloudtask.emulator.targets.requests import (
    METHODS,
    Outline,
    check_method,
    pop_header,
)
from cloudtask.emulator.tasks.limits import (
    APP_ENGINE_USER_AGENT,
    MAX_APP_ENGINE_DEADLINE,
    MAX_URL_LENGTH,
    MIN_DEADLINE,
)
from cloudtask.emulator.values import header_rules, instants
from cloudtask.emulator.values.errors import invalid_argument

_METHODS_WITH_BODY = frozenset({"POST", "PUT"})
_RELATIVE_URI = re.compile("/[!-~]*")
_DOMAIN = ".appspot.com"
# The service's host of an app names its region, too, which nobody knows here.
# It counts for the size.
_REGIONAL_DOMAIN = ".uc.r.appspot.com"


def is_app_engine(message: Any) -> bool:
    """Whether a task is sent to App Engine and not to a URL of its own."""
    result: bool = message.HasField("app_engine_http_request")
    return result


def check(message: Any) -> None:
    """Raise ApiError unless a task's request and its deadline are valid."""
    _check_request(message.app_engine_http_request)
    deadline = instants.read(message.dispatch_deadline)
    # 0 asks for the default here.
    if deadline and not MIN_DEADLINE <= deadline <= MAX_APP_ENGINE_DEADLINE:
        raise invalid_argument("Task.dispatchDeadline must be between [15s, 24h15s].")


def fill(request: Any, project: str) -> None:
    """Fill the defaults into a request, and what the service adds to it."""
    request.relative_uri = request.relative_uri or "/"
    routing = request.app_engine_routing
    parts = (routing.instance, routing.version, routing.service, project)
    routing.host = ".".join(filter(None, parts)) + _DOMAIN
    headers = request.headers
    agent = pop_header(headers, "user-agent")
    headers["User-Agent"] = f"{agent or ''} {APP_ENGINE_USER_AGENT}".lstrip()
    pop_header(headers, "content-length")
    if request.body:
        headers["Content-Length"] = str(len(request.body))
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/octet-stream"


def count_bytes(message: Any) -> int:
    """Return how large the service takes a filled task to be."""
    counted = type(message)()
    counted.CopyFrom(message)
    routing = counted.app_engine_http_request.app_engine_routing
    # The host says it all.
    host = routing.host.removesuffix(_DOMAIN) + _REGIONAL_DOMAIN
    routing.Clear()
    routing.host = host
    size: int = counted.ByteSize()
    return size


def outline_request(request: Any, base_url: str | None) -> Outline:
    """
    Return what to send for an AppEngineHttpRequest.

    Args:
        request: The task's.
        base_url: Where App Engine is; None leaves a URL that is only a path.
    """
    return Outline(
        url=(base_url or "").rstrip("/") + request.relative_uri,
        method=METHODS[request.http_method],
        headers=dict(request.headers),
        body=request.body,
    )


def retry_headers(previous_response: int) -> dict[str, str]:
    """
    Return what a retry tells the app about the attempt before.

    Args:
        previous_response: The status of that attempt, 0 if it had no answer.
    """
    return {
        "X-AppEngine-TaskPreviousResponse": str(previous_response),
        "X-AppEngine-TaskRetryReason": (
            "App Error" if previous_response else "Instance Unavailable"
        ),
    }


def _check_request(request: Any) -> None:
    # Unconfirmed wording.
    if request.relative_uri and _RELATIVE_URI.fullmatch(request.relative_uri) is None:
        raise invalid_argument(
            "AppEngineHttpRequest.relativeUri must start with '/' and be a valid "
            "relative URI."
        )
    if len(request.relative_uri) > MAX_URL_LENGTH:
        raise invalid_argument(
            "AppEngineHttpRequest.relativeUri must be at most "
            f"{MAX_URL_LENGTH} characters long."
        )
    header_rules.check("AppEngineHttpRequest.headers", request.headers.items())
    check_method("AppEngineHttpRequest", request, _METHODS_WITH_BODY)
