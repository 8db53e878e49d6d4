"""One attempt's request and answer, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from cloudtask.emulator.tasks.app_engine import requests as app_engine
from cloudtask.emulator.tasks.app_engine.requests import is_app_engine
from cloudtask.emulator.tasks.limits import RETENTION, USER_AGENT
from cloudtask.emulator.tasks.queue_targets import overrides
from cloudtask.emulator.values import codes, header_rules, instants, locations, urls
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from cloudtask.emulator.identity.credentials import Credential
    from cloudtask.emulator.targets.messages import Answer
    from cloudtask.emulator.targets.requests import Outline
    from cloudtask.emulator.tasks.faults import Fault
    from cloudtask.emulator.tasks.model.tasks import StoredTask

AttemptOutcome = Literal["done", "retry", "gave up"]

#: What a target's timeout looks like to the next attempt.
TIMEOUT_RESPONSE = 504
#: What a connection that failed looks like to the next attempt, and a timeout
#: of App Engine. The former is unconfirmed; the service writes "HTTP status
#: code 0" into such an attempt's status.
NO_RESPONSE = 0

# What the service's own headers begin with.
_PREFIX = "x-cloudtasks-"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A request to send. Times in microseconds."""

    serial: int  # Tells this dispatch from all others.
    id: int  # The task's, see StoredTask.
    task: str  # Full name.
    queue: str  # Path.
    attempt: int  # 1 is the first.
    url: str  # Only a path if there is no App Engine to send it to.
    method: str
    headers: dict[str, str] = field(repr=False)  # Without Authorization if ours.
    body: bytes = field(repr=False)
    credential: Credential | None
    deadline: int  # Longest time from dispatch to answer.
    dispatch_time: int
    is_app_engine: bool = False
    forced: bool = False  # By RunTask.
    fault: Fault | None = None  # What is to go wrong with it.

    def is_throttled_by(self, answer: Answer) -> bool:
        """Whether the target has too much to do, so that the queue slows."""
        # An App Engine app that says so slows nothing.
        is_too_many = answer.status == 429 and not self.is_app_engine
        return is_too_many or answer.status == 503


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the queue made of an answer."""

    outcome: AttemptOutcome
    retry_at: int | None = None  # The task's new schedule time.


def start_attempt(
    task: StoredTask,
    http_target: Any | None,
    serial: int,
    now: int,
    *,
    forced: bool = False,
    app_engine_url: str | None = None,
    fault: Fault | None = None,
) -> Dispatch:
    """
    Count a dispatch in the task's message and return the request.

    Args:
        task: Its message is changed in place.
        http_target: The queue's HttpTarget, None if it has none.
        serial: A number that no other dispatch has.
        now: When it is sent.
        forced: Whether RunTask asked for it.
        app_engine_url: Where App Engine tasks are sent, None if nowhere.
        fault: What is to go wrong with it.
    """
    message = task.message
    message.dispatch_count += 1
    if message.dispatch_count == 1:
        instants.write(message.first_attempt.dispatch_time, now)
    message.ClearField("last_attempt")
    message.last_attempt.schedule_time.CopyFrom(message.schedule_time)
    instants.write(message.last_attempt.dispatch_time, now)
    outline = _outline(message, http_target, app_engine_url)
    return Dispatch(
        serial=serial,
        id=task.id,
        task=message.name,
        queue=task.queue,
        attempt=message.dispatch_count,
        url=urls.encode(outline.url),
        method=outline.method,
        headers=header_rules.keep_own(
            outline.headers, _PREFIX, has_token=outline.credential is not None
        )
        | _task_headers(task),
        body=outline.body,
        credential=outline.credential,
        deadline=instants.read(message.dispatch_deadline),
        dispatch_time=now,
        is_app_engine=is_app_engine(message),
        forced=forced,
        fault=fault,
    )


def record_answer(task: StoredTask, answer: Answer, now: int) -> None:
    """Take an answer into the task and its message."""
    message = task.message
    if answer.status is not None:
        message.response_count += 1
        instants.write(message.last_attempt.response_time, now)
    if is_app_engine(message):
        task.executions += answer.status is not None
        task.previous_response = answer.status or NO_RESPONSE
    else:
        task.executions += _is_execution(answer)
        task.previous_response = _response_code(answer)
    _write_status(message.last_attempt.response_status, _response_code(answer))


def read_retry_after(value: str | None, now: int) -> int | None:
    """
    Return the instant that a Retry-After header names.

    Args:
        value: Seconds or an HTTP date. Anything else is ignored, as is what no
            task can live to see.
        now: When the answer came.
    """
    if value is None:
        return None
    try:
        if value.isascii() and value.isdigit():
            instant = now + int(value) * SECOND
        else:
            moment = parsedate_to_datetime(value)
            # "-0000" says that nobody knows the zone.
            instant = instants.from_datetime(
                moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            )
    except (ValueError, OverflowError):
        return None
    return instant if instant <= now + RETENTION else None


def _is_execution(answer: Answer) -> bool:
    """Tell whether this counts for X-CloudTasks-TaskExecutionCount."""
    return answer.status is not None and not 500 <= answer.status <= 599


def _response_code(answer: Answer) -> int:
    """Return the HTTP status by which the service remembers an attempt."""
    if answer.status is not None:
        return answer.status
    return TIMEOUT_RESPONSE if answer.timed_out else NO_RESPONSE


def _write_status(status: Any, response_code: int) -> None:
    # The form is unconfirmed.
    status.code = codes.read_http_status(response_code)
    name = codes.name(status.code)
    status.message = f"{name}({status.code}): HTTP status code {response_code}"


def _outline(message: Any, http_target: Any | None, base_url: str | None) -> Outline:
    if is_app_engine(message):
        request = message.app_engine_http_request
        return app_engine.outline_request(request, base_url)
    return overrides.outline_request(message.http_request, http_target)


def _task_headers(task: StoredTask) -> dict[str, str]:
    """Return what the service tells a target about the task."""
    if is_app_engine(task.message):
        stored = task.message.app_engine_http_request.headers
        agent, prefix = stored["User-Agent"], "X-AppEngine"
        retry_headers = app_engine.retry_headers
    else:
        agent, prefix = USER_AGENT, "X-CloudTasks"
        retry_headers = _retry_headers
    headers = {"User-Agent": agent, **_counts(task, prefix)}
    if task.previous_response is None:
        return headers
    return headers | retry_headers(task.previous_response)


def _retry_headers(previous_response: int) -> dict[str, str]:
    return {
        "X-CloudTasks-TaskPreviousResponse": str(previous_response),
        # Present on every retry and, for HTTP targets, always empty.
        "X-CloudTasks-TaskRetryReason": "",
    }


def _counts(task: StoredTask, prefix: str) -> dict[str, str]:
    message = task.message
    schedule_time = instants.read(message.schedule_time)
    seconds, microseconds = divmod(schedule_time, SECOND)
    return {
        f"{prefix}-QueueName": locations.last_part(task.queue),
        f"{prefix}-TaskName": locations.last_part(message.name),
        f"{prefix}-TaskRetryCount": str(message.dispatch_count - 1),
        f"{prefix}-TaskExecutionCount": str(task.executions),
        f"{prefix}-TaskETA": f"{seconds}.{microseconds:06d}",
    }
