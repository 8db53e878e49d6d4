"""A task: what CreateTask accepts and what is stored of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.cloud import tasks_v2

from cloudtask.emulator.targets import hosts
from cloudtask.emulator.targets.requests import (
    METHODS_WITH_BODY,
    check_method,
    pop_header,
)
from cloudtask.emulator.tasks.app_engine import requests as app_engine
from cloudtask.emulator.tasks.app_engine.requests import is_app_engine
from cloudtask.emulator.tasks.limits import (
    DEFAULT_DEADLINE,
    MAX_DEADLINE,
    MAX_HEADERS_SIZE,
    MAX_SCHEDULE_AHEAD,
    MAX_TASK_SIZE,
    MAX_URL_LENGTH,
    MIN_DEADLINE,
    USER_AGENT,
)
from cloudtask.emulator.values import header_rules, instants, urls
from cloudtask.emulator.values.errors import invalid_argument
from cloudtask.emulator.values.instants import SECOND

_BASIC = tasks_v2.Task.View.BASIC
_FULL = tasks_v2.Task.View.FULL
_POST = tasks_v2.HttpMethod.POST
_OUTPUT_ONLY = ("dispatch_count", "response_count", "first_attempt", "last_attempt")
_MILLISECOND = SECOND // 1000
_LAST_INSTANT = 253_402_300_799 * SECOND  # The end of the year 9999.
_PACIFIC = "America/Los_Angeles"


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
        app_engine.check(message)
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
        app_engine.fill(request, project=message.name.split("/")[1])
    else:
        pop_header(request.headers, "user-agent")
        request.headers["User-Agent"] = USER_AGENT
    if _count_bytes(message) > MAX_TASK_SIZE:
        raise invalid_argument("Task size too large")
    instants.write(message.dispatch_deadline, deadline or DEFAULT_DEADLINE)
    message.view = _BASIC
    serialized: bytes = message.SerializeToString()
    return serialized


def _count_bytes(message: Any) -> int:
    if is_app_engine(message):
        return app_engine.count_bytes(message)
    size: int = message.ByteSize()
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
    if len(urls.encode(request.url)) > MAX_URL_LENGTH:
        raise invalid_argument(
            f"HttpRequest.url must be at most {MAX_URL_LENGTH} characters long."
        )
    if sum(len((n + v).encode()) for n, v in request.headers.items()) >= (
        MAX_HEADERS_SIZE
    ):
        raise invalid_argument("HttpRequest.headers must be less than 80KB.")
    header_rules.check("HttpRequest.headers", request.headers.items())
    check_method("HttpRequest", request, METHODS_WITH_BODY)


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


def _check_deadline(message: Any) -> None:
    deadline = instants.read(message.dispatch_deadline)
    if message.HasField("dispatch_deadline") and not (
        MIN_DEADLINE <= deadline <= MAX_DEADLINE
    ):
        raise invalid_argument("Task.dispatchDeadline must be between [15s, 30m].")


def _pacific(instant: int) -> str:
    moment = instants.to_datetime(min(instant, _LAST_INSTANT))
    try:
        return moment.astimezone(ZoneInfo(_PACIFIC)).isoformat()
    except ZoneInfoNotFoundError:  # A slim image without a time zone database.
        return moment.isoformat()
