"""How large a task is as Cloud Tasks stores it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.exceptions import PayloadTooLarge
from cloudtask.wire.limits import DEFAULT_DEADLINE, MAX_HEADER_BYTES, MAX_STORED_BYTES

if TYPE_CHECKING:
    from datetime import timedelta

    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.retry import RetryPolicy


#: Bytes that everything but the body takes at the most: headers, of which
#: MAX_HEADER_BYTES are the task's own, URL, names, audience, e-mail, times.
_REST_BYTES = MAX_HEADER_BYTES + 32 * 1024

#: Longest id that Cloud Tasks gives an unnamed task.
_ASSIGNED_ID_BYTES = 20

#: Header that Cloud Tasks adds to the stored task.
_ADDED_HEADER = ("User-Agent", "Google-Cloud-Tasks")


def check_size(task: OutgoingTask) -> None:
    """
    Refuse a task that Cloud Tasks would not store.

    Raises:
        PayloadTooLarge: It is over MAX_STORED_BYTES.
    """
    if len(task.body) + _REST_BYTES < MAX_STORED_BYTES:
        return
    size = stored_size(task)
    if size > MAX_STORED_BYTES:
        raise PayloadTooLarge(task.path, size, MAX_STORED_BYTES)


def stored_size(task: OutgoingTask) -> int:
    """
    Bytes of the stored `google.cloud.tasks.v2.Task`, defaults filled in.

    What the service chooses, an id or the time "now", is counted at its
    longest.
    """
    name = len(task.name or f"{task.route.queue_path}/tasks/{'9' * _ASSIGNED_ID_BYTES}")
    fields = (
        _field(name),
        _field(_http_request_size(task)),
        _field(_SECONDS_BYTES + _NANOS_BYTES),  # schedule_time
        _field(_SECONDS_BYTES),  # create_time, whole seconds
        _duration(task.route.deadline or DEFAULT_DEADLINE),
        _field(_retry_size(task.route.retry)) if task.route.retry else 0,
    )
    return sum(fields)


def _http_request_size(task: OutgoingTask) -> int:
    size = _field(len(task.route.url.encode())) + _number(1) + _field(len(task.body))
    headers = (*task.route.headers.items(), *task.headers.items(), _ADDED_HEADER)
    for key, value in headers:
        size += _field(_field(len(key)) + _field(len(value)))
    if task.route.oidc is not None:
        email, audience = (
            task.route.oidc.email.encode(),
            task.route.oidc.audience.encode(),
        )
        size += _field(_field(len(email)) + _field(len(audience)))
    return size


def _retry_size(retry: RetryPolicy) -> int:
    durations = (retry.max_retry_duration, retry.min_backoff, retry.max_backoff)
    numbers = (retry.max_attempts, retry.max_doublings)
    return sum(_duration(d) for d in durations if d is not None) + sum(
        _number(n) for n in numbers if n is not None
    )


_SECONDS_BYTES = _NANOS_BYTES = 6


def _field(length: int) -> int:
    return 1 + _varint(length) + length


def _duration(value: timedelta) -> int:
    seconds = _number(value.days * 86_400 + value.seconds)
    return _field(seconds + _number(value.microseconds * 1000))


def _number(value: int) -> int:
    return 1 + _varint(value) if value else 0


def _varint(value: int) -> int:
    return 10 if value < 0 else (max(1, value.bit_length()) + 6) // 7
