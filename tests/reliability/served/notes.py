"""What happened, a line for each event, whichever process notes it."""

import json
import os
import threading
from time import monotonic, time
from typing import Any

from django.conf import settings


def note(event: str, task: str = "", **more: Any) -> None:
    line = {"id": task, "pid": os.getpid(), "event": event, "at": time(), **more}
    # In one piece, whoever else writes.
    file = os.open(settings.RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def watch() -> None:
    """Have it noted, from now on, when this process was stopped for long."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    # Between two signs of life a lease has as much left, at least.
    long = settings.LEASE / 2
    last = monotonic()
    while True:
        threading.Event().wait(0.05)
        now = monotonic()
        if now - last > long:
            note("stopped", since=time() - (now - last))
        last = now
