"""When a failed task is tried again, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import invalid_argument
from cloudtask.emulator.values.fields import json_name
from cloudtask.emulator.values.instants import SECOND

# No backoff that a Duration can hold is doubled more often than this before it
# is over any maximum; larger powers would only cost time.
_MOST_DOUBLINGS = 63


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A RetryConfig with every default filled in. Times in microseconds."""

    max_attempts: int = 100  # Counts the first attempt; -1 is unlimited.
    max_retry_duration: int = 0  # From the first attempt; 0 is unlimited.
    min_backoff: int = SECOND // 10
    max_backoff: int = 3600 * SECOND
    max_doublings: int = 16

    def override(self, config: Any) -> Self:
        """
        Return this policy with what a RetryConfig message sets.

        Numbers that are 0 count as not set, as proto3 cannot tell; durations
        that are present count even if they are zero.

        Raises:
            ApiError: The result is not valid.
        """
        changes: dict[str, int] = {
            field: getattr(config, field)
            for field in ("max_attempts", "max_doublings")
            if getattr(config, field)
        }
        for field in ("max_retry_duration", "min_backoff", "max_backoff"):
            if config.HasField(field):
                changes[field] = _read(config, field)
        policy = replace(self, **changes)
        policy._check()
        return policy

    def fill(self, config: Any) -> None:
        """Write every value into a RetryConfig message."""
        config.max_attempts = self.max_attempts
        config.max_doublings = self.max_doublings
        instants.write(config.min_backoff, self.min_backoff)
        instants.write(config.max_backoff, self.max_backoff)
        if self.max_retry_duration:
            instants.write(config.max_retry_duration, self.max_retry_duration)

    def delay(self, attempts: int) -> int:
        """
        Return how long to wait after the `attempts`-th attempt failed.

        The delay doubles `max_doublings` times, then grows by the last step,
        and never exceeds `max_backoff`.
        """
        doublings = min(attempts - 1, self.max_doublings, _MOST_DOUBLINGS)
        steps = max(1, attempts - self.max_doublings)
        return min(self.max_backoff, (self.min_backoff << doublings) * steps)

    def is_exhausted(self, attempts: int, elapsed: int) -> bool:
        """
        Tell whether a task that failed `attempts` times is given up.

        If both limits are set, both have to be reached.

        Args:
            attempts: How often the task was sent.
            elapsed: Microseconds since the first attempt.
        """
        if self.max_attempts < 0 and not self.max_retry_duration:
            return False
        return attempts >= self.max_attempts and elapsed >= self.max_retry_duration

    def _check(self) -> None:
        if self.max_attempts < -1:
            raise invalid_argument(
                "RetryConfig.maxAttempts must be greater or equal to -1."
            )
        if self.max_doublings < 0:
            raise invalid_argument("RetryConfig.maxDoublings cannot be negative.")
        if self.max_retry_duration < 0:  # Unconfirmed wording.
            raise invalid_argument("RetryConfig.maxRetryDuration cannot be negative.")
        if self.min_backoff < 0:
            raise invalid_argument("RetryConfig.minBackoff cannot be negative.")
        if self.min_backoff > self.max_backoff:
            raise invalid_argument(
                "RetryConfig.minBackoff must be less than or equal to "
                "RetryConfig.maxBackoff."
            )


def _read(config: Any, field: str) -> int:
    duration = getattr(config, field)
    try:
        duration.ToJsonString()  # The check of what a Duration may hold.
    except ValueError:
        name = json_name(config, field)
        raise invalid_argument(f"RetryConfig.{name} is not a valid Duration.") from None
    return instants.read(duration)
