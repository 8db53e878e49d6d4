"""Tasks that write down that they ran."""

import json
import os
import signal
import threading
from time import time
from typing import Any

from django.conf import settings

from cloudtask import CloudTaskRequest, task
from tests.reliability.served.models import Effect


def write(request: CloudTaskRequest, event: str, **more: Any) -> None:
    line = {"id": request.id, "pid": os.getpid(), "event": event, "at": time(), **more}
    # In one piece, whoever else writes.
    file = os.open(settings.RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


@task
def work(request: CloudTaskRequest, seconds: float) -> str:
    """Take so long, half of it before the effect and half of it after."""
    write(request, "begin")
    threading.Event().wait(seconds / 2)
    Effect.objects.create(task=request.id)
    threading.Event().wait(seconds / 2)
    write(request, "end")
    return request.id


@task
def poison(request: CloudTaskRequest, seconds: float) -> None:
    """End the process that runs it."""
    write(request, "begin")
    threading.Event().wait(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def ship(request: CloudTaskRequest, number: str) -> None:
    """What an order's transaction enqueues."""
    write(request, "begin", number=number)
    write(request, "end")
