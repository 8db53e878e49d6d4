"""A queue: its validated configuration and what waits for a free slot."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2

from cloudtask.emulator import instants
from cloudtask.emulator.errors import invalid_argument, unimplemented
from cloudtask.emulator.retries import RetryPolicy

if TYPE_CHECKING:
    from cloudtask.emulator.declarations import QueueOptions
    from cloudtask.emulator.tasks import StoredTask

#: What the service fills in for RateLimits that are not set.
DEFAULT_DISPATCHES_PER_SECOND = 500.0
DEFAULT_CONCURRENT_DISPATCHES = 1000

# The service chooses the burst size. 100 at 500/s and 10 at 1/s were seen, the
# steps between them are unconfirmed.
_BURST_SIZES = ((500, 100), (50, 20), (1, 10), (0, 5))


_QueueMessage = tasks_v2.Queue.pb()


@dataclass(slots=True, eq=False)
class StoredQueue:
    """A queue as the engine keeps it."""

    message: Any  # The google.cloud.tasks.v2.Queue, defaults filled in.
    retry: RetryPolicy  # The message's retry_config.
    ready: deque[StoredTask] = field(default_factory=deque)  # Due, not yet sent.
    in_flight: int = 0  # Dispatches that have no answer yet.

    @property
    def has_free_slot(self) -> bool:
        limit: int = self.message.rate_limits.max_concurrent_dispatches
        return self.in_flight < limit


def declared(path: str, options: QueueOptions) -> Any:
    """Return the google.cloud.tasks.v2.Queue that options describe."""
    message = _QueueMessage(name=path)
    for key, value in options.items():
        is_rate = key in message.rate_limits.DESCRIPTOR.fields_by_name
        part = message.rate_limits if is_rate else message.retry_config
        if isinstance(value, timedelta):
            instants.write(getattr(part, key), instants.from_timedelta(value))
        else:
            setattr(part, key, value)
    return message


def stored(message: Any) -> StoredQueue:
    """
    Return what to keep for a CreateQueue, filling `message` in place.

    Raises:
        ApiError: The rate limits or the retry configuration are not valid.
    """
    if message.HasField("http_target"):
        raise unimplemented("Queue.httpTarget")
    _fill_rate_limits(message.rate_limits)
    retry = RetryPolicy().overridden(message.retry_config)
    retry.fill(message.retry_config)
    message.state = tasks_v2.Queue.State.RUNNING
    message.ClearField("purge_time")
    return StoredQueue(message, retry)


def _fill_rate_limits(limits: Any) -> None:
    _check_rate("maxDispatchesPerSecond", limits.max_dispatches_per_second, 500)
    _check_rate("maxConcurrentDispatches", limits.max_concurrent_dispatches, 5000)
    limits.max_dispatches_per_second = (
        limits.max_dispatches_per_second or DEFAULT_DISPATCHES_PER_SECOND
    )
    limits.max_concurrent_dispatches = (
        limits.max_concurrent_dispatches or DEFAULT_CONCURRENT_DISPATCHES
    )
    limits.max_burst_size = next(
        size for rate, size in _BURST_SIZES if limits.max_dispatches_per_second >= rate
    )


def _check_rate(field_name: str, value: float, maximum: int) -> None:
    if value < 0:
        raise invalid_argument(f"RateLimits.{field_name} cannot be negative.")
    if value > maximum:
        raise invalid_argument(
            f"RateLimits.{field_name} must be less than or equal to {maximum}."
        )
