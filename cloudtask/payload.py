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
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from cloudtask.exceptions import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION = 1
#: Levels of lists and objects that a payload may nest, the outermost included.
MAX_DEPTH = 64
#: Where arguments stand: below the payload's object and its list or object.
_ARGUMENTS_DEPTH = 2

_TYPE, _VALUE = "__type__", "value"
_ID = re.compile(r"[0-9a-f]{32}")
#: Without dots: zoneinfo may look a key up as a package.
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What is sent for one task."""

    id: str  # UUID in hex; stays the same over all attempts.
    task: str  # Registered path of the task definition.
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any]
    enqueued_at: datetime  # Aware.
    kind: str = "cloudtask"  # Which layer enqueued it.


def encode(payload: Payload) -> bytes:
    """
    Write a payload.

    Raises:
        EncodeError: An argument cannot be carried. The message names it by
            position or keyword, as in `args[0]['when']`.
    """
    args = [
        _pack(value, f"args[{i}]", _ARGUMENTS_DEPTH)
        for i, value in enumerate(payload.args)
    ]
    kwargs = {
        _key(key, "kwargs"): _pack(value, f"kwargs[{key!r}]", _ARGUMENTS_DEPTH)
        for key, value in payload.kwargs.items()
    }
    document = {
        "v": VERSION,
        "id": payload.id,
        "task": payload.task,
        "kind": payload.kind,
        "args": args,
        "kwargs": kwargs,
        "enqueued_at": payload.enqueued_at.isoformat(),
    }
    try:
        return _to_json(document).encode()
    except ValueError as error:  # An int longer than Python writes.
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
        return _payload(_unpack(document, 1, b"\\u" in body))
    except DecodeError:
        raise
    except Exception as error:
        # Whatever the parsers make of a hostile body, it is the body's fault.
        # Their messages quote it, and are not repeated.
        raise DecodeError(
            f"The body is no payload ({type(error).__name__})."
        ) from None


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
    if document.get("v") != VERSION or isinstance(document["v"], bool):
        raise DecodeError(f"Version {document.get('v')!r} of the payload is unknown.")
    if _ID.fullmatch(_member(document, "id", str)) is None:
        raise DecodeError("'id' must be a UUID in hex.")
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
        raise DecodeError(f"{key!r} must be a {kind.__name__}.")
    return value


def _aware(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise DecodeError("'enqueued_at' has no time zone.")
    return moment.astimezone(UTC)


# Packing: Python values to JSON values


def _pack(value: Any, where: str, depth: int) -> Any:
    pack = _PACKERS.get(type(value))
    if pack is None:
        pack = _inherited_packer(value)
    if pack is None:
        raise EncodeError(
            f"{where} is a {type(value).__qualname__}, which no payload carries. "
            "Pass its primary key, or one of: None, bool, int, float, str, list, "
            "dict, tuple, set, datetime, date, time, timedelta, Decimal, UUID, bytes."
        )
    return pack(value, where, depth)


def _inherited_packer(value: Any) -> Callable[..., Any] | None:
    # Members of a TextChoices or a safe string arrive as the equal plain
    # value. Containers are refused: a named tuple would lose its names.
    for kind in (str, int, float, datetime, date, time, timedelta, Decimal, UUID):
        if isinstance(value, kind):
            return _PACKERS[kind]
    return None


def _pack_plain(value: Any, where: str, depth: int) -> Any:
    return value


def _pack_int(value: int, where: str, depth: int) -> int:
    return int(value)


def _pack_float(value: float, where: str, depth: int) -> float:
    if not math.isfinite(value):
        raise EncodeError(f"{where} is {value!r}, which JSON cannot say.")
    return float(value)


def _pack_str(value: str, where: str, depth: int) -> str:
    text = str.__str__(value)
    if text.isascii() and "\0" not in text:
        return text
    problem = _text_problem(text)
    if problem:
        raise EncodeError(f"{where} {problem}.")
    return text


def _pack_list(value: list[Any], where: str, depth: int) -> list[Any]:
    depth = _deeper(depth, where)
    return [_pack(item, f"{where}[{i}]", depth) for i, item in enumerate(value)]


def _pack_dict(value: dict[Any, Any], where: str, depth: int) -> dict[str, Any]:
    if _TYPE in value:
        # Written as pairs, so that it is not mistaken for a tagged value.
        pairs = [[_key(key, where), item] for key, item in value.items()]
        return _tagged("dict", pairs, where, depth)
    depth = _deeper(depth, where)
    return {
        _key(key, where): _pack(item, f"{where}[{key!r}]", depth)
        for key, item in value.items()
    }


def _tagged(name: str, items: list[Any], where: str, depth: int) -> dict[str, Any]:
    depth = _deeper(depth, where)
    return {_TYPE: name, _VALUE: _pack_list(items, where, depth)}


def _pack_tuple(value: tuple[Any, ...], where: str, depth: int) -> dict[str, Any]:
    return _tagged("tuple", list(value), where, depth)


def _pack_set(value: set[Any], where: str, depth: int) -> dict[str, Any]:
    packed = _tagged("set", list(value), where, depth)
    # Sorted, so that equal sets make equal payloads.
    packed[_VALUE].sort(key=_to_json)
    return packed


def _pack_text(name: str, to_text: Callable[[Any], str]) -> Callable[..., Any]:
    def pack(value: Any, where: str, depth: int) -> dict[str, str]:
        _deeper(depth, where)
        return {_TYPE: name, _VALUE: to_text(value)}

    return pack


def _pack_decimal(value: Decimal, where: str, depth: int) -> dict[str, str]:
    if not value.is_finite():
        raise EncodeError(f"{where} is {value!r}, which no payload carries.")
    _deeper(depth, where)
    return {_TYPE: "Decimal", _VALUE: str(Decimal(value))}


def _pack_moment(value: datetime | time, where: str, depth: int) -> dict[str, Any]:
    """`{"value": "2026-01-31T12:00:00", "zone": "Europe/Berlin"}`."""
    _deeper(depth, where)
    name = "datetime" if isinstance(value, datetime) else "time"
    zone = value.tzinfo
    if not isinstance(zone, ZoneInfo) or zone.key is None:
        if zone is not None and value.utcoffset() is None:
            raise EncodeError(f"{where} has a time zone without an offset.")
        return _with_fold({_TYPE: name, _VALUE: value.isoformat()}, value)
    local = value.replace(tzinfo=None)
    return _with_fold({_TYPE: name, _VALUE: local.isoformat(), "zone": zone.key}, value)


def _with_fold(packed: dict[str, Any], value: datetime | time) -> dict[str, Any]:
    if value.fold:
        packed["fold"] = 1
    return packed


def _pack_timedelta(value: timedelta, where: str, depth: int) -> dict[str, Any]:
    _deeper(_deeper(depth, where), where)
    return {
        _TYPE: "timedelta",
        _VALUE: [value.days, value.seconds, value.microseconds],
    }


def _key(key: object, where: str) -> str:
    if type(key) is not str:
        raise EncodeError(
            f"{where} has the key {key!r}; JSON's keys are strings. "
            "Pass a list of pairs."
        )
    problem = _text_problem(key)
    if problem:
        raise EncodeError(f"A key of {where} {problem}.")
    return key


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "has a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half a surrogate pair"
    return None


def _deeper(depth: int, where: str) -> int:
    if depth >= MAX_DEPTH:
        raise EncodeError(f"{where[:80]}... nests deeper than {MAX_DEPTH} levels.")
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


def _unpack(value: Any, depth: int, check_text: bool) -> Any:
    kind = type(value)
    if kind is str:
        if check_text and (problem := _text_problem(value)):
            raise DecodeError(f"A string {problem}.")
        return value
    if kind is float and not math.isfinite(value):
        raise DecodeError("A number is out of range.")
    if kind is not dict and kind is not list:
        return value
    if depth > MAX_DEPTH:
        raise DecodeError(f"The body nests deeper than {MAX_DEPTH} levels.")
    if kind is list:
        return [_unpack(item, depth + 1, check_text) for item in value]
    members = {
        _unpack(key, depth, check_text): _unpack(item, depth + 1, check_text)
        for key, item in value.items()
    }
    return _revive(members) if _TYPE in members else members


def _revive(members: dict[str, Any]) -> Any:
    revive = _REVIVERS.get(members.pop(_TYPE))
    if revive is None:
        raise DecodeError("A value has an unknown type.")
    return revive(**members)


def _revive_dict(value: list[Any]) -> dict[str, Any]:
    members = _unique([(key, item) for key, item in value])
    if not all(isinstance(key, str) for key in members):
        raise DecodeError("A key is no string.")
    return members


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


def _revive_decimal(value: str) -> Decimal:
    number = Decimal(value)
    if not number.is_finite():
        raise DecodeError("A Decimal is not finite.")
    return number


def _revive_bytes(value: str) -> bytes:
    return b64decode(value, validate=True)


def _revive_timedelta(value: list[int]) -> timedelta:
    days, seconds, microseconds = value
    return timedelta(days, seconds, microseconds)


_REVIVERS: dict[object, Callable[..., Any]] = {
    "tuple": lambda value: tuple(_listed(value)),
    "set": lambda value: set(_listed(value)),
    "dict": lambda value: _revive_dict(_listed(value)),
    "datetime": _revive_datetime,
    "date": lambda value: date.fromisoformat(value),
    "time": _revive_time,
    "timedelta": lambda value: _revive_timedelta(_listed(value)),
    "Decimal": _revive_decimal,
    "UUID": lambda value: UUID(value),
    "bytes": _revive_bytes,
}


def _listed(value: Any) -> list[Any]:
    if type(value) is not list:
        raise DecodeError("A value must be a list.")
    return value
