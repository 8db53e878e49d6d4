"""Headers of tasks: what HTTP allows, and which are not the task's to set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloudtask.emulator.values.errors import invalid_argument, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Headers about one connection or the framing of one message, in lower case.
#: Whoever sends a request sets them.
FRAMING = frozenset(
    {
        *("connection", "content-length", "expect", "host", "http2-settings"),
        *("keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)

# What lets somebody in, or says for whom: the caller's at the API.
_CREDENTIALS = frozenset(
    {
        *("authorization", "cookie", "proxy-authorization"),
        "x-serverless-authorization",
    }
)
_API_PREFIX = "x-goog-"
# The body of a request arrives decoded.
_DECODED = frozenset({"content-encoding"})

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check(field: str, headers: Iterable[tuple[str, str]]) -> None:
    """
    Raise ApiError unless HTTP can express these headers.

    Args:
        field: What holds them, for the message. Values are not quoted there.
        headers: Names and values.
    """
    # Nobody recorded how the service words these.
    for name, value in headers:
        if _NAME.fullmatch(name) is None:
            raise invalid_argument(
                f"{field} has {quote(name)}, which is not a header name."
            )
        if _FORBIDDEN_IN_VALUE.search(value):
            raise invalid_argument(
                f"{field} has a value with control characters for {quote(name)}."
            )


def forwardable_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what a task takes over from the call that brought it."""
    about_connection = {
        name.strip()
        for header, value in headers.items()
        if header.lower() == "connection"
        for name in value.lower().split(",")
    }
    dropped = FRAMING | _CREDENTIALS | _DECODED | about_connection
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in dropped and not name.lower().startswith(_API_PREFIX)
    }
