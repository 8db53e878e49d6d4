"""
A task's body, for people to read.

Bodies of the `cloudtask` package are recognised by their shape alone:

    {"v": 1, "id": "...", "task": "shop.tasks.add", "kind": "cloudtask",
     "args": [1], "kwargs": {"b": 2}}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Most characters of a body that are shown.
MAX_TEXT = 65_536
#: Most characters of a body's summary.
MAX_SUMMARY = 120

# Larger bodies are not parsed for a summary: a list holds many of them.
_MAX_SUMMARISED = 16_384
_MAX_BINARY = 256
_BYTES_PER_LINE = 16
_CALL_MEMBERS: Mapping[str, type] = {
    "v": int,
    "id": str,
    "task": str,
    "kind": str,
    "args": list,
    "kwargs": dict,
}

Format = Literal["empty", "cloudtask", "json", "text", "binary"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a task function. Values are JSON texts."""

    task: str
    id: str
    kind: str
    args: list[str]
    kwargs: dict[str, str]
    enqueued_at: str | None


@dataclass(frozen=True, slots=True)
class DecodedBody:
    """What a body holds."""

    format: Format
    size: int  # Of the body, in bytes.
    summary: str  # One line.
    text: str  # JSON is indented; of binary data, the first bytes in hex.
    truncated: bool  # Whether `text` is not all of it.
    call: Call | None = None

    def to_dict(self) -> dict[str, Any]:
        """What the body holds, as JSON."""
        return asdict(self)


def summarize(body: bytes) -> str:
    """Return one line about a body, cheaply."""
    if len(body) > _MAX_SUMMARISED:
        return _shorten(body[:_MAX_SUMMARISED].decode(errors="replace"))
    return decode(body).summary


def decode(body: bytes) -> DecodedBody:
    """Return what a body holds. Never fails."""
    if not body:
        return DecodedBody("empty", 0, "", "", truncated=False)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _binary(body)
    try:
        document = json.loads(text)
        indented = _json_text(document, indent=2)
    except (ValueError, RecursionError):
        return _text(body, text)
    call = _call(document)
    return DecodedBody(
        format="json" if call is None else "cloudtask",
        size=len(body),
        summary=_shorten(text if call is None else _signature(call)),
        text=indented[:MAX_TEXT],
        truncated=len(indented) > MAX_TEXT,
        call=call,
    )


def _text(body: bytes, text: str) -> DecodedBody:
    if "\0" in text:
        return _binary(body)
    return DecodedBody(
        "text", len(body), _shorten(text), text[:MAX_TEXT], len(text) > MAX_TEXT
    )


def _binary(body: bytes) -> DecodedBody:
    return DecodedBody(
        "binary",
        len(body),
        f"{len(body)} bytes",
        "\n".join(
            _hex_line(body, start)
            for start in range(0, min(len(body), _MAX_BINARY), _BYTES_PER_LINE)
        ),
        len(body) > _MAX_BINARY,
    )


def _hex_line(body: bytes, start: int) -> str:
    part = body[start : min(start + _BYTES_PER_LINE, _MAX_BINARY)]
    readable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
    return f"{start:08x}  {part.hex(' '):<{3 * _BYTES_PER_LINE - 1}}  {readable}"


def _call(document: object) -> Call | None:
    if not isinstance(document, dict) or not all(
        type(document.get(key)) is kind for key, kind in _CALL_MEMBERS.items()
    ):
        return None
    enqueued_at = document.get("enqueued_at")
    return Call(
        task=document["task"],
        id=document["id"],
        kind=document["kind"],
        args=[_json_text(value) for value in document["args"]],
        kwargs={name: _json_text(value) for name, value in document["kwargs"].items()},
        enqueued_at=enqueued_at if isinstance(enqueued_at, str) else None,
    )


def _signature(call: Call) -> str:
    arguments = [*call.args, *(f"{name}={text}" for name, text in call.kwargs.items())]
    return f"{call.task}({', '.join(arguments)})"


def _json_text(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _shorten(text: str) -> str:
    start = text[: 2 * MAX_SUMMARY]
    line = " ".join(start.split())
    if len(line) <= MAX_SUMMARY and start == text:
        return line
    return f"{line[: MAX_SUMMARY - 1]}…"
