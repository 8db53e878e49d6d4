"""The arguments of a schedule, as its row has them: JSON, as in payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.exceptions import DecodeError, InvalidSchedule
from cloudtask.wire.dumping import Unwritable, dump
from cloudtask.wire.loading import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def write_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """
    Write arguments, the same text for the same values.

    Raises:
        InvalidSchedule: JSON cannot carry one of them.
    """
    try:
        return dump({"args": list(args), "kwargs": dict(kwargs)}, 0)
    except Unwritable as error:
        raise InvalidSchedule(f"The arguments{error.where}: {error}") from None


def read_arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """
    Read arguments: by position, and by keyword.

    Raises:
        InvalidSchedule: The text is not what `write_arguments()` writes.
    """
    try:
        document = load(text.encode())
    except (DecodeError, ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and document.keys() == {"args", "kwargs"}:
        args, kwargs = document["args"], document["kwargs"]
        if isinstance(args, list) and isinstance(kwargs, dict):
            return args, kwargs
    raise InvalidSchedule(
        'The arguments must be JSON of the form {"args": [1], "kwargs": {"b": 2}}.'
    )
