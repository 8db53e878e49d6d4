"""What happened, a line for each event, whichever process notes it."""

import faulthandler
import json
import os
import signal
import threading
from time import monotonic, time
from typing import Any

from django.conf import settings

#: A signal that servers leave alone.
DUMP = signal.SIGRTMIN + 1
#: Seconds of standing still that may cost a lease: it has four signs of life,
#: and one may wait as long before it as in it, and so may the next one.
LONG = settings.LEASE / 4


def note(event: str, task: str = "", **more: Any) -> None:
    line = {"id": task, "pid": os.getpid(), "event": event, "at": time(), **more}
    # In one piece, whoever else writes.
    file = os.open(settings.RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def watch() -> None:
    """
    Have it noted, from now on, when this process was stopped for long.

    Asked by a signal, it writes to the log where its threads are.
    """
    faulthandler.register(DUMP)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    last = monotonic()
    while True:
        threading.Event().wait(0.05)
        now = monotonic()
        if now - last > LONG:
            note("stopped", since=time() - (now - last))
        last = now
