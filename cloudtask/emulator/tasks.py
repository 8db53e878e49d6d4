"""A task: what CreateTask accepts and what is stored of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.cloud import tasks_v2

from cloudtask.emulator import instants
from cloudtask.emulator.errors import invalid_argument, unimplemented
from cloudtask.emulator.instants import SECOND

#: Largest stored task, serialized, in bytes. 7 less than 1 MiB, as measured.
MAX_TASK_SIZE = 1_048_569
#: Longest URL, in characters.
MAX_URL_LENGTH = 2083
#: All header names and values of a task stay below this, in bytes.
MAX_HEADERS_SIZE = 80 * 1024
#: How far ahead a task can be scheduled, in microseconds.
MAX_SCHEDULE_AHEAD = 720 * 3600 * SECOND
#: A task is dropped this long after its creation, in microseconds.
RETENTION = 31 * 24 * 3600 * SECOND
#: Range and default of the dispatch deadline, in microseconds.
MIN_DEADLINE = 15 * SECOND
MAX_DEADLINE = 30 * 60 * SECOND
DEFAULT_DEADLINE = 600 * SECOND
#: What Cloud Tasks calls itself towards HTTP targets.
USER_AGENT = "Google-Cloud-Tasks"
#: The methods' names by their numbers in the API. Unset means POST.
METHODS: dict[int, str] = {
    0: "POST",
    **{
        getattr(tasks_v2.HttpMethod, name): name
        for name in ("POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
    },
}

_BASIC = tasks_v2.Task.View.BASIC
_FULL = tasks_v2.Task.View.FULL
_POST = tasks_v2.HttpMethod.POST
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_OUTPUT_ONLY = ("dispatch_count", "response_count", "first_attempt", "last_attempt")
_LAST_INSTANT = 253_402_300_799 * SECOND  # The end of the year 9999.
_PACIFIC = "America/Los_Angeles"

_TaskMessage = tasks_v2.Task.pb()


@dataclass(slots=True, eq=False)
class StoredTask:
    """A task as the engine keeps it."""

    message: Any  # The google.cloud.tasks.v2.Task, body included.
    queue: str  # The queue's path.
    due: int  # The message's schedule_time.
    ticket: int  # Tells this wait from earlier ones and from namesakes.
    executions: int = 0  # Answers other than 5xx.
    previous_response: int | None = None  # As the next attempt's header says.


def view(message: Any, response_view: int) -> Any:
    """
    Return a stored task as a caller may see it.

    Only a full view has the body. The stored message itself is returned where
    that makes no difference, so use the result before the engine runs again.
    """
    if response_view != _FULL and not message.http_request.body:
        return message
    shown = _TaskMessage()
    shown.CopyFrom(message)
    if response_view == _FULL:
        shown.view = _FULL
    else:
        shown.http_request.ClearField("body")
    return shown


def check(message: Any, now: int) -> None:
    """Raise ApiError if a new task, apart from its name, is not valid."""
    if message.HasField("app_engine_http_request"):
        raise unimplemented("Task.appEngineHttpRequest")
    _check_request(message.http_request)
    if message.HasField("dispatch_deadline"):
        deadline = instants.read(message.dispatch_deadline)
        if not MIN_DEADLINE <= deadline <= MAX_DEADLINE:
            raise invalid_argument("Task.dispatchDeadline must be between [15s, 30m].")
    schedule_time = instants.read(message.schedule_time)
    if schedule_time > now + MAX_SCHEDULE_AHEAD:
        raise invalid_argument(
            f"The Task.scheduleTime, {_pacific(schedule_time)}, is too far in the "
            "future. Schedule time must be no more than 720h in the future."
        )


def fill(message: Any, now: int) -> None:
    """Fill the defaults into a checked, named task; refuse one too large."""
    for field in _OUTPUT_ONLY:
        message.ClearField(field)
    instants.write(
        message.schedule_time, max(now, instants.read(message.schedule_time))
    )
    instants.write(message.create_time, now // SECOND * SECOND)
    if not message.HasField("dispatch_deadline"):
        instants.write(message.dispatch_deadline, DEFAULT_DEADLINE)
    request = message.http_request
    request.http_method = request.http_method or _POST
    for header in [name for name in request.headers if name.lower() == "user-agent"]:
        del request.headers[header]
    request.headers["User-Agent"] = USER_AGENT
    message.view = _BASIC
    if message.ByteSize() > MAX_TASK_SIZE:
        raise invalid_argument("Task size too large")


def _check_request(request: Any) -> None:
    # Only the first two messages are the service's own, the rest are ours.
    if not request.url:
        raise invalid_argument("HttpRequest.url is required.")
    if not request.url.lower().startswith(("http://", "https://")):
        raise invalid_argument(
            "HttpTarget.url must start with 'http://' or 'https://'."
        )
    if len(request.url) > MAX_URL_LENGTH:
        raise invalid_argument(
            f"HttpRequest.url must be at most {MAX_URL_LENGTH} characters long."
        )
    if sum(len(n) + len(v) for n, v in request.headers.items()) >= MAX_HEADERS_SIZE:
        raise invalid_argument("HttpRequest.headers must be less than 80KB.")
    method = METHODS.get(request.http_method)
    if method is None:
        raise invalid_argument("HttpRequest.httpMethod is not a known method.")
    if request.body and method not in _METHODS_WITH_BODY:
        raise invalid_argument(f"HttpRequest.body is not allowed with {method}.")


def _pacific(instant: int) -> str:
    moment = instants.to_datetime(min(instant, _LAST_INSTANT))
    try:
        return moment.astimezone(ZoneInfo(_PACIFIC)).isoformat()
    except ZoneInfoNotFoundError:  # A slim image without a time zone database.
        return moment.isoformat()
