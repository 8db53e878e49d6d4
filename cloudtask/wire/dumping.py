"""
Python values to JSON text, in one pass.

Values that JSON lacks become objects with one reserved key:
`{"__type__": "date", "value": "2026-01-31"}`.
"""

from __future__ import annotations

import math
from base64 import b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from cloudtask.wire.strict_json import (
    MAX_DEPTH,
    MAX_SAME_HASH,
    TYPE,
    VALUE,
    ZONE_KEY,
    is_crowded,
    text_problem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Unwritable(Exception):
    """A value that no payload carries. Containers add where it stands."""

    def __init__(self, problem: str) -> None:
        self.where = ""
        self.problem = problem
        super().__init__(problem)

    def __str__(self) -> str:
        where = self.where if len(self.where) <= 80 else f"{self.where[:80]}..."
        return f"{where} {self.problem}"


def dump(value: Any, depth: int = 0) -> str:
    """
    Write a value.

    Args:
        value: What to write.
        depth: How many lists and objects it stands in.

    Raises:
        Unwritable: It, or something in it, cannot be carried.
    """
    write = _WRITERS.get(type(value)) or _find_inherited_writer(value)
    try:
        return write(value, depth)
    except Unwritable:
        raise
    except Exception as error:
        # A method of the value's own type, of its time zone perhaps.
        kind, name = type(value).__qualname__, type(error).__qualname__
        raise Unwritable(f"is a {kind} that cannot be written: {name}.") from None


def _find_inherited_writer(value: Any) -> Callable[[Any, int], str]:
    # By its type: isinstance() would evaluate a lazy object.
    for kind in type(value).__mro__:
        if kind in _INHERITED:
            return _WRITERS[kind]
    raise Unwritable(
        f"is a {type(value).__qualname__}, which no payload carries. "
        "Pass its primary key, or one of: None, bool, int, float, str, list, "
        "dict, tuple, set, datetime, date, time, timedelta, Decimal, UUID, bytes."
    )


def _dump_items(items: Iterable[Any], depth: int) -> list[str]:
    texts: list[str] = []
    try:
        for item in items:
            texts.append(dump(item, depth))
    except Unwritable as error:
        error.where = f"[{len(texts)}]{error.where}"
        raise
    return texts


def _dump_members(
    members: Mapping[Any, Any], depth: int, joint: str = ":"
) -> list[str]:
    texts = []
    for key, item in members.items():
        # Names of arguments are written as they are.
        is_name = type(key) is str and key.isidentifier()
        quoted = f'"{key}"' if is_name else _dump_key(key)
        try:
            texts.append(f"{quoted}{joint}{dump(item, depth)}")
        except Unwritable as error:
            error.where = f"[{key!r}]{error.where}"
            raise
    return texts


def _dump_none(value: None, depth: int) -> str:
    return "null"


def _dump_bool(value: bool, depth: int) -> str:
    return "true" if value else "false"


def _dump_int(value: int, depth: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:
        raise Unwritable(
            "is an int of more digits than Python writes. Pass it in hex."
        ) from None


def _dump_float(value: float, depth: int) -> str:
    if not math.isfinite(value):
        raise Unwritable(f"is {value!r}, which JSON cannot say.")
    return float.__repr__(value)


def _dump_str(value: str, depth: int) -> str:
    problem = text_problem(value)
    if problem:
        raise Unwritable(f"{problem}.")
    return encode_basestring(value)


def _dump_list(value: list[Any], depth: int) -> str:
    return f"[{','.join(_dump_items(value, _nest(depth)))}]"


def _dump_dict(value: dict[Any, Any], depth: int) -> str:
    if TYPE not in value:
        return f"{{{','.join(_dump_members(value, _nest(depth)))}}}"
    # Written as pairs, so that it is not mistaken for a tagged value.
    pairs = _dump_members(value, _nest(_nest(_nest(depth))), ",")
    return _tag("dict", f"[{','.join([f'[{pair}]' for pair in pairs])}]")


def _dump_tuple(value: tuple[Any, ...], depth: int) -> str:
    return _tag("tuple", _dump_list(list(value), _nest(depth)))


def _dump_set(value: set[Any], depth: int) -> str:
    items = _dump_items(value, _nest(_nest(depth)))
    if is_crowded(value):
        raise Unwritable(
            f"is a set in which more than {MAX_SAME_HASH} values have the same hash. "
            "Pass a list."
        )
    # Sorted, so that equal sets make equal payloads.
    return _tag("set", f"[{','.join(sorted(items))}]")


def _dump_date(value: date, depth: int) -> str:
    _nest(depth)
    return _tag("date", f'"{date.isoformat(value)}"')


def _dump_datetime(value: datetime, depth: int) -> str:
    return _dump_moment("datetime", datetime.isoformat, value, depth)


def _dump_time(value: time, depth: int) -> str:
    return _dump_moment("time", time.isoformat, value, depth)


def _dump_moment(
    name: str, write: Callable[[Any], str], value: datetime | time, depth: int
) -> str:
    """`{"value": "2026-01-31T12:00:00", "zone": "Europe/Berlin"}`."""
    _nest(depth)
    more = ""
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and ZONE_KEY.fullmatch(zone.key or ""):
        more = f',"zone":"{zone.key}"'
        value = value.replace(tzinfo=None)
    elif zone is not None and value.utcoffset() is None:
        raise Unwritable("has a time zone without an offset.")
    if value.fold:
        more += ',"fold":1'
    return _tag(name, f'"{write(value)}"', more)


def _dump_timedelta(value: timedelta, depth: int) -> str:
    _nest(_nest(depth))
    return _tag("timedelta", f"[{value.days},{value.seconds},{value.microseconds}]")


def _dump_decimal(value: Decimal, depth: int) -> str:
    if not value.is_finite():
        raise Unwritable(f"is {value!r}, which no payload carries.")
    _nest(depth)
    return _tag("Decimal", f'"{Decimal(value)}"')


def _dump_uuid(value: UUID, depth: int) -> str:
    _nest(depth)
    return _tag("UUID", f'"{value}"')


def _dump_bytes(value: bytes, depth: int) -> str:
    _nest(depth)
    return _tag("bytes", f'"{b64encode(value).decode()}"')


def _tag(name: str, text: str, more: str = "") -> str:
    return f'{{"{TYPE}":"{name}","{VALUE}":{text}{more}}}'


def _dump_key(key: object) -> str:
    if type(key) is not str:
        raise Unwritable(
            f"has the key {key!r}; JSON's keys are strings. Pass a list of pairs."
        )
    problem = text_problem(key)
    if problem:
        raise Unwritable(f"has a key that {problem}.")
    return encode_basestring(key)


def _nest(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise Unwritable(f"nests deeper than {MAX_DEPTH} levels.")
    return depth + 1


_WRITERS: dict[type, Callable[[Any, int], str]] = {
    type(None): _dump_none,
    bool: _dump_bool,
    int: _dump_int,
    float: _dump_float,
    str: _dump_str,
    list: _dump_list,
    dict: _dump_dict,
    tuple: _dump_tuple,
    set: _dump_set,
    datetime: _dump_datetime,
    date: _dump_date,
    time: _dump_time,
    timedelta: _dump_timedelta,
    Decimal: _dump_decimal,
    UUID: _dump_uuid,
    bytes: _dump_bytes,
}

#: Types of which a derived one is written, too: a member of a TextChoices, or
#: a safe string, arrives as the equal plain value. Containers are not among
#: them: a named tuple would lose its names.
_INHERITED = frozenset(
    {str, int, float, datetime, date, time, timedelta, Decimal, UUID}
)
