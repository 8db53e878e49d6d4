"""
The wire format, version 1: what a task carries to its dispatch.

    {"v": 1, "id": "<uuid hex>", "task": "shop.tasks.add",
     "kind": "cloudtask", "args": [1], "kwargs": {"b": 2},
     "enqueued_at": "2026-01-31T12:00:00.000000+00:00"}

A task of Django's tasks framework is of kind "django" and adds `"backend":
"default"`, the alias of its backend, and `"using": {...}`, what `.using()`
takes.

JSON in UTF-8. Values that JSON lacks are objects with one reserved key:
`{"__type__": "date", "value": "2026-01-31"}`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtask.exceptions import DecodeError, EncodeError
from cloudtask.wire.dumping import Unwritable, dump
from cloudtask.wire.loading import load

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
#: Kinds of tasks: of `@cloudtask.task` and of Django's tasks framework.
CLOUDTASK, DJANGO = "cloudtask", "django"
#: Level of the payload's object, in which "args" and "kwargs" stand.
_TOP_DEPTH = 1

#: Characters of a task's path.
MAX_PATH_LENGTH = 500
#: Characters of a Django task's queue name, an alias perhaps. It is cached.
_MAX_QUEUE_NAME = 500

_ID = re.compile(r"[0-9a-f]{32}")
#: An id as UUIDs are written.
_DASHED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Using(NamedTuple):
    """What a Django task's `.using()` chose, beside the backend."""

    queue_name: str
    priority: int
    run_after: datetime | None = None


# Not frozen, which would double what it costs to make one for each task.
@dataclass(slots=True, kw_only=True)
class Payload:
    """What is sent for one task. Never changed once made."""

    id: str  # 128 bits in hex; the same over all attempts.
    task: str  # Registered path of the task definition.
    # Not shown: some may be secret.
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: dict[str, Any] = field(repr=False)
    enqueued_at: datetime  # Aware.
    kind: str = CLOUDTASK  # Which layer enqueued it.
    backend: str | None = None  # Alias of its task backend.
    using: Using | None = None  # What it was enqueued with there.
    #: What it was read from: a function may change the arguments that it gets.
    body: bytes | None = field(default=None, repr=False, compare=False)

    def received_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as they arrived, by position and by keyword."""
        received = self if self.body is None else decode(self.body)
        return received.args, received.kwargs

    def received_body(self) -> bytes:
        """The payload as it arrived, to be sent once more."""
        return encode(self) if self.body is None else self.body


def new_id() -> str:
    """A random id: 128 bits in hex, as a UUID's."""
    return os.urandom(16).hex()


def as_id(value: object) -> str:
    """An id as tasks have it, of a UUID, or a text with or without dashes."""
    text = str(value)
    return text.replace("-", "") if _DASHED.fullmatch(text) else text


def encode(payload: Payload) -> bytes:
    """
    Write a payload.

    Raises:
        EncodeError: An argument cannot be carried. The message names it by
            position or keyword, as in `args[0]['when']`.
    """
    try:
        args = _write_member("args", list(payload.args)) if payload.args else "[]"
        kwargs = _write_member("kwargs", payload.kwargs) if payload.kwargs else "{}"
        backend = ""
        if payload.backend is not None and payload.using is not None:
            backend = _write_backend(payload.backend, payload.using)
        return (
            f'{{"v":{VERSION},"id":"{payload.id}","task":{_write_path(payload.task)},'
            f'"kind":"{payload.kind}","args":{args},"kwargs":{kwargs},'
            f'"enqueued_at":"{payload.enqueued_at.isoformat()}"{backend}}}'
        ).encode()
    except Unwritable as error:
        raise EncodeError(f"{payload.task}: {error}") from None


def decode(body: bytes) -> Payload:
    """
    Read a payload. Strict: what `encode` never writes is refused.

    Raises:
        DecodeError: The body is not a payload of a version known here.
    """
    try:
        return _read_payload(load(body), body)
    except DecodeError:
        raise
    except Exception as error:
        # Whatever the parsers make of a hostile body, it is the body's fault.
        # Their messages quote it, and are not repeated.
        kind = type(error).__name__
        raise DecodeError(f"The body is not a payload ({kind}).") from None


@lru_cache(maxsize=1024)
def _write_path(path: str) -> str:
    return _write_member("path=", path)


def _write_backend(backend: str, using: Using) -> str:
    fixed = _write_fixed_part(backend, using.queue_name, using.priority)
    if using.run_after is None:
        return f"{fixed}}}"
    return f'{fixed},"run_after":{_write_member("run_after", using.run_after)}}}'


@lru_cache(maxsize=1024)
def _write_fixed_part(backend: str, queue_name: str, priority: int) -> str:
    if len(queue_name) > _MAX_QUEUE_NAME:
        raise Unwritable(f"queue_name has more than {_MAX_QUEUE_NAME} characters.")
    using = _write_member("using", {"queue_name": queue_name, "priority": priority})
    return f',"backend":{_write_member("backend", backend)},"using":{using[:-1]}'


def _write_member(name: str, value: Any) -> str:
    try:
        return dump(value, _TOP_DEPTH)
    except Unwritable as error:
        error.where = f"{name}{error.where}"
        raise


def _read_payload(document: object, body: bytes) -> Payload:
    if not isinstance(document, dict):
        raise DecodeError("The body is not an object.")
    if _read_member(document, "v", int) != VERSION:
        raise DecodeError(f"The payload is of another version than {VERSION}.")
    if _ID.fullmatch(_read_member(document, "id", str)) is None:
        raise DecodeError("'id' must be 128 bits in hex.")
    return Payload(
        id=document["id"],
        task=_read_member(document, "task", str),
        kind=_read_member(document, "kind", str),
        args=tuple(_read_member(document, "args", list)),
        kwargs=_read_member(document, "kwargs", dict),
        enqueued_at=_read_time(_read_member(document, "enqueued_at", str)),
        body=body,
        **_read_backend(document),
    )


def _read_backend(document: Mapping[str, Any]) -> dict[str, Any]:
    if document.get("backend") is None:
        return {}
    using = _read_member(document, "using", dict)
    run_after = using.get("run_after")
    if run_after is not None and not isinstance(run_after, datetime):
        raise DecodeError("'run_after' must be of type datetime.")
    return {
        "backend": _read_member(document, "backend", str),
        "using": Using(
            _read_queue_name(using),
            _read_member(using, "priority", int),
            run_after,
        ),
    }


def _read_queue_name(using: Mapping[str, Any]) -> str:
    name: str = _read_member(using, "queue_name", str)
    if len(name) > _MAX_QUEUE_NAME:
        raise DecodeError(f"'queue_name' has more than {_MAX_QUEUE_NAME} characters.")
    return name


def _read_member(document: Mapping[str, Any], key: str, kind: type) -> Any:
    value = document.get(key)
    if type(value) is not kind:
        raise DecodeError(f"{key!r} must be of type {kind.__name__}.")
    return value


def _read_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise DecodeError("'enqueued_at' has no time zone.")
    return moment.astimezone(UTC)
