"""When a failed task is tried again, and when no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from cloudtask.exceptions import InvalidTask
from cloudtask.wire.limits import (
    DEFAULT_MAX_BACKOFF,
    DEFAULT_MAX_DOUBLINGS,
    DEFAULT_MIN_BACKOFF,
    MAX_RETRY_NUMBER,
    UNLIMITED_ATTEMPTS,
)

_T = TypeVar("_T")

#: Doublings after which a wait is too long for a timedelta to hold.
_MAX_SHIFT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """
    Cloud Tasks' RetryConfig for one task. It fills in what is left out.

    The delay before retry k is `min_backoff * 2 ** (k - 1)`; after
    `max_doublings` it grows by the last step, and never above `max_backoff`.
    With both `max_attempts` and `max_retry_duration` set, Cloud Tasks stops
    only when both are reached.

    Raises:
        InvalidTask: A field is out of its range.
    """

    max_attempts: int | None = None  # The first one included; -1 is no limit.
    min_backoff: timedelta | None = None  # Delay before the first retry.
    max_backoff: timedelta | None = None  # No delay is longer.
    max_doublings: int | None = None  # How often the delay doubles.
    max_retry_duration: timedelta | None = None  # Since the first attempt.

    def __post_init__(self) -> None:
        _check_int("max_attempts", self.max_attempts, "at least 1, or -1")
        if self.max_attempts is not None and (
            self.max_attempts < UNLIMITED_ATTEMPTS or self.max_attempts == 0
        ):
            raise _make_error("max_attempts", self.max_attempts, "at least 1, or -1")
        _check_int("max_doublings", self.max_doublings, "zero or more")
        if self.max_doublings is not None and self.max_doublings < 0:
            raise _make_error("max_doublings", self.max_doublings, "zero or more")
        for field in ("min_backoff", "max_backoff", "max_retry_duration"):
            _check_duration(field, getattr(self, field))
        if (
            self.min_backoff is not None
            and self.max_backoff is not None
            and self.min_backoff > self.max_backoff
        ):
            raise _make_error("min_backoff", self.min_backoff, "at most max_backoff")

    @property
    def last_attempt(self) -> int | None:
        """
        The attempt after which no other follows.

        None where the queue decides, or the time does.
        """
        if self.max_retry_duration or self.max_attempts == UNLIMITED_ATTEMPTS:
            return None
        return self.max_attempts

    def lasts(self, time: timedelta) -> bool:
        """
        Whether a task that fails at once has an attempt left so much later.

        What is left out is as a new queue has it.
        """
        if self.last_attempt is None:
            return True
        left = time
        for retry in range(1, self.last_attempt):
            wait = self._compute_wait(retry)
            left -= wait
            if left <= timedelta(0) or not wait:
                break
        return left <= timedelta(0)

    def _compute_wait(self, retry: int) -> timedelta:
        doublings = _choose(self.max_doublings, DEFAULT_MAX_DOUBLINGS)
        shortest = _choose(self.min_backoff, DEFAULT_MIN_BACKOFF)
        longest = _choose(self.max_backoff, DEFAULT_MAX_BACKOFF)
        if retry - 1 <= doublings:
            return min(longest, shortest * (1 << min(retry - 1, _MAX_SHIFT)))
        grown = shortest * (1 << min(doublings, _MAX_SHIFT))
        return min(longest, grown * (retry - doublings))


def _choose(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _check_int(field: str, value: object, expected: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise _make_error(field, value, f"a whole number, {expected}")
    if value > MAX_RETRY_NUMBER:
        raise _make_error(field, value, f"at most {MAX_RETRY_NUMBER}")


def _check_duration(field: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, timedelta):
        raise _make_error(field, value, "a timedelta")
    if value < timedelta(0):
        raise _make_error(field, value, "zero or more")


def _make_error(field: str, value: object, expected: str) -> InvalidTask:
    return InvalidTask(f"RetryPolicy({field}={value!r}): must be {expected}.")


#: The policy of what is to run once. That alone does not say what is to
#: become of a task whose worker died.
ONE_ATTEMPT = RetryPolicy(max_attempts=1)
