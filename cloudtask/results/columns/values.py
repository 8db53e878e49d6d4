"""Return values of tasks, as JSON that every database stores."""

from __future__ import annotations

import json
from typing import Any

from cloudtask.wire.dumping import Unwritable, dump
from cloudtask.wire.loading import load

#: Characters of a return value, as JSON.
MAX_VALUE = 256 * 1024


def dump_value(value: Any) -> tuple[Any, bool]:
    """
    Turn a value into JSON that every database stores.

    Returns:
        The JSON value, and whether the value had to be dropped: it is not
        JSON, or too long.
    """
    try:
        written = dump(value, 0)
    except (Unwritable, RecursionError):
        return None, True
    if len(written) > MAX_VALUE:
        return None, True
    return json.loads(written), False


def load_value(stored: Any) -> Any:
    """Turn what dump_value() returned into the value again."""
    return load(json.dumps(stored).encode())
