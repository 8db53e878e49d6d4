"""Queues as a developer declares them: `emails:max_attempts=5`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict, cast

from cloudtask.emulator import names

if TYPE_CHECKING:
    from collections.abc import Callable


class QueueOptions(TypedDict, total=False):
    """What a queue can be given; the rest are Cloud Tasks' defaults."""

    max_attempts: int  # Counts the first attempt; -1 is unlimited.
    max_retry_duration: timedelta
    min_backoff: timedelta
    max_backoff: timedelta
    max_doublings: int
    max_dispatches_per_second: float
    max_concurrent_dispatches: int


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=float(text.removesuffix("s")))


_READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "max_attempts": (int, "a whole number"),
    "max_retry_duration": (_seconds, "seconds"),
    "min_backoff": (_seconds, "seconds"),
    "max_backoff": (_seconds, "seconds"),
    "max_doublings": (int, "a whole number"),
    "max_dispatches_per_second": (float, "a number"),
    "max_concurrent_dispatches": (int, "a whole number"),
}


def parse_queue(text: str) -> tuple[str, QueueOptions]:
    """
    Read `NAME` or `NAME:option=value,...`, durations in seconds.

    Returns:
        The queue's id and its options.

    Raises:
        ValueError: The text says what is wrong and what is right.
    """
    name, _, rest = text.partition(":")
    if not names.is_queue_id(name):
        raise ValueError(
            f"{name!r} is no queue name: 1 to 100 letters, digits and hyphens."
        )
    pairs = [pair.partition("=") for pair in rest.split(",")] if rest else []
    options = {key.strip(): _read(key.strip(), value) for key, _, value in pairs}
    return name, cast("QueueOptions", options)


def _read(key: str, value: str) -> object:
    if key not in _READERS:
        raise ValueError(
            f"{key!r} is no option of a queue. Options: {', '.join(_READERS)}."
        )
    reader, expected = _READERS[key]
    try:
        return reader(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{key} must be {expected}, not {value!r}.") from None
