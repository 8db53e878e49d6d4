"""The emulator in a process of its own, to be killed."""

import http.client
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

import grpc
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

#: Seconds after which a process is given up.
PATIENCE = 60
#: A module to run instead of the emulator; see there.
CHILD = "tests.emulator.crash_child"

_ROOT = Path(__file__).parents[2]
_READY = re.compile(r"emulator ready: gRPC (\S+), REST and page http://([^/\s]+)/")
_READY_LINES = 7


class EmulatorProcess:
    """
    An emulator on a store, ended with the context.

    Args:
        store: The file.
        arguments: More of them, for the command line.
        module: What to run, the emulator or CHILD.
        options: For Popen.
    """

    def __init__(
        self,
        store: Path,
        *arguments: str,
        module: str = "cloudtask.emulator",
        **options: Any,
    ) -> None:
        self._store = store
        # Not a pipe, which would fill up while nobody reads it.
        self._log = TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", module),
                *("--port", "0", "--http-port", "0", "--quiet"),
                *("--store", str(store), *arguments),
            ],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            assert stream is not None
            stream.close()

    @property
    def log(self) -> str:
        """What it wrote to its standard error."""
        self._log.seek(0)
        return self._log.read()

    def go(self) -> None:
        """Let a CHILD start."""
        self._tell("go")

    def plan_death(self, moment: str, step: str, number: int) -> None:
        """Tell a CHILD when to kill itself."""
        self._tell(f"{moment} {step} {number}")

    def is_ready(self) -> bool:
        """Wait until it serves; return False if it ended before."""
        lines = [self.line() for _ in range(_READY_LINES)]
        if not lines[-1]:
            return False
        found = _READY.search(lines[0])
        assert found is not None, lines
        self.grpc_address, self._http_address = found.groups()
        return True

    def line(self) -> str:
        """Return the next line that it writes, "" if it ended."""
        assert self.process.stdout is not None
        # Whoever waits for a line cannot look at a clock.
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            return self.process.stdout.readline()
        finally:
            watchdog.cancel()

    def check_end(self, code: int) -> None:
        """Wait for its end, without complaints, and check the file it left."""
        assert self.process.wait(PATIENCE) == code, self.log
        assert not self.log, self.log
        # A copy: what has to be repaired is the next process's to repair.
        copy = self._store.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in self._store.parent.glob(f"{self._store.name}*"):
            shutil.copy(file, copy)
        with closing(sqlite3.connect(copy / self._store.name)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            found = connection.execute("PRAGMA integrity_check").fetchall()
        assert (mode, found) == ("wal", [("ok",)])

    @contextmanager
    def client(self) -> Iterator[tasks_v2.CloudTasksClient]:
        """Give Google's client."""
        with grpc.insecure_channel(self.grpc_address) as channel:
            transport = CloudTasksGrpcTransport(channel=channel)
            yield tasks_v2.CloudTasksClient(transport=transport)

    def http(self, method: str, path: str, content: Any = None) -> Any:
        """Call the HTTP port, JSON in and out."""
        body = None if content is None else json.dumps(content)
        headers = {"Content-Type": "application/json"} if body else {}
        with closing(
            http.client.HTTPConnection(self._http_address, timeout=PATIENCE)
        ) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        assert response.status == 200, text
        return json.loads(text)

    def drain(self, **duration: float) -> None:
        """Move the clock, send what is due until then and wait for answers."""
        advance = {"seconds": 0, **duration, "timeout": PATIENCE}
        self.http("POST", "/emulator/clock/advance", advance)

    def depths(self) -> dict[str, int]:
        """Return how many tasks the queues have, by their ids."""
        queues = self.http("GET", "/emulator/queues")["queues"]
        return {queue["name"]: queue["depth"] for queue in queues}

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
