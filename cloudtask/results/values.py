"""What a database stores of values and texts that tasks make."""

from __future__ import annotations

import json
from typing import Any

from cloudtask.dumping import Unwritable, dump
from cloudtask.loading import load

#: Characters of a return value, as JSON.
MAX_VALUE = 256 * 1024
#: Characters of an error's message and of its traceback.
MAX_TEXT = 16 * 1024


def storable(value: Any) -> tuple[Any, bool]:
    """
    A value as JSON that every database stores.

    Returns:
        The JSON value, and whether the value had to be dropped for it: it was
        no JSON, or too long.
    """
    try:
        written = dump(value, 0)
    except (Unwritable, RecursionError):
        return None, True
    if len(written) > MAX_VALUE:
        return None, True
    return json.loads(written), False


def restored(stored: Any) -> Any:
    """The value that storable() was given."""
    return load(json.dumps(stored).encode())


def text(value: str) -> str:
    """A text that every database stores, cut in its middle if it is long."""
    clean = value.replace("\0", "\\0").encode(errors="backslashreplace").decode()
    if len(clean) <= MAX_TEXT:
        return clean
    half = MAX_TEXT // 2 - 3
    return f"{clean[:half]}\n...\n{clean[-half:]}"
