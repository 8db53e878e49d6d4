"""A task: what CreateTask accepts and what is stored of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.cloud import tasks_v2

from cloudtask.emulator.targets import hosts
from cloudtask.emulator.values import header_rules, instants, urls
from cloudtask.emulator.values.errors import invalid_argument
from cloudtask.emulator.values.instants import SECOND

#: Largest stored task, serialized, in bytes, see _counted_size(). 7 less than
#: 1 MiB, as measured.
MAX_TASK_SIZE = 1_048_569
#: Longest URL, in characters.
MAX_URL_LENGTH = 2083
#: All header names and values of a task stay below this, in bytes.
MAX_HEADERS_SIZE = 80 * 1024
#: How far ahead a task can be scheduled, in microseconds.
MAX_SCHEDULE_AHEAD = 720 * 3600 * SECOND
#: A task is dropped this long after its creation, in microseconds.
RETENTION = 31 * 24 * 3600 * SECOND
#: Range and default of the dispatch deadline, in microseconds. App Engine's
#: own defaults depend on the scaling of the app; this is the automatic one's.
MIN_DEADLINE = 15 * SECOND
MAX_DEADLINE = 30 * 60 * SECOND
MAX_APP_ENGINE_DEADLINE = 24 * 3600 * SECOND + 15 * SECOND
DEFAULT_DEADLINE = 600 * SECOND
#: What Cloud Tasks calls itself towards HTTP targets and App Engine.
USER_AGENT = "Google-Cloud-Tasks"
APP_ENGINE_USER_AGENT = "AppEngine-Google; (+http://code.google.com/appengine)"
#: The methods' names by their numbers in the API. Unset means POST.
METHODS: dict[int, str] = {
    0: "POST",
    **{
        getattr(tasks_v2.HttpMethod, name): name
        for name in ("POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
    },
}
#: The methods of an HTTP task that may have a body.
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_BASIC = tasks_v2.Task.View.BASIC
_FULL = tasks_v2.Task.View.FULL
_POST = tasks_v2.HttpMethod.POST
_APP_ENGINE_METHODS_WITH_BODY = frozenset({"POST", "PUT"})
_RELATIVE_URI = re.compile("/[!-~]*")
_OUTPUT_ONLY = ("dispatch_count", "response_count", "first_attempt", "last_attempt")
_MILLISECOND = SECOND // 1000
_LAST_INSTANT = 253_402_300_799 * SECOND  # The end of the year 9999.
_PACIFIC = "America/Los_Angeles"
_APP_ENGINE = ".appspot.com"
# The service's host of an app names its region, too, which nobody knows here.
# It counts for the size.
_REGIONAL_APP_ENGINE = ".uc.r.appspot.com"


@dataclass(slots=True, eq=False)
class StoredTask:
    """A task as the store keeps it."""

    id: int  # The store's number of it, in the order of creation.
    queue: str  # The queue's path.
    message: Any  # The google.cloud.tasks.v2.Task, body included.
    due: int  # When it is sent: its schedule_time, unless it is held back.
    in_flight: int = 0  # Attempts under way.
    executions: int = 0  # Answers that count for the header of that name.
    previous_response: int | None = None  # As the next attempt's header says.


def is_app_engine(message: Any) -> bool:
    """Whether a task is sent to App Engine and not to a URL of its own."""
    result: bool = message.HasField("app_engine_http_request")
    return result


def view(message: Any, response_view: int) -> Any:
    """
    Make a task what a caller may see of it, in place, and return it.

    Only a full view has the body.
    """
    if response_view == _FULL:
        message.view = _FULL
    else:
        message.view = _BASIC
        _request(message).ClearField("body")
    return message


def check(message: Any, now: int, *, require_https: bool = False) -> None:
    """
    Raise ApiError if a new task, apart from its name, is not valid.

    Args:
        message: The google.cloud.tasks.v2.Task.
        now: When it is created.
        require_https: Whether a token needs an https URL even if its host is
            local.
    """
    if message.WhichOneof("message_type") is None:
        raise invalid_argument("Task.payload_type is not set.")
    if is_app_engine(message):
        _check_app_engine_request(message.app_engine_http_request)
        _check_app_engine_deadline(message)
    else:
        _check_http_request(message.http_request)
        _check_token(message.http_request, require_https)
        _check_deadline(message)
    schedule_time = instants.read(message.schedule_time)
    if schedule_time > now + MAX_SCHEDULE_AHEAD:
        raise invalid_argument(
            f"The Task.scheduleTime, {_pacific(schedule_time)}, is too far in the "
            "future. Schedule time must be no more than 720h in the future."
        )


def fill(message: Any, now: int) -> bytes:
    """
    Fill the defaults into a checked, named task.

    Returns:
        The message as it is to be stored.

    Raises:
        ApiError: It is too large.
    """
    for field in _OUTPUT_ONLY:
        message.ClearField(field)
    schedule_time = max(now, instants.read(message.schedule_time))
    instants.write(message.schedule_time, schedule_time)
    instants.write(message.create_time, now // SECOND * SECOND)
    deadline = instants.read(message.dispatch_deadline) // _MILLISECOND * _MILLISECOND
    message.ClearField("dispatch_deadline")
    # The default of App Engine does not count for the size.
    if deadline or not is_app_engine(message):
        instants.write(message.dispatch_deadline, deadline or DEFAULT_DEADLINE)
    request = _request(message)
    request.http_method = request.http_method or _POST
    if is_app_engine(message):
        _fill_app_engine_request(request, project=message.name.split("/")[1])
    else:
        _take_header(request.headers, "user-agent")
        request.headers["User-Agent"] = USER_AGENT
    if _counted_size(message) > MAX_TASK_SIZE:
        raise invalid_argument("Task size too large")
    instants.write(message.dispatch_deadline, deadline or DEFAULT_DEADLINE)
    message.view = _BASIC
    serialized: bytes = message.SerializeToString()
    return serialized


def _counted_size(message: Any) -> int:
    """Return the bytes of a stored task that the service counts."""
    counted = message
    if is_app_engine(message):
        counted = type(message)()
        counted.CopyFrom(message)
        routing = counted.app_engine_http_request.app_engine_routing
        # The host says it all.
        host = routing.host.removesuffix(_APP_ENGINE) + _REGIONAL_APP_ENGINE
        routing.Clear()
        routing.host = host
    size: int = counted.ByteSize()
    return size


def _request(message: Any) -> Any:
    if is_app_engine(message):
        return message.app_engine_http_request
    return message.http_request


def _check_http_request(request: Any) -> None:
    # Only the first two messages are the service's own, the rest are ours.
    if not request.url:
        raise invalid_argument("HttpRequest.url is required.")
    if not request.url.lower().startswith(("http://", "https://")):
        raise invalid_argument(
            "HttpTarget.url must start with 'http://' or 'https://'."
        )
    if len(urls.encoded(request.url)) > MAX_URL_LENGTH:
        raise invalid_argument(
            f"HttpRequest.url must be at most {MAX_URL_LENGTH} characters long."
        )
    if sum(len((n + v).encode()) for n, v in request.headers.items()) >= (
        MAX_HEADERS_SIZE
    ):
        raise invalid_argument("HttpRequest.headers must be less than 80KB.")
    header_rules.check("HttpRequest.headers", request.headers.items())
    _check_method("HttpRequest", request, METHODS_WITH_BODY)


def _check_token(request: Any, require_https: bool) -> None:
    parts = urls.split(request.url)
    if (
        request.WhichOneof("authorization_header") is None
        or parts.scheme.lower() == "https"
        or (hosts.is_local(parts.host.strip("[]")) and not require_https)
    ):
        return
    raise invalid_argument(
        "HttpRequest.url must start with 'https://' for request with "
        "HttpRequest.authorization_header"
    )


def _check_app_engine_request(request: Any) -> None:
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
    _check_method("AppEngineHttpRequest", request, _APP_ENGINE_METHODS_WITH_BODY)


def _check_method(kind: str, request: Any, methods_with_body: frozenset[str]) -> None:
    method = METHODS.get(request.http_method)
    if method is None:
        raise invalid_argument(f"{kind}.httpMethod is not a known method.")
    if request.body and method not in methods_with_body:
        raise invalid_argument(f"{kind}.body is not allowed with {method}.")


def _check_deadline(message: Any) -> None:
    deadline = instants.read(message.dispatch_deadline)
    if message.HasField("dispatch_deadline") and not (
        MIN_DEADLINE <= deadline <= MAX_DEADLINE
    ):
        raise invalid_argument("Task.dispatchDeadline must be between [15s, 30m].")


def _check_app_engine_deadline(message: Any) -> None:
    deadline = instants.read(message.dispatch_deadline)
    # 0 asks for the default here.
    if deadline and not MIN_DEADLINE <= deadline <= MAX_APP_ENGINE_DEADLINE:
        raise invalid_argument("Task.dispatchDeadline must be between [15s, 24h15s].")


def _fill_app_engine_request(request: Any, project: str) -> None:
    request.relative_uri = request.relative_uri or "/"
    routing = request.app_engine_routing
    parts = (routing.instance, routing.version, routing.service, project)
    routing.host = ".".join(filter(None, parts)) + _APP_ENGINE
    headers = request.headers
    agent = _take_header(headers, "user-agent")
    headers["User-Agent"] = f"{agent or ''} {APP_ENGINE_USER_AGENT}".lstrip()
    _take_header(headers, "content-length")
    if request.body:
        headers["Content-Length"] = str(len(request.body))
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/octet-stream"


def _take_header(headers: Any, name: str) -> str | None:
    """Remove a header however it is written, and return a value of it."""
    value = None
    for header in [each for each in headers if each.lower() == name]:
        value = headers.pop(header)
    return value


def _pacific(instant: int) -> str:
    moment = instants.to_datetime(min(instant, _LAST_INSTANT))
    try:
        return moment.astimezone(ZoneInfo(_PACIFIC)).isoformat()
    except ZoneInfoNotFoundError:  # A slim image without a time zone database.
        return moment.isoformat()
