"""
The wire format, version 1: what a task carries to its dispatch.

    {"v": 1, "id": "<uuid hex>", "task": "shop.tasks.add",
     "kind": "cloudtask", "args": [1], "kwargs": {"b": 2},
     "enqueued_at": "2026-01-31T12:00:00.000000+00:00"}

JSON in UTF-8. Values that JSON lacks are objects with one reserved key:
`{"__type__": "date", "value": "2026-01-31"}`.
"""

from __future__ import annotations

import json
import math
import os
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from cloudtask.exceptions import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

VERSION = 1
#: Levels of lists and objects that a payload may nest, the outermost included.
MAX_DEPTH = 64
#: Level of the payload's object, in which "args" and "kwargs" stand.
_TOP_DEPTH = 1
#: Bits of an int that Python writes and reads whatever its limit on digits.
_SHORT_INT_BITS = 2000

_TYPE, _VALUE = "__type__", "value"
_ID = re.compile(r"[0-9a-f]{32}")
#: Without dots: zoneinfo may look a key up as a package.
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


# Not frozen, which would double what it costs to make one for each task.
@dataclass(slots=True, kw_only=True)
class Payload:
    """What is sent for one task. Never changed once made."""

    id: str  # 128 bits in hex; the same over all attempts.
    task: str  # Registered path of the task definition.
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any]
    enqueued_at: datetime  # Aware.
    kind: str = "cloudtask"  # Which layer enqueued it.


def new_id() -> str:
    """A random id: 128 bits in hex, as a UUID's."""
    return os.urandom(16).hex()


def encode(payload: Payload) -> bytes:
    """
    Write a payload.

    Raises:
        EncodeError: An argument cannot be carried. The message names it by
            position or keyword, as in `args[0]['when']`.
    """
    try:
        args = _argument("args", _pack_list, payload.args) if payload.args else "[]"
        kwargs = (
            _argument("kwargs", _pack_dict, payload.kwargs) if payload.kwargs else "{}"
        )
        # Written by hand: the encoder would take longer than all the rest.
        return (
            f'{{"v":{VERSION},"id":"{payload.id}","task":{_path(payload.task)},'
            f'"kind":"{payload.kind}","args":{args},"kwargs":{kwargs},'
            f'"enqueued_at":"{payload.enqueued_at.isoformat()}"}}'
        ).encode()
    except _Unpackable as error:
        raise EncodeError(f"{payload.task}: {error}") from None


def decode(body: bytes) -> Payload:
    """
    Read a payload. Strict: what `encode` never writes is refused.

    Raises:
        DecodeError: The body is no payload of a version known here.
    """
    try:
        document = load_json(body)
        # An escape is the only way to a NUL or half a surrogate pair.
        plain = _PLAIN if b"\\u" in body else _PLAIN_AND_TEXT
        return _payload(_unpack(document, 1, plain))
    except DecodeError:
        raise
    except Exception as error:
        # Whatever the parsers make of a hostile body, it is the body's fault.
        # Their messages quote it, and are not repeated.
        raise DecodeError(f"The body is no payload ({type(error).__name__}).") from None


@lru_cache(maxsize=1024)
def _path(path: str) -> str:
    return _argument("path=", _pack_str, path)


def _argument(name: str, pack: Callable[..., Any], value: Any) -> str:
    try:
        return _to_json(pack(value, _TOP_DEPTH))
    except _Unpackable as error:
        error.where = f"{name}{error.where}"
        raise


_to_json = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


