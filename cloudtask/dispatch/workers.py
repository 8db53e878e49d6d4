"""Who runs a task."""

from __future__ import annotations

import os
import socket
import sys
from functools import cache


def worker_id() -> str:
    """What tells this process from others, in at most 64 characters."""
    return _id(os.getpid())


@cache
def _id(pid: int) -> str:
    return f"{socket.gethostname()[:48]}-{pid}"


#: Packages that put green threads in place of threads, and what tells of it.
_GREEN = {
    "gevent": ("gevent.monkey", "is_module_patched"),
    "eventlet": ("eventlet.patcher", "is_monkey_patched"),
}
#: What follows from those that gRPC does not know. Takes their package.
GREEN_THREADS_STOP = (
    "%s has patched this process, and gRPC cannot cooperate with it: each task that "
    "is enqueued stops all green threads until Cloud Tasks has answered."
)


def green_threads() -> str | None:
    """The package that has patched the threads of this process, or None."""
    for package, (module, function) in _GREEN.items():
        patcher = sys.modules.get(module)
        if patcher is not None and getattr(patcher, function)("socket"):
            return package
    return None
