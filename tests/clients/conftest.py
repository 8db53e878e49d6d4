"""An emulator in a process of its own, as its users run it."""

import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

import pytest

# Fixtures are found by their name in this module.
from tests.emulator.conftest import Target, target  # noqa: F401

LOCATION = "europe-west1"


@dataclass(frozen=True)
class Service:
    """Where the emulator answers."""

    grpc_address: str  # HOST:PORT
    http_url: str  # Without a slash at the end.

    @property
    def http_address(self) -> str:
        return self.http_url.removeprefix("http://")


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    command = [sys.executable, "-m", "cloudtask.emulator", "--ephemeral"]
    command += ["--port", "0", "--http-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        # It must be able to write on.
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        try:
            yield _parse(ready)
        finally:
            process.terminate()
            drain.join()


def _parse(ready: str) -> Service:
    grpc_address = re.search(r"gRPC ([\w.]+:\d+)", ready)
    http_url = re.search(r"http://[\w.]+:\d+", ready)
    assert grpc_address is not None, ready
    assert http_url is not None, ready
    return Service(grpc_address[1], http_url[0])


@pytest.fixture
def project() -> str:
    """A project that no other test has."""
    return f"project-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def location(project: str) -> str:
    """The path of a location without queues."""
    return f"projects/{project}/locations/{LOCATION}"


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Return as soon as `condition()` is true; it may ask the emulator."""
    deadline = monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert monotonic() < deadline, f"not true within {seconds} s"
        pause.wait(0.02)
