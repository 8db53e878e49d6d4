"""
What the admin routes are given: JSON bodies and query parameters.

Every function raises an ApiError that names the field, what is wrong with it
and what it may be.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from cloudtask.emulator.values.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aiohttp import web

_LARGEST = 1e12
_MAX_QUOTED = 100
_DIGITS = re.compile(r"[0-9]{1,18}")


async def read_json(
    request: web.Request, known: Collection[str] | None = None
) -> dict[str, Any]:
    """
    Return the JSON object of a request; no body counts as an empty one.

    Args:
        request: Where it is.
        known: Its keys; None if somebody else checks them.
    """
    text = await request.read()
    if not text.strip():
        return {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"The body is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise invalid_argument(
            'The body must be a JSON object, such as {"hours": 1}, '
            f"not {type(content).__name__}."
        )
    if known is not None:
        _refuse_unknown(content, known)
    return content


def read_query(request: web.Request, known: Collection[str]) -> Mapping[str, str]:
    """Return the parameters of a request's URL."""
    _refuse_unknown(request.query, known)
    return request.query


def require(given: Mapping[str, str], name: str) -> str:
    """Return a parameter that must be there."""
    if not given.get(name):
        raise invalid_argument(f"{name} is missing: add ?{name}= to the URL.")
    return given[name]


def read_whole_number(
    given: Mapping[str, str], name: str, default: int, *, least: int = 0, most: int
) -> int:
    """Return a parameter from `least` to `most`."""
    text = given.get(name)
    if text is None:
        return default
    if not (_DIGITS.fullmatch(text) and least <= int(text) <= most):
        raise invalid_argument(
            f"{name} is {text!r}; it must be a whole number from {least} to {most}."
        )
    return int(text)


def read_number(given: Mapping[str, Any], name: str, default: float) -> float:
    """Return a member that is a number, not below 0 and not absurdly large."""
    value = given.get(name, default)
    if type(value) not in (int, float) or not 0 <= value <= _LARGEST:
        raise invalid_argument(
            f"{name} is {_shorten(value)}; it must be a number from 0 to "
            f"{_LARGEST:.0e}."
        )
    return float(value)


def _refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise invalid_argument(
                f"{name!r} is not known here.{hint} "
                f"Known are: {', '.join(known) or 'none'}."
            )


def _shorten(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
