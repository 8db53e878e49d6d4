"""Tasks that write down where they ran."""

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

from django.conf import settings

from cloudtask import CloudTaskRequest, task


def write(request: CloudTaskRequest, **more: Any) -> None:
    line = {
        "pid": os.getpid(),
        "thread": threading.current_thread().name,
        "attempt": request.attempt,
        **more,
    }
    # In one piece, whoever else writes.
    file = os.open(settings.RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


@task
def run(request: CloudTaskRequest, word: str) -> None:
    write(request, word=word)


@task
async def arun(request: CloudTaskRequest, word: str) -> None:
    write(request, word=word, loop=id(asyncio.get_running_loop()))


@task
def fail_twice(request: CloudTaskRequest, word: str) -> None:
    write(request, word=word)
    if request.attempt < 3:
        raise ValueError("not yet")


@task
def hold(request: CloudTaskRequest, word: str) -> None:
    """Say that it runs, and run until told to end."""
    folder = Path(settings.RUNS).parent
    with (folder / "started").open("wb") as started:
        started.write(b"!")
    with (folder / "release").open("rb") as release:
        release.read(1)
    write(request, word=word)
