"""Headers of messages: what HTTP allows, and which are not theirs to set."""

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

# What a request is sent with in any case, and not as its message says.
_REPLACED = FRAMING | {"user-agent"}
_REPLACED_PREFIXES = ("x-google-", "x-appengine-")

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


def keep_own(
    headers: Mapping[str, str], prefix: str, *, has_token: bool
) -> dict[str, str]:
    """
    Return the headers of a message that do not give way to the service's own.

    Args:
        headers: The message's.
        prefix: What the service's own begin with, in lower case.
        has_token: Whether the service adds a token.
    """
    return {
        name: value
        for name, value in headers.items()
        if not _is_replaced(name.lower(), prefix, has_token)
    }


def _is_replaced(name: str, prefix: str, has_token: bool) -> bool:
    return (
        name in _REPLACED
        or name.startswith((*_REPLACED_PREFIXES, prefix))
        or (has_token and name == "authorization")
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
