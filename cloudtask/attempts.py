"""What one dispatch says of itself: the request that task code receives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)
_ETA = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,9}))?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,500}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CloudTaskRequest:
    """
    The first argument of every task.

    Executed in place there is no HTTP request: `request` is None, `headers`
    is empty, and the attempt is the first and the last.
    """

    id: str  # Payload's id; the same over all attempts.
    request: HttpRequest | None = None
    headers: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    task_name: str | None = None  # Task id at Cloud Tasks.
    queue: str | None = None  # Queue name, without its path.
    attempt: int = 1  # 1 is the first.
    eta: datetime | None = None  # When the attempt was due; aware, UTC.
    previous_response: int | None = None  # HTTP status of the attempt before.
    last_attempt: int | None = None  # None where the queue decides.
    deadline: timedelta | None = None  # Time for this attempt.
    started: float = field(default_factory=monotonic, repr=False)

    @property
    def is_last_attempt(self) -> bool:
        """
        Whether no attempt follows when this one fails.

        Only the task's own policy is known here: with the queue's, this
        stays False.
        """
        return self.last_attempt is not None and self.attempt >= self.last_attempt

    def remaining(self) -> timedelta | None:
        """
        Time until Cloud Tasks gives this attempt up, never negative.

        None where nothing waits for the task.
        """
        if self.deadline is None:
            return None
        spent = timedelta(seconds=monotonic() - self.started)
        return max(timedelta(0), self.deadline - spent)


def attempt_number(meta: Mapping[str, str]) -> int:
    """The attempt, 1-based, from a WSGI environment."""
    return _count(meta.get("HTTP_X_CLOUDTASKS_TASKRETRYCOUNT")) + 1


def task_name(meta: Mapping[str, str]) -> str | None:
    return _match(_NAME, meta.get("HTTP_X_CLOUDTASKS_TASKNAME"))


def queue_name(meta: Mapping[str, str]) -> str | None:
    return _match(_NAME, meta.get("HTTP_X_CLOUDTASKS_QUEUENAME"))


def previous_response(meta: Mapping[str, str]) -> int | None:
    status = _match(_STATUS, meta.get("HTTP_X_CLOUDTASKS_TASKPREVIOUSRESPONSE"))
    return int(status) if status else None


def eta(meta: Mapping[str, str]) -> datetime | None:
    match = _ETA.fullmatch(meta.get("HTTP_X_CLOUDTASKS_TASKETA", ""))
    if match is None:
        return None
    microseconds = int((match[2] or "0").ljust(6, "0")[:6])
    since_epoch = timedelta(seconds=int(match[1]), microseconds=microseconds)
    return datetime(1970, 1, 1, tzinfo=UTC) + since_epoch


def _count(text: str | None) -> int:
    # Whatever else a header may hold, int() would take too much of it.
    return int(text) if text is not None and _COUNT.fullmatch(text) else 0


def _match(pattern: re.Pattern[str], text: str | None) -> str | None:
    return text if text is not None and pattern.fullmatch(text) else None
