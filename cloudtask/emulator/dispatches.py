"""One attempt's request and answer, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from google.rpc import code_pb2

from cloudtask.emulator import instants, names
from cloudtask.emulator.instants import SECOND
from cloudtask.emulator.tasks import METHODS, USER_AGENT

if TYPE_CHECKING:
    from cloudtask.emulator.tasks import StoredTask

Outcome = Literal["done", "retry", "gave up"]

#: What a target's timeout looks like to the next attempt.
TIMEOUT_RESPONSE = 504
#: What a connection that failed looks like to the next attempt. Unconfirmed;
#: the service writes "HTTP status code 0" into such an attempt's status.
NO_RESPONSE = 0

# Headers of the task that give way to the service's own.
_REPLACED = frozenset({"host", "content-length", "user-agent"})
_REPLACED_PREFIXES = ("x-google-", "x-appengine-", "x-cloudtasks-")

# HTTP statuses as codes of google.rpc; anything else is UNKNOWN.
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """The token that a dispatch has to carry."""

    kind: Literal["oidc", "oauth"]
    email: str
    audience: str  # Of an OIDC token.


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A request to send. Times in microseconds."""

    task: str  # Full name.
    queue: str  # Path.
    ticket: int  # The task's, see StoredTask.
    attempt: int  # 1 is the first.
    url: str
    method: str
    headers: dict[str, str] = field(repr=False)  # Without Authorization if ours.
    body: bytes = field(repr=False)
    credential: Credential | None
    deadline: int  # Longest time from dispatch to answer.
    dispatch_time: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a dispatch."""

    status: int | None = None  # None: no answer came.
    timed_out: bool = False
    error: str | None = None  # Why no answer came.
    retry_at: int | None = None  # Earliest next attempt that the target asks for.

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status <= 299

    @property
    def is_execution(self) -> bool:
        """Whether this counts for X-CloudTasks-TaskExecutionCount."""
        return self.status is not None and not 500 <= self.status <= 599

    @property
    def response_code(self) -> int:
        """The HTTP status by which the service remembers this attempt."""
        if self.status is not None:
            return self.status
        return TIMEOUT_RESPONSE if self.timed_out else NO_RESPONSE


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the queue made of an answer."""

    outcome: Outcome
    retry_at: int | None = None  # The task's new schedule time.


def dispatch_of(task: StoredTask, now: int) -> Dispatch:
    """Return the request for a task whose dispatch_count includes it."""
    message = task.message
    request = message.http_request
    credential = _credential(request)
    return Dispatch(
        task=message.name,
        queue=task.queue,
        ticket=task.ticket,
        attempt=message.dispatch_count,
        url=request.url,
        method=METHODS[request.http_method],
        headers=_headers(task, drop_authorization=credential is not None),
        body=request.body,
        credential=credential,
        deadline=instants.read(message.dispatch_deadline),
        dispatch_time=now,
    )


def write_status(status: Any, response_code: int) -> None:
    """Set the google.rpc.Status of an attempt. The form is unconfirmed."""
    is_success = 200 <= response_code <= 299
    name = "OK" if is_success else _CODES.get(response_code, "UNKNOWN")
    status.code = getattr(code_pb2, name)
    status.message = f"{name}({status.code}): HTTP status code {response_code}"


def retry_after(value: str | None, now: int) -> int | None:
    """
    Return the instant that a Retry-After header names.

    Args:
        value: Seconds or an HTTP date. Anything else is ignored.
        now: When the answer came.
    """
    if value is None:
        return None
    try:
        if value.isascii() and value.isdigit():
            return now + int(value) * SECOND
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return instants.from_datetime(moment)


def _headers(task: StoredTask, *, drop_authorization: bool) -> dict[str, str]:
    message = task.message
    headers = {
        name: value
        for name, value in message.http_request.headers.items()
        if not _is_replaced(name.lower(), drop_authorization)
    }
    seconds, microseconds = divmod(task.due, SECOND)
    headers |= {
        "User-Agent": USER_AGENT,
        "X-CloudTasks-QueueName": names.last_part(task.queue),
        "X-CloudTasks-TaskName": names.last_part(message.name),
        "X-CloudTasks-TaskRetryCount": str(message.dispatch_count - 1),
        "X-CloudTasks-TaskExecutionCount": str(task.executions),
        "X-CloudTasks-TaskETA": f"{seconds}.{microseconds:06d}",
    }
    if task.previous_response is not None:
        headers["X-CloudTasks-TaskPreviousResponse"] = str(task.previous_response)
        # Present on every retry and, for HTTP targets, always empty.
        headers["X-CloudTasks-TaskRetryReason"] = ""
    return headers


def _is_replaced(name: str, drop_authorization: bool) -> bool:
    return (
        name in _REPLACED
        or name.startswith(_REPLACED_PREFIXES)
        or (drop_authorization and name == "authorization")
    )


def _credential(request: Any) -> Credential | None:
    match request.WhichOneof("authorization_header"):
        case "oidc_token":
            token = request.oidc_token
            audience = token.audience or request.url
            return Credential("oidc", token.service_account_email, audience)
        case "oauth_token":
            return Credential("oauth", request.oauth_token.service_account_email, "")
        case _:
            return None
