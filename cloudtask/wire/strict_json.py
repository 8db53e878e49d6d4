"""Which JSON is read and written here: less than Python's parser would."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from cloudtask.exceptions import DecodeError

if TYPE_CHECKING:
    from collections.abc import Collection

#: Levels of lists and objects that a payload may nest, the outermost included.
MAX_DEPTH = 64
#: Values of one set that may have the same hash.
MAX_SAME_HASH = 100

#: Keys of an object that stands for a value which JSON lacks.
TYPE, VALUE = "__type__", "value"
#: Names of time zones. Without dots: zoneinfo may look one up as a package.
ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def load_json(body: bytes) -> object:
    """
    Read JSON strictly: UTF-8, no key twice, no NaN and no Infinity.

    Raises:
        ValueError, DecodeError, RecursionError: It is not such JSON.
    """
    return json.loads(
        body.decode("utf-8"),
        object_pairs_hook=make_dict,
        parse_constant=_refuse_constant,
    )


def make_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """
    Make a dictionary of pairs whose keys differ.

    Raises:
        DecodeError: A key comes twice.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DecodeError("An object has the same key twice.")
    return members


def is_crowded(values: Collection[object]) -> bool:
    """
    Whether too many values have the same hash for a set to be made of them.

    A set compares each with all others of its hash. Nobody foresees the hash
    of a string; numbers, UUIDs and tuples can be chosen to have any.

    Raises:
        TypeError: One of them cannot be in a set.
    """
    if len(values) <= MAX_SAME_HASH:
        return False
    return max(Counter(map(hash, values)).values()) > MAX_SAME_HASH


def _refuse_constant(name: str) -> object:
    raise DecodeError(f"{name} is not JSON.")


def text_problem(text: str) -> str | None:
    """Why a string can be neither sent nor stored, or None."""
    if "\0" in text:
        return "has a NUL character"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half a surrogate pair"
    return None