def load_json(body: bytes) -> object:
    """
    Read JSON strictly: UTF-8, no key twice, no NaN and no Infinity.

    Raises:
        ValueError, DecodeError, RecursionError: It is no such JSON.
    """
    return json.loads(
        body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DecodeError("An object has the same key twice.")
    return members


def _no_constant(name: str) -> object:
    raise DecodeError(f"{name} is no JSON.")


def _payload(document: object) -> Payload:
    if not isinstance(document, dict):
        raise DecodeError("The body is no object.")
    if _member(document, "v", int) != VERSION:
        raise DecodeError(f"The payload is of another version than {VERSION}.")
    if _ID.fullmatch(_member(document, "id", str)) is None:
        raise DecodeError("'id' must be 128 bits in hex.")
    return Payload(
        id=document["id"],
        task=_member(document, "task", str),
        kind=_member(document, "kind", str),
        args=tuple(_member(document, "args", list)),
        kwargs=_member(document, "kwargs", dict),
        enqueued_at=_aware(_member(document, "enqueued_at", str)),
    )


def _member(document: Mapping[str, Any], key: str, kind: type) -> Any:
    value = document.get(key)
    if type(value) is not kind:
        raise DecodeError(f"{key!r} must be of type {kind.__name__}.")
    return value


def _aware(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise DecodeError("'enqueued_at' has no time zone.")
    return moment.astimezone(UTC)


# Packing: Python values to JSON values


class _Unpackable(Exception):
    """A value that no payload carries. Containers add where it stands."""

    def __init__(self, problem: str) -> None:
        self.where = ""
        self.problem = problem
        super().__init__(problem)

    def __str__(self) -> str:
        where = self.where if len(self.where) <= 80 else f"{self.where[:80]}..."
        return f"{where} {self.problem}"


def _pack(value: Any, depth: int) -> Any:
    pack = _PACKERS.get(type(value)) or _inherited_packer(value)
    return pack(value, depth)


def _inherited_packer(value: Any) -> Callable[..., Any]:
    # Members of a TextChoices or a safe string arrive as the equal plain
    # value. Containers are refused: a named tuple would lose its names.
    for kind in (str, int, float, datetime, date, time, timedelta, Decimal, UUID):
        if isinstance(value, kind):
            return _PACKERS[kind]
    raise _Unpackable(
        f"is a {type(value).__qualname__}, which no payload carries. "
        "Pass its primary key, or one of: None, bool, int, float, str, list, "
        "dict, tuple, set, datetime, date, time, timedelta, Decimal, UUID, bytes."
    )


def _pack_items(items: Iterable[Any], depth: int) -> list[Any]:
    packed: list[Any] = []
    try:
        for item in items:
            packed.append(_pack(item, depth))
    except _Unpackable as error:
        error.where = f"[{len(packed)}]{error.where}"
        raise
    return packed


def _pack_members(members: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    packed: dict[str, Any] = {}
    for key, item in members.items():
        _check_key(key)
        try:
            packed[key] = _pack(item, depth)
        except _Unpackable as error:
            error.where = f"[{key!r}]{error.where}"
            raise
    return packed


def _pack_plain(value: Any, depth: int) -> Any:
    return value


def _pack_int(value: int, depth: int) -> int:
    number = int(value)
    if number.bit_length() > _SHORT_INT_BITS:
        _check_digits(number)
    return number


def _pack_float(value: float, depth: int) -> float:
    if not math.isfinite(value):
        raise _Unpackable(f"is {value!r}, which JSON cannot say.")
    return float(value)


def _pack_str(value: str, depth: int) -> str:
    text = str.__str__(value)
    problem = _text_problem(text)
    if problem:
        raise _Unpackable(f"{problem}.")
    return text


def _pack_list(value: list[Any], depth: int) -> list[Any]:
    return _pack_items(value, _deeper(depth))


def _pack_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    if _TYPE not in value:
        return _pack_members(value, _deeper(depth))
    # Written as pairs, so that it is not mistaken for a tagged value.
    members = _pack_members(value, _deeper(_deeper(_deeper(depth))))
    return {_TYPE: "dict", _VALUE: [[key, item] for key, item in members.items()]}


def _pack_tuple(value: tuple[Any, ...], depth: int) -> dict[str, Any]:
    return {_TYPE: "tuple", _VALUE: _pack_items(value, _deeper(_deeper(depth)))}


def _pack_set(value: set[Any], depth: int) -> dict[str, Any]:
    items = _pack_items(value, _deeper(_deeper(depth)))
    # Sorted, so that equal sets make equal payloads.
    return {_TYPE: "set", _VALUE: sorted(items, key=_to_json)}


def _pack_text(name: str, to_text: Callable[[Any], str]) -> Callable[..., Any]:
    def pack(value: Any, depth: int) -> dict[str, str]:
        _deeper(depth)
        return {_TYPE: name, _VALUE: to_text(value)}

    return pack


def _pack_decimal(value: Decimal, depth: int) -> dict[str, str]:
    if not value.is_finite():
        raise _Unpackable(f"is {value!r}, which no payload carries.")
    _deeper(depth)
    return {_TYPE: "Decimal", _VALUE: str(Decimal(value))}


def _pack_moment(value: datetime | time, depth: int) -> dict[str, Any]:
    """`{"value": "2026-01-31T12:00:00", "zone": "Europe/Berlin"}`."""
    _deeper(depth)
    name = "datetime" if isinstance(value, datetime) else "time"
    packed: dict[str, Any] = {_TYPE: name}
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and _ZONE_KEY.fullmatch(zone.key or ""):
        packed[_VALUE] = value.replace(tzinfo=None).isoformat()
        packed["zone"] = zone.key
    elif zone is not None and value.utcoffset() is None:
        raise _Unpackable("has a time zone without an offset.")
    else:
        packed[_VALUE] = value.isoformat()
    if value.fold:
        packed["fold"] = 1
    return packed


def _pack_timedelta(value: timedelta, depth: int) -> dict[str, Any]:
    _deeper(_deeper(depth))
    return {
        _TYPE: "timedelta",
        _VALUE: [value.days, value.seconds, value.microseconds],
    }


def _check_key(key: object) -> None:
    if type(key) is not str:
        raise _Unpackable(
            f"has the key {key!r}; JSON's keys are strings. Pass a list of pairs."
        )
    problem = _text_problem(key)
    if problem:
        raise _Unpackable(f"has a key that {problem}.")


def _check_digits(number: int) -> None:
    try:
        str(number)
    except ValueError:
        raise _Unpackable(
            "is an int of more digits than Python writes. Pass it in hex."
        ) from None


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "has a NUL character"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half a surrogate pair"
    return None


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise _Unpackable(f"nests deeper than {MAX_DEPTH} levels.")
    return depth + 1


_PACKERS: dict[type, Callable[..., Any]] = {
    type(None): _pack_plain,
    bool: _pack_plain,
    int: _pack_int,
    float: _pack_float,
    str: _pack_str,
    list: _pack_list,
    dict: _pack_dict,
    tuple: _pack_tuple,
    set: _pack_set,
    datetime: _pack_moment,
    date: _pack_text("date", date.isoformat),
    time: _pack_moment,
    timedelta: _pack_timedelta,
    Decimal: _pack_decimal,
    UUID: _pack_text("UUID", str),
    bytes: _pack_text("bytes", lambda value: b64encode(value).decode()),
}


# Unpacking: JSON values to Python values


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
    return _revive(members) if _TYPE in members else members


def _unpack_str(value: str) -> str:
    problem = _text_problem(value)
    if problem:
        raise DecodeError(f"A string {problem}.")
    return value


def _unpack_float(value: float) -> float:
    if not math.isfinite(value):
        raise DecodeError("A number is out of range.")
    return value


#: Types of JSON values that need no look, but for strings with escapes.
_PLAIN: frozenset[type] = frozenset({bool, int, type(None)})
_PLAIN_AND_TEXT = _PLAIN | {str}


def _revive(members: dict[str, Any]) -> Any:
    revive = _REVIVERS.get(members.pop(_TYPE))
    if revive is None:
        raise DecodeError("A value has an unknown type.")
    return revive(**members)


def _revive_dict(value: Any) -> dict[str, Any]:
    pairs = [_of(list, pair) for pair in _of(list, value)]
    return _unique([(_of(str, key), item) for key, item in pairs])


def _revive_datetime(value: str, zone: str | None = None, fold: int = 0) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.replace(fold=fold, tzinfo=_zone(zone, moment.tzinfo))


def _revive_time(value: str, zone: str | None = None, fold: int = 0) -> time:
    moment = time.fromisoformat(value)
    return moment.replace(fold=fold, tzinfo=_zone(zone, moment.tzinfo))


def _zone(key: str | None, written: tzinfo | None) -> tzinfo | None:
    if key is None:
        return written
    if _ZONE_KEY.fullmatch(key) is None:
        raise DecodeError("A value has an unknown time zone.")
    return ZoneInfo(key)


def _revive_decimal(value: Any) -> Decimal:
    number = Decimal(_of(str, value))
    if not number.is_finite():
        raise DecodeError("A Decimal is not finite.")
    return number


def _revive_timedelta(value: Any) -> timedelta:
    days, seconds, microseconds = (_of(int, number) for number in _of(list, value))
    return timedelta(days, seconds, microseconds)


_REVIVERS: dict[object, Callable[..., Any]] = {
    "tuple": lambda value: tuple(_of(list, value)),
    "set": lambda value: set(_of(list, value)),
    "dict": _revive_dict,
    "datetime": _revive_datetime,
    "date": lambda value: date.fromisoformat(value),
    "time": _revive_time,
    "timedelta": _revive_timedelta,
    "Decimal": _revive_decimal,
    "UUID": lambda value: UUID(value),
    "bytes": lambda value: b64decode(_of(str, value), validate=True),
}


def _of(kind: type, value: Any) -> Any:
    # What was revived already, or JSON's own, can be of another type.
    if type(value) is not kind:
        raise DecodeError(f"A tagged value must be of type {kind.__name__}.")
    return value
