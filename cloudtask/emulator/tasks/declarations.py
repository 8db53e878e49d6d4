"""Queues as a developer declares them, such as `emails:max_attempts=5`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

from cloudtask.emulator.tasks import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.tasks.model.queues import QueueOptions


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=float(text.removesuffix("s")))


def _whole(text: str) -> int:
    number = int(text)
    if not -(2**31) <= number < 2**31:  # What the API's messages hold.
        raise OverflowError
    return number


# Short names of options, for a command line.
_ALIASES = {
    "rate": "max_dispatches_per_second",
    "concurrency": "max_concurrent_dispatches",
}

_READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "max_attempts": (_whole, "a whole number"),
    "max_retry_duration": (_seconds, "seconds"),
    "min_backoff": (_seconds, "seconds"),
    "max_backoff": (_seconds, "seconds"),
    "max_doublings": (_whole, "a whole number"),
    "max_dispatches_per_second": (float, "a number"),
    "max_concurrent_dispatches": (_whole, "a whole number"),
}


def parse_queue(text: str) -> tuple[str, QueueOptions]:
    """
    Read `NAME` or `NAME:option=value,...`, durations in seconds.

    `rate` and `concurrency` are short for the two limits of dispatches.

    Returns:
        The queue's id and its options.

    Raises:
        ValueError: The text says what is wrong and what is right.
    """
    name, _, rest = text.partition(":")
    if not names.is_queue_id(name):
        raise ValueError(
            f"{name!r} is not a queue name: 1 to 100 letters, digits and hyphens."
        )
    pairs = rest.split(",") if rest else []
    return name, cast("QueueOptions", dict(map(_read, pairs)))


def _read(pair: str) -> tuple[str, object]:
    written, _, value = pair.partition("=")
    key = written.strip()
    option = _ALIASES.get(key, key)
    if option not in _READERS:
        raise ValueError(
            f"{key!r} is not an option of a queue. "
            f"Options: {', '.join([*_READERS, *_ALIASES])}."
        )
    reader, expected = _READERS[option]
    try:
        return option, reader(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{key} must be {expected}, not {value!r}.") from None
