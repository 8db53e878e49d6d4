"""Who runs a task."""

from __future__ import annotations

import os
import socket
from functools import cache


def worker_id() -> str:
    """What tells this process from others, in at most 64 characters."""
    return _id(os.getpid())


@cache
def _id(pid: int) -> str:
    return f"{socket.gethostname()[:48]}-{pid}"
