"""Jobs and attempts as the admin routes' JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from cloudtask.emulator.values import instants

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.emulator.scheduler.instrument import JobView
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt


def job_json(view: JobView, attempts: int) -> dict[str, Any]:
    """
    Return a job as in REST, with what becomes and became of it.

    Args:
        view: The job.
        attempts: How many of the newest are shown.
    """
    return {
        **json_format.MessageToDict(view.message),
        "next_slots": [instants.write_utc(slot) for slot in view.next_slots],
        "in_flight": view.in_flight,
        "attempts": [_attempt_json(each) for each in view.attempts[-attempts:]],
    }


def _attempt_json(attempt: JobAttempt) -> dict[str, Any]:
    return {
        "schedule_time": _moment_json(attempt.schedule_time),
        "forced": attempt.forced,
        "number": attempt.number,
        "url": attempt.url,
        "headers": attempt.headers,
        "status": attempt.status,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "dispatch_time": _moment_json(attempt.dispatch_time),
        "response_time": _moment_json(attempt.response_time),
        "retry_time": attempt.retry_time and _moment_json(attempt.retry_time),
    }


def _moment_json(moment: datetime) -> str:
    return instants.write_utc(instants.from_datetime(moment))
