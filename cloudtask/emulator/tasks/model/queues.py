"""A queue's configuration: what is valid, its defaults and its changes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from google.cloud import tasks_v2

from cloudtask.emulator.tasks.limits import (
    BURST_SIZES,
    DEFAULT_CONCURRENT_DISPATCHES,
    DEFAULT_DISPATCHES_PER_SECOND,
    MAX_CONCURRENT_DISPATCHES,
    MAX_DISPATCHES_PER_SECOND,
)
from cloudtask.emulator.tasks.model.retries import RetryPolicy
from cloudtask.emulator.tasks.queue_targets import settings
from cloudtask.emulator.values import fields, instants
from cloudtask.emulator.values.errors import invalid_argument
from cloudtask.emulator.values.fields import json_name

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


RUNNING = tasks_v2.Queue.State.RUNNING
PAUSED = tasks_v2.Queue.State.PAUSED

# What UpdateQueue can change. The other fields are output only.
_CONFIGURABLE = (
    "app_engine_routing_override",
    "http_target",
    "rate_limits",
    "retry_config",
    "stackdriver_logging_config",
)
_OUTPUT_ONLY = ("name", "state", "purge_time")

_QueueMessage = tasks_v2.Queue.pb()


class QueueOptions(TypedDict, total=False):
    """What a queue can be given; the rest are Cloud Tasks' defaults."""

    max_attempts: int  # Counts the first attempt; -1 is unlimited.
    max_retry_duration: timedelta
    min_backoff: timedelta
    max_backoff: timedelta
    max_doublings: int
    max_dispatches_per_second: float
    max_concurrent_dispatches: int


def make_declared(path: str, options: QueueOptions) -> Any:
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


def fill(message: Any) -> None:
    """
    Check the message of a CreateQueue and fill in what the service fills in.

    Raises:
        ApiError: The configuration is not valid. The name is not checked.
    """
    _complete(message)
    message.state = RUNNING
    message.ClearField("purge_time")


def apply_update(stored: Any, message: Any, paths: Sequence[str]) -> Any:
    """
    Return the queue after an UpdateQueue.

    Args:
        stored: The queue so far, which stays as it is.
        message: Values for the fields that `paths` name. What it does not set
            goes back to the default.
        paths: None means all that can be changed. Output only ones are
            ignored.

    Raises:
        ApiError: The result is not valid, or there is no such field.
    """
    result = copy_message(stored)
    for path in paths or _CONFIGURABLE:
        fields.replace(result, message, path)
    for name in _OUTPUT_ONLY:
        fields.replace(result, stored, name)
    named = {path.rpartition(".")[2] for path in paths}
    if "service_account_email" in named:
        settings.clear_token(result.http_target)
    _complete(result, cleared=named)
    return result


def copy_message(message: Any) -> Any:
    """Return a copy of a queue's message."""
    copy = _QueueMessage()
    copy.CopyFrom(message)
    return copy


def retry_policy(message: Any) -> RetryPolicy:
    """
    Return how a queue's tasks are retried.

    Raises:
        ApiError: The retry configuration is not valid.
    """
    return RetryPolicy().override(message.retry_config)


def _complete(message: Any, cleared: Collection[str] = ()) -> None:
    _fill_rate_limits(message.rate_limits)
    retry_policy(message).fill(message.retry_config)
    # The service writes the host of an application here; there is none.
    if message.HasField("app_engine_routing_override"):
        message.app_engine_routing_override.ClearField("host")
    settings.complete(message, cleared)
    if not 0 <= message.stackdriver_logging_config.sampling_ratio <= 1:
        raise invalid_argument(  # Unconfirmed wording.
            "StackdriverLoggingConfig.samplingRatio must be between [0.0, 1.0]."
        )


def _fill_rate_limits(limits: Any) -> None:
    _check_rate(limits, "max_dispatches_per_second", MAX_DISPATCHES_PER_SECOND)
    _check_rate(limits, "max_concurrent_dispatches", MAX_CONCURRENT_DISPATCHES)
    limits.max_dispatches_per_second = (
        limits.max_dispatches_per_second or DEFAULT_DISPATCHES_PER_SECOND
    )
    limits.max_concurrent_dispatches = (
        limits.max_concurrent_dispatches or DEFAULT_CONCURRENT_DISPATCHES
    )
    limits.max_burst_size = next(
        size for rate, size in BURST_SIZES if limits.max_dispatches_per_second >= rate
    )


def _check_rate(limits: Any, name: str, maximum: int) -> None:
    value, shown = getattr(limits, name), json_name(limits, name)
    if value < 0:
        raise invalid_argument(f"RateLimits.{shown} cannot be negative.")
    if not value <= maximum:  # That NaN is not, either.
        raise invalid_argument(
            f"RateLimits.{shown} must be less than or equal to {maximum}."
        )
