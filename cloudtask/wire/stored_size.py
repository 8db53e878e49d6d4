"""How large a task is as Cloud Tasks stores it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.exceptions import PayloadTooLarge
from cloudtask.wire.headers import MAX_HEADER_BYTES
from cloudtask.wire.limits import (
    ADDED_HEADER,
    DEFAULT_DEADLINE,
    MAX_ASSIGNED_ID_LENGTH,
    MAX_STORED_BYTES,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from cloudtask.wire.outgoing import OidcToken, OutgoingTask
    from cloudtask.wire.retry import RetryPolicy

#: Bytes that everything but the body takes at the most: headers, of which
#: MAX_HEADER_BYTES are the definition's own, URL, names, audience, e-mail,
#: times.
_REST_BYTES = MAX_HEADER_BYTES + 32 * 1024

#: Bytes of a time's parts, at their longest.
_SECONDS_BYTES = _NANOS_BYTES = 6

#: Bytes by which a task grows at the most when it is sent once more: a header
#: that counts armings, and an id of the task's own in its name.
SPARE_BYTES = 128


def check_size(task: OutgoingTask, spare: int = 0) -> None:
    """
    Refuse a task that Cloud Tasks would not store.

    Args:
        task: What is to be enqueued.
        spare: Bytes by which it may grow.

    Raises:
        PayloadTooLarge: It is over MAX_STORED_BYTES.
    """
    if len(task.body) + _REST_BYTES < MAX_STORED_BYTES:
        return
    size = count_stored_bytes(task) + spare
    if size > MAX_STORED_BYTES:
        raise PayloadTooLarge(task.path, size, MAX_STORED_BYTES)


def count_stored_bytes(task: OutgoingTask) -> int:
    """
    Count the bytes of the stored `google.cloud.tasks.v2.Task`.

    Defaults are filled in. What the service chooses, an id or the time "now",
    is counted at its longest.
    """
    fields = (
        _count_field(_count_name(task)),
        _count_field(_count_http_request(task)),
        _count_field(_SECONDS_BYTES + _NANOS_BYTES),  # schedule_time
        _count_field(_SECONDS_BYTES),  # create_time, whole seconds
        _count_duration(task.route.deadline or DEFAULT_DEADLINE),
        _count_field(_count_retry(task.route.retry)) if task.route.retry else 0,
    )
    return sum(fields)


def count_header_bytes(name: str, value: str) -> int:
    """Count the bytes of one header in the stored task. It is ASCII."""
    return _count_field(_count_field(len(name)) + _count_field(len(value)))


def _count_name(task: OutgoingTask) -> int:
    if task.name is not None:
        return len(task.name)
    return len(f"{task.route.queue_path}/tasks/") + MAX_ASSIGNED_ID_LENGTH


def _count_http_request(task: OutgoingTask) -> int:
    route = task.route
    headers = (*route.headers.items(), *task.headers.items(), ADDED_HEADER)
    fields = (
        _count_field(len(route.url.encode())),
        _count_number(1),  # http_method: POST
        _count_field(len(task.body)),
        *(count_header_bytes(name, value) for name, value in headers),
        _count_field(_count_oidc(route.oidc)) if route.oidc else 0,
    )
    return sum(fields)


def _count_oidc(token: OidcToken) -> int:
    return _count_field(len(token.email.encode())) + _count_field(
        len(token.audience.encode())
    )


def _count_retry(retry: RetryPolicy) -> int:
    durations = (retry.max_retry_duration, retry.min_backoff, retry.max_backoff)
    numbers = (retry.max_attempts, retry.max_doublings)
    return sum(_count_duration(d) for d in durations if d is not None) + sum(
        _count_number(n) for n in numbers if n is not None
    )


# Protobuf's fields, each with one byte of tag. A number that is 0 is left out.


def _count_field(length: int) -> int:
    return 1 + _count_varint(length) + length


def _count_duration(value: timedelta) -> int:
    seconds = _count_number(value.days * 86_400 + value.seconds)
    return _count_field(seconds + _count_number(value.microseconds * 1000))


def _count_number(value: int) -> int:
    return 1 + _count_varint(value) if value else 0


def _count_varint(value: int) -> int:
    return 10 if value < 0 else (max(1, value.bit_length()) + 6) // 7
