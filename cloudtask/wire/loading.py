"""JSON text to Python values: what dumping.py writes, and nothing else."""

from __future__ import annotations

import math
from base64 import b64decode
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from cloudtask.exceptions import DecodeError
from cloudtask.wire.strict_json import (
    MAX_DEPTH,
    TYPE,
    ZONE_KEY,
    is_crowded,
    load_json,
    make_dict,
    text_problem,
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: Types of JSON values that need no look, but for strings with escapes.
_PLAIN: frozenset[type] = frozenset({bool, int, type(None)})
_PLAIN_AND_TEXT = _PLAIN | {str}


def load(body: bytes) -> object:
    """
    Read JSON with tagged values.

    Raises:
        Exception: Whatever the body makes the parsers raise.
    """
    # An escape is the only way to a NUL or half a surrogate pair.
    plain = _PLAIN if b"\\u" in body else _PLAIN_AND_TEXT
    return _unpack(load_json(body), 1, plain)


def _unpack(value: Any, depth: int, plain: frozenset[type]) -> Any:
    kind = type(value)
    if kind in plain:
        return value
    if kind is str:
        return _unpack_str(value)
    if kind is float:
        return _unpack_float(value)
    if depth > MAX_DEPTH:
        raise DecodeError(f"The body nests deeper than {MAX_DEPTH} levels.")
    depth += 1
    # Plain items are told here: a call for each would take most of the time.
    if kind is list:
        return [
            item if type(item) in plain else _unpack(item, depth, plain)
            for item in value
        ]
    members = {
        key if str in plain else _unpack_str(key): (
            item if type(item) in plain else _unpack(item, depth, plain)
        )
        for key, item in value.items()
    }
    return _revive(members) if TYPE in members else members


def _unpack_str(value: str) -> str:
    problem = text_problem(value)
    if problem:
        raise DecodeError(f"A string {problem}.")
    return value


def _unpack_float(value: float) -> float:
    if not math.isfinite(value):
        raise DecodeError("A number is out of range.")
    return value


def _revive(members: dict[str, Any]) -> Any:
    revive = _REVIVERS.get(members.pop(TYPE))
    if revive is None:
        raise DecodeError("A value has an unknown type.")
    return revive(**members)


def _revive_dict(value: Any) -> dict[str, Any]:
    pairs = [_expect(list, pair) for pair in _expect(list, value)]
    return make_dict([(_expect(str, key), item) for key, item in pairs])


def _revive_set(value: Any) -> set[Any]:
    items = _expect(list, value)
    if is_crowded(items):
        raise DecodeError("Too many values of a set have the same hash.")
    return set(items)


def _revive_datetime(value: str, zone: str | None = None, fold: int = 0) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.replace(fold=fold, tzinfo=_find_zone(zone, moment.tzinfo))


def _revive_time(value: str, zone: str | None = None, fold: int = 0) -> time:
    moment = time.fromisoformat(value)
    return moment.replace(fold=fold, tzinfo=_find_zone(zone, moment.tzinfo))


def _find_zone(key: str | None, written: tzinfo | None) -> tzinfo | None:
    if key is None:
        return written
    if ZONE_KEY.fullmatch(key) is None:
        raise DecodeError("A value has an unknown time zone.")
    return ZoneInfo(key)


def _revive_decimal(value: Any) -> Decimal:
    number = Decimal(_expect(str, value))
    if not number.is_finite():
        raise DecodeError("A Decimal is not finite.")
    return number


def _revive_timedelta(value: Any) -> timedelta:
    days, seconds, microseconds = (
        _expect(int, number) for number in _expect(list, value)
    )
    return timedelta(days, seconds, microseconds)


_REVIVERS: dict[object, Callable[..., Any]] = {
    "tuple": lambda value: tuple(_expect(list, value)),
    "set": _revive_set,
    "dict": _revive_dict,
    "datetime": _revive_datetime,
    "date": lambda value: date.fromisoformat(value),
    "time": _revive_time,
    "timedelta": _revive_timedelta,
    "Decimal": _revive_decimal,
    "UUID": lambda value: UUID(value),
    "bytes": lambda value: b64decode(_expect(str, value), validate=True),
}


def _expect(kind: type, value: Any) -> Any:
    # What was revived already, or JSON's own, can be of another type.
    if type(value) is not kind:
        raise DecodeError(f"A tagged value must be of type {kind.__name__}.")
    return value
