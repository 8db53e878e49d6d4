"""What becomes of a task if every attempt from now on fails at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cloudtask.emulator.tasks.limits import RETENTION
from cloudtask.emulator.values import instants

if TYPE_CHECKING:
    from cloudtask.emulator.tasks.model.retries import RetryPolicy

#: How many of the next attempts a preview names.
MAX_SHOWN = 20

# How far it looks for the end. Enough for the defaults, and for the slowest
# backoff until the task expires.
_MAX_STEPS = 1000


@dataclass(frozen=True, slots=True)
class End:
    """The attempt after which a task is dropped."""

    attempt: int  # Its number, 1 is the first.
    time: int  # In microseconds.
    reason: Literal["attempts", "age"]  # What is used up.


@dataclass(frozen=True, slots=True)
class Preview:
    """The next attempts, as instants in microseconds."""

    attempts: list[int]  # At most MAX_SHOWN.
    end: End | None  # None: too far away to be found.


def preview(message: Any, policy: RetryPolicy, now: int) -> Preview:
    """
    Return when a task is tried again.

    An attempt that is under way is taken to fail now.

    Args:
        message: The stored google.cloud.tasks.v2.Task.
        policy: The task's, see RetryPolicy.override().
        now: When its queue goes on, at the earliest.
    """
    expires = instants.read(message.create_time) + RETENTION
    number = message.dispatch_count
    time = now
    shown: list[int] = []
    if not is_under_way(message):
        number += 1
        time = max(now, instants.read(message.schedule_time))
        shown.append(time)
    has_begun = message.HasField("first_attempt")
    began = instants.read(message.first_attempt.dispatch_time) if has_begun else time
    for _ in range(_MAX_STEPS):
        if policy.is_exhausted(number, time - began):
            return Preview(shown, End(number, time, "attempts"))
        following = time + policy.delay(number)
        if following >= expires:
            return Preview(shown, End(number, time, "age"))
        number, time = number + 1, following
        if len(shown) < MAX_SHOWN:
            shown.append(time)
    return Preview(shown, None)


def is_under_way(message: Any) -> bool:
    """Tell whether an attempt of a stored task has no outcome yet."""
    return message.HasField("last_attempt") and not message.last_attempt.HasField(
        "response_status"
    )
