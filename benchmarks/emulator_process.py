"""Emulators in processes of their own, and calls that cost next to nothing."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import venv
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud import tasks_v2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PARENT = "projects/bench/locations/local"
PEER = "gcloud-tasks-emulator"
_SERVICE = "/google.cloud.tasks.v2.CloudTasks/"
_CLIENTS = 8
_CALLS_IN_FLIGHT = 64
_START_SECONDS = 20


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    address: str
    pid: int

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def call(self, method: str, **fields: Any) -> None:
        """Make one call; `fields` are its request's."""
        request = getattr(tasks_v2, f"{method}Request").pb()(**fields)
        self.flood(method, [request.SerializeToString()])

    def flood(self, method: str, requests: Sequence[bytes]) -> float:
        """
        Make many calls at a time from several clients.

        Args:
            method: A method of Cloud Tasks.
            requests: Serialised, so that this process is not what is measured.

        Returns:
            The seconds that all of them took.
        """
        return asyncio.run(self._flood(_SERVICE + method, requests))

    async def _flood(self, method: str, requests: Sequence[bytes]) -> float:
        channels = [
            grpc.aio.insecure_channel(
                self.address, options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(min(_CLIENTS, len(requests)))
        ]
        left = iter(requests)
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        started = perf_counter()
        await asyncio.gather(
            *(
                _call_each(channel, method, left)
                for channel in channels
                for _ in range(_CALLS_IN_FLIGHT // _CLIENTS)
            )
        )
        seconds = perf_counter() - started
        await asyncio.gather(*(channel.close(None) for channel in channels))
        return seconds


async def _call_each(
    channel: grpc.aio.Channel, method: str, requests: Iterator[bytes]
) -> None:
    call = channel.unary_unary(method, None, None)
    for request in requests:
        await call(request)


@contextmanager
def cloudtask_emulator(store: Path | None, queues: Iterable[str]) -> Iterator[Emulator]:
    """
    Run the emulator of this package.

    Args:
        store: The file that holds its tasks; None keeps them in memory.
        queues: The ids of the queues to create in PARENT.
    """
    _, project, _, location = PARENT.split("/")
    command = [sys.executable, "-m", "cloudtask.emulator"]
    command += ["--port", "0", "--http-port", "0"]
    command += ["--project", project, "--location", location]
    command += ["--ephemeral"] if store is None else ["--store", str(store)]
    for queue in queues:
        command += ["--queue", queue]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        address = re.search(r"gRPC ([\w.]+:\d+)", ready)
        assert address is not None, ready
        # Its log of attempts is read, as a terminal would.
        log = threading.Thread(target=_read_all, args=(process.stdout,))
        log.start()
        try:
            yield Emulator(address[1], process.pid)
        finally:
            process.terminate()
            log.join()


def _read_all(lines: Iterable[str]) -> None:
    for _ in lines:
        pass


@contextmanager
def peer_emulator(directory: Path, queue: str) -> Iterator[Emulator]:
    """
    Run gcloud-tasks-emulator.

    Args:
        directory: Where to install it, apart from everything else.
        queue: The path of the queue to create.

    Raises:
        InstallError: It is not to be had.
    """
    _install_peer(directory)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [str(directory / "bin" / PEER), "start", "--quiet"]
    command += ["--port", str(port), "--default-queue", queue]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        address = f"localhost:{port}"
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(_START_SECONDS)
            yield Emulator(address, process.pid)
        finally:
            # Its threads do not end for less.
            process.kill()


class InstallError(Exception):
    """The other emulator cannot be installed; the message says why."""


def _install_peer(directory: Path) -> None:
    venv.create(directory, with_pip=True)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", PEER]
    result = subprocess.run(pip, capture_output=True, text=True, check=False)
    if result.returncode:
        raise InstallError(result.stderr.strip().splitlines()[-1])
