"""One attempt of a job: its request, and what came of it, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cloudtask.cron import find_zone
from cloudtask.emulator.scheduler.limits import APP_ENGINE_USER_AGENT, USER_AGENT
from cloudtask.emulator.scheduler.model import targets
from cloudtask.emulator.values import codes, header_rules, instants, locations

if TYPE_CHECKING:
    from cloudtask.emulator.identity.credentials import Credential
    from cloudtask.emulator.scheduler.model.targets import TargetType
    from cloudtask.emulator.targets.messages import Answer

AttemptOutcome = Literal["done", "retry", "gave up"]

#: What a deadline that has passed looks like.
TIMEOUT_STATUS = 504

# The service writes its times by this clock, whatever the job's zone.
_ZONE = "America/Los_Angeles"
# What the service's own headers begin with.
_PREFIX = "x-cloudscheduler"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A request to send. Times in microseconds."""

    execution: int  # The store's number of it.
    job: str  # Full name.
    slot: int  # The time it is scheduled for.
    attempt: int  # 1 is the first.
    forced: bool  # By RunJob.
    target_type: TargetType
    url: str  # Only a path if there is no App Engine, a topic for Pub/Sub.
    method: str
    headers: dict[str, str] = field(repr=False)  # Without Authorization if ours.
    body: bytes = field(repr=False)
    credential: Credential | None
    deadline: int  # Longest time from dispatch to answer.
    dispatch_time: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the job made of an answer."""

    outcome: AttemptOutcome
    retry_at: int | None = None


def make_dispatch(
    message: Any,
    *,
    execution: int,
    slot: int,
    attempt: int,
    forced: bool,
    now: int,
    app_engine_url: str | None,
) -> Dispatch:
    """
    Make the request of an attempt.

    Args:
        message: The job's.
        execution: Its number.
        slot: The time it is scheduled for.
        attempt: 1 is the first.
        forced: Whether RunJob asked for it.
        now: When it is sent.
        app_engine_url: Where App Engine is, None if nowhere.
    """
    outline = targets.outline_request(message, app_engine_url)
    target_type = targets.type_of(message) or "HTTP"
    own = header_rules.keep_own(
        outline.headers, _PREFIX, has_token=outline.credential is not None
    )
    is_app_engine = target_type == "APP_ENGINE_HTTP"
    return Dispatch(
        execution=execution,
        job=message.name,
        slot=slot,
        attempt=attempt,
        forced=forced,
        target_type=target_type,
        url=outline.url,
        method=outline.method,
        headers={
            **_default_headers(own, outline.body),
            **own,
            "User-Agent": APP_ENGINE_USER_AGENT if is_app_engine else USER_AGENT,
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": locations.last_part(message.name),
            "X-CloudScheduler-ScheduleTime": write_slot(slot),
        },
        body=outline.body,
        credential=outline.credential,
        deadline=targets.read_deadline(message),
        dispatch_time=now,
    )


def write_slot(slot: int) -> str:
    """Write a scheduled time as the header has it: whole seconds if it is."""
    return instants.to_datetime(slot).astimezone(find_zone(_ZONE)).isoformat()


def read_status(answer: Answer) -> int | None:
    """Return the HTTP status that an attempt counts as, None without one."""
    return TIMEOUT_STATUS if answer.timed_out else answer.status


def read_code(answer: Answer) -> int:
    """Return the code of google.rpc that an attempt counts as."""
    status = read_status(answer)
    # Unconfirmed for targets that cannot be reached.
    return codes.read_http_status(503 if status is None else status)


def _default_headers(own: dict[str, str], body: bytes) -> dict[str, str]:
    """Return what is added where the job does not say otherwise."""
    defaults = {"Accept-Encoding": "gzip, deflate, br"}
    if body:
        defaults["Content-Type"] = "application/octet-stream"
    else:
        defaults["Content-Length"] = "0"
    given = {name.lower() for name in own}
    return {
        name: value for name, value in defaults.items() if name.lower() not in given
    }
