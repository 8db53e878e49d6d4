"""Targets' URLs: taken apart, put together, and fit for a request."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

# RFC 3986, appendix B, with the authority taken apart. Any text matches.
_URL = re.compile(
    r"(?:(?P<scheme>[^:/?#]+)://)?"
    r"(?P<userinfo>[^/?#]*@)?(?P<host>\[[^/?#\]]*\]|[^/?#:]*)(?P<port>:[^/?#]*)?"
    r"(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?",
    re.DOTALL,
)
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_UNPRINTABLE = re.compile("[^!-~]")


class Url(NamedTuple):
    """The parts of a URL; the fragment, which is never sent, is left out."""

    scheme: str
    userinfo: str  # With its "@".
    host: str
    port: str  # With its ":".
    path: str
    query: str  # With its "?".

    def __str__(self) -> str:
        scheme, *rest = self
        return f"{scheme}://{''.join(rest)}"


def split(url: str) -> Url:
    """Take any text apart; what is not there is ""."""
    match = _URL.fullmatch(url)
    assert match is not None  # noqa: S101 - see above
    return Url(**match.groupdict(default=""))


def encode(url: str) -> str:
    """
    Return a URL whose path and query can stand in a request.

    Escapes stay as they are, even bad ones.
    """
    if _UNPRINTABLE.search(url) is None:
        return url
    parts = split(url)
    return str(
        parts._replace(
            path=quote(parts.path, safe=_PRINTABLE),
            query=quote(parts.query, safe=_PRINTABLE),
        )
    )
