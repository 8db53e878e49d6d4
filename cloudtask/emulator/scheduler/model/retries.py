"""When a failed attempt of a job is made again, and when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from cloudtask.emulator.scheduler import refusals
from cloudtask.emulator.scheduler.limits import MAX_RETRY_COUNT
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.fields import json_name
from cloudtask.emulator.values.instants import SECOND

#: How the delay grows after its doublings: by 2 seconds, as was recorded of
#: the service, or by the last doubling, as its documents say.
Growth = Literal["recorded", "documented"]

_RECORDED_STEP = 2 * SECOND
# No backoff that a Duration can hold is doubled more often than this before it
# is over any maximum; larger powers would only cost time.
_MOST_DOUBLINGS = 63


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A RetryConfig with every default filled in. Times in microseconds."""

    retry_count: int = 0
    max_retry_duration: int = 0  # From the first attempt; 0 is no limit.
    min_backoff: int = 5 * SECOND
    max_backoff: int = 3600 * SECOND
    max_doublings: int = 5

    @classmethod
    def read(cls, config: Any) -> Self:
        """Read a RetryConfig. What is 0 has its default."""
        given = {
            "max_retry_duration": instants.read(config.max_retry_duration),
            "min_backoff": instants.read(config.min_backoff_duration),
            "max_backoff": instants.read(config.max_backoff_duration),
            "max_doublings": config.max_doublings,
            "retry_count": config.retry_count,
        }
        return cls(**{name: value for name, value in given.items() if value})

    def fill(self, config: Any) -> None:
        """Write every value into a RetryConfig."""
        config.retry_count = self.retry_count
        config.max_doublings = self.max_doublings
        for duration, value in (
            (config.max_retry_duration, self.max_retry_duration),
            (config.min_backoff_duration, self.min_backoff),
            (config.max_backoff_duration, self.max_backoff),
        ):
            duration.SetInParent()
            instants.write(duration, value)

    def delay(self, attempts: int, growth: Growth) -> int:
        """
        Return how long to wait after the `attempts`-th attempt failed.

        The delay doubles `max_doublings` times, then grows steadily, and never
        exceeds `max_backoff`.
        """
        doublings = min(attempts - 1, self.max_doublings, _MOST_DOUBLINGS)
        doubled = self.min_backoff << doublings
        step = _RECORDED_STEP if growth == "recorded" else doubled
        steps = max(0, attempts - 1 - self.max_doublings)
        return min(self.max_backoff, doubled + steps * step)

    def allows(self, attempts: int, elapsed: int) -> bool:
        """
        Tell whether there is another attempt.

        If both limits are set, there is one until both are used up.

        Args:
            attempts: How many were made.
            elapsed: From the first one until the next, in microseconds.
        """
        # Without a duration, the count alone decides.
        is_in_time = elapsed <= self.max_retry_duration
        return attempts <= self.retry_count or is_in_time


def check(config: Any) -> None:
    """Raise ApiError unless a RetryConfig is valid."""
    if not 0 <= config.retry_count <= MAX_RETRY_COUNT:
        raise refusals.bad_retry_count()
    if config.max_retry_duration.nanos:
        raise refusals.fraction_of_retry_duration()
    for field in ("max_retry_duration", "min_backoff_duration", "max_backoff_duration"):
        if instants.read(getattr(config, field)) < 0:
            raise _refuse(config, field, "cannot be negative")
    if config.max_doublings < 0:
        raise _refuse(config, "max_doublings", "cannot be negative")
    policy = RetryPolicy.read(config)
    if policy.min_backoff > policy.max_backoff:
        raise _refuse(
            config,
            "min_backoff_duration",
            "must be less than or equal to RetryConfig.maxBackoffDuration",
        )


def _refuse(config: Any, field: str, rule: str) -> Exception:
    return refusals.bad_field(f"RetryConfig.{json_name(config, field)}", rule)
