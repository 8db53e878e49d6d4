"""A queue's configuration: what is valid, its defaults and its changes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from google.cloud import tasks_v2

from cloudtask.emulator.tasks.model.retries import RetryPolicy
from cloudtask.emulator.tasks.model.tasks import MAX_HEADERS_SIZE
from cloudtask.emulator.values import fields, header_rules, instants
from cloudtask.emulator.values.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: What the service fills in for RateLimits that are not set.
DEFAULT_DISPATCHES_PER_SECOND = 500.0
DEFAULT_CONCURRENT_DISPATCHES = 1000

RUNNING = tasks_v2.Queue.State.RUNNING
PAUSED = tasks_v2.Queue.State.PAUSED

# The service chooses the burst size. 100 at 500/s and 10 at 1/s were seen, the
# steps between them are unconfirmed.
_BURST_SIZES = ((500, 100), (50, 20), (1, 10), (0, 5))

# What UpdateQueue can change. The other fields are output only.
_CONFIGURABLE = (
    "app_engine_routing_override",
    "http_target",
    "rate_limits",
    "retry_config",
    "stackdriver_logging_config",
)
_OUTPUT_ONLY = ("name", "state", "purge_time")

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
# What a queue's token has to say beside the service account.
_TOKEN_FIELDS = {"oauth_token": "scope", "oidc_token": "audience"}

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


def fill(message: Any) -> None:
    """
    Check the message of a CreateQueue and fill in what the service fills in.

    Raises:
        ApiError: The configuration is not valid. The name is not looked at.
    """
    _complete(message)
    message.state = RUNNING
    message.ClearField("purge_time")


def updated(stored: Any, message: Any, paths: Sequence[str]) -> Any:
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
    result = copied(stored)
    for path in paths or _CONFIGURABLE:
        fields.replace(result, message, path)
    for name in _OUTPUT_ONLY:
        fields.replace(result, stored, name)
    named = {path.rpartition(".")[2] for path in paths}
    if "service_account_email" in named:
        _clear_token(result.http_target)
    _complete(result, cleared=named)
    return result


def copied(message: Any) -> Any:
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
    return RetryPolicy().overridden(message.retry_config)


def _clear_token(target: Any) -> None:
    """Remove a token whose account was cleared, as the gcloud CLI does it."""
    kind = target.WhichOneof("authorization_header")
    if kind is not None and not getattr(target, kind).service_account_email:
        target.ClearField(kind)


def _complete(message: Any, cleared: Collection[str] = ()) -> None:
    _fill_rate_limits(message.rate_limits)
    retry_policy(message).fill(message.retry_config)
    # The service writes the host of an application here; there is none.
    if message.HasField("app_engine_routing_override"):
        message.app_engine_routing_override.ClearField("host")
    _complete_http_target(message, cleared)
    if not 0 <= message.stackdriver_logging_config.sampling_ratio <= 1:
        raise invalid_argument(  # Unconfirmed wording.
            "StackdriverLoggingConfig.samplingRatio must be between [0.0, 1.0]."
        )


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
    if not value <= maximum:  # That NaN is not, either.
        raise invalid_argument(
            f"RateLimits.{field_name} must be less than or equal to {maximum}."
        )


def _complete_http_target(message: Any, cleared: Collection[str]) -> None:
    target = message.http_target
    if not target.uri_override.ListFields():
        target.ClearField("uri_override")
    if not target.ListFields():
        message.ClearField("http_target")
        return
    if target.HasField("uri_override"):
        _complete_uri_override(target.uri_override)
    _check_enum(target, "http_method", "HttpTarget.httpMethod")
    _check_header_overrides(target.header_overrides)
    _check_token(target, cleared)


# Nobody recorded how the service words the refusals below.
def _complete_uri_override(uri: Any) -> None:
    if uri.HasField("host") and _HOST.fullmatch(uri.host) is None:
        raise invalid_argument("UriOverride.host must be a host name without a port.")
    if not 0 <= uri.port <= 65535:
        raise invalid_argument("UriOverride.port must be between [0, 65535].")
    _check_enum(uri, "scheme", "UriOverride.scheme")
    if uri.HasField("scheme"):
        uri.scheme = uri.scheme or tasks_v2.UriOverride.Scheme.HTTPS
    _check_enum(uri, "uri_override_enforce_mode", "UriOverride.uriOverrideEnforceMode")
    uri.uri_override_enforce_mode = (
        uri.uri_override_enforce_mode
        or tasks_v2.UriOverride.UriOverrideEnforceMode.ALWAYS
    )


def _check_enum(message: Any, name: str, shown: str) -> None:
    # Proto3 takes any number.
    known = message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number
    if getattr(message, name) not in known:
        raise invalid_argument(f"{shown} is not a known value.")


def _check_header_overrides(overrides: Any) -> None:
    pairs = [(each.header.key, each.header.value) for each in overrides]
    if not all(key for key, _ in pairs):
        raise invalid_argument("HttpTarget.headerOverrides.header.key is required.")
    if sum(len((key + value).encode()) for key, value in pairs) >= MAX_HEADERS_SIZE:
        raise invalid_argument("HttpTarget.headerOverrides must be less than 80KB.")
    header_rules.check("HttpTarget.headerOverrides", pairs)


def _check_token(target: Any, cleared: Collection[str]) -> None:
    kind = target.WhichOneof("authorization_header")
    if kind is None:
        return
    token, needed = getattr(target, kind), _TOKEN_FIELDS[kind]
    # Unconfirmed: one that is cleared goes back to the default.
    is_told = bool(getattr(token, needed)) or needed in cleared
    if not (token.service_account_email and is_told):
        shown = target.DESCRIPTOR.fields_by_name[kind].json_name
        raise invalid_argument(
            f"HttpTarget.{shown} must have a serviceAccountEmail and its {needed}."
        )
