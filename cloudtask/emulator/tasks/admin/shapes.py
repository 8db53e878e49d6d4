"""The emulator's values as the admin routes' JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2
from google.protobuf import json_format

from cloudtask.emulator.tasks import names
from cloudtask.emulator.tasks.admin import decoding
from cloudtask.emulator.tasks.model import tasks
from cloudtask.emulator.values import instants, locations

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cloudtask.emulator.tasks.instrument import QueueView
    from cloudtask.emulator.tasks.model.previews import Preview
    from cloudtask.emulator.tasks.sending.journal import Attempt

_View = tasks_v2.Task.View


def queue_json(queue: QueueView) -> dict[str, Any]:
    """A queue with its figures, as JSON."""
    limits = queue.message.rate_limits
    return {
        "path": queue.path,
        "name": locations.last_part(queue.path),
        "state": tasks_v2.Queue.State(queue.message.state).name,
        "depth": queue.depth,
        "in_flight": queue.in_flight,
        "oldest": None if queue.oldest is None else instant_json(queue.oldest),
        "rate": {
            "max_dispatches_per_second": limits.max_dispatches_per_second,
            "effective": queue.effective_rate,
            "max_burst_size": limits.max_burst_size,
            "max_concurrent_dispatches": limits.max_concurrent_dispatches,
        },
        "dispatched_last_minute": queue.dispatched_last_minute,
        "retry_config": json_format.MessageToDict(queue.message.retry_config),
    }


def task_json(message: Any, preview: Preview, *, full: bool) -> dict[str, Any]:
    """
    Return a stored task, what its body holds and what becomes of it.

    Args:
        message: The google.cloud.tasks.v2.Task, body included.
        preview: Of the same task.
        full: With the body and all that it says; else with one line of it.
    """
    body = getattr(message, message.WhichOneof("message_type")).body
    decoded = (
        decoding.decode(body).to_dict()
        if full
        else {"size": len(body), "summary": decoding.summarize(body)}
    )
    shown = tasks.view(message, _View.FULL if full else _View.BASIC)
    return {
        **json_format.MessageToDict(shown),
        "decoded": decoded,
        "retries": _preview_json(preview),
    }


def attempts_json(numbered: Iterable[tuple[int, Attempt]]) -> list[dict[str, Any]]:
    """
    Return recorded attempts.

    Args:
        numbered: The attempts, each after its number among all of them.
    """
    return [
        {
            "serial": serial,
            "task": attempt.name,
            "queue": names.split_task_name(attempt.name)[0],
            "number": attempt.number,
            "url": attempt.url,
            "headers": attempt.headers,
            "status": attempt.status,
            "outcome": attempt.outcome,
            "error": attempt.error,
            "fault": attempt.fault,
            "response_body": attempt.response_body.decode(errors="replace"),
            "response_size": attempt.response_size,
            "dispatch_time": _moment_json(attempt.dispatch_time),
            "response_time": _moment_json(attempt.response_time),
            "retry_time": attempt.retry_time and _moment_json(attempt.retry_time),
        }
        for serial, attempt in numbered
    ]


def instant_json(instant: int) -> str:
    """Return an instant as RFC 3339 has it, in UTC."""
    return instants.write_utc(instant)


def _preview_json(preview: Preview) -> dict[str, Any]:
    end = preview.end
    return {
        "attempts": [instant_json(instant) for instant in preview.attempts],
        "end": None
        if end is None
        else {
            "attempt": end.attempt,
            "time": instant_json(end.time),
            "reason": end.reason,
        },
    }


def _moment_json(moment: datetime) -> str:
    return instants.write_utc(instants.from_datetime(moment))
