"""
What the text of an option means.

Every function returns the value, or raises argparse.ArgumentTypeError with a
message for the user.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cloudtask.emulator.tasks.declarations import parse_queue
from cloudtask.emulator.tasks.limits import MAX_CONCURRENT_DISPATCHES

if TYPE_CHECKING:
    from collections.abc import Callable

HIGHEST_PORT = 65_535

_SWITCH = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def read_port(text: str) -> int:
    """Read a port, from 0 to 65535."""
    if not (text.isascii() and text.isdigit() and int(text) <= HIGHEST_PORT):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a port from 0 to {HIGHEST_PORT}."
        )
    return int(text)


def read_duration(text: str) -> timedelta:
    """Read a number of seconds that is not negative."""
    try:
        duration = timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        duration = timedelta(-1)
    if duration < timedelta(0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds.")
    return duration


def read_choice(*choices: str) -> Callable[[str], str]:
    """Return a function that reads one of some words."""

    def read(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not one of {', '.join(choices)}."
            )
        return text

    return read


def read_count(text: str) -> int:
    """Read a number of concurrent dispatches."""
    most = MAX_CONCURRENT_DISPATCHES
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}.")
    return int(text)


def read_queue(text: str) -> str:
    """Read the declaration of a queue, which stays a text."""
    try:
        parse_queue(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def read_switch(text: str) -> bool:
    """Read "on", "off" or another word for one of them."""
    if text.lower() not in _SWITCH:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither on nor off: {', '.join(_SWITCH)}."
        )
    return _SWITCH[text.lower()]


def read_url(text: str) -> str:
    """Read an http or https URL. Slashes at its end are dropped."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a URL such as http://127.0.0.1:8080."
        )
    return text.rstrip("/")


def read_address(text: str) -> str:
    """Read a URL whose scheme may be left out, as in HOST:PORT."""
    # Some emulators take HOST:PORT there, others a URL.
    return read_url(text if "://" in text else f"http://{text}")
