"""What runs beside the demo: a fresh database and the shop's server."""

from __future__ import annotations

import fcntl
import http.client
import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtask.emulator import Emulator

PROJECT_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = PROJECT_DIR / "var"
SERVER_LOG = VAR_DIR / "server.log"

#: Seconds between two looks at a server that does not answer yet.
_LOOK_AGAIN = 0.05
#: Seconds that a server gets to end before it is killed.
_STOP_SECONDS = 5


class NotStarted(Exception):
    """Something that the demo needs did not start. The message says what."""


class Deadline:
    """A moment, some seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._start = monotonic()

    @property
    def elapsed(self) -> float:
        return monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.seconds - self.elapsed)


@contextmanager
def only_one() -> Iterator[None]:
    """
    Keep a second demo from the same database.

    Raises:
        NotStarted: There is a first one.
    """
    VAR_DIR.mkdir(exist_ok=True)
    with (VAR_DIR / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotStarted("another demo is running in this directory") from None
        yield


def environment(emulator: Emulator, server: str) -> dict[str, str]:
    """
    What Django's processes find in their environment.

    Args:
        emulator: Where tasks are sent to.
        server: Address of the shop's server, `host:port`.
    """
    local = {
        name: _with_local(os.environ.get(name)) for name in ("no_proxy", "NO_PROXY")
    }
    return {
        **local,
        "DJANGO_SETTINGS_MODULE": "bookshop.settings",
        "CLOUD_TASKS_EMULATOR_HOST": emulator.host,
        "BOOKSHOP_EMULATOR_HTTP_HOST": emulator.http_url.removeprefix("http://"),
        "BOOKSHOP_URL": f"http://{server}",
        "BOOKSHOP_SECRET_KEY": secrets.token_urlsafe(32),
        "BOOKSHOP_TASK_SECRET": secrets.token_urlsafe(32),
    }


def free_address() -> str:
    """A local address, `host:port`, on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        host, port = unused.getsockname()
    return f"{host}:{port}"


def make_database() -> None:
    """
    Remove what an earlier run left, migrate, and make the schedules.

    Django is set up, and the emulator runs.
    """
    from django.conf import settings
    from django.core.management import call_command

    for path in VAR_DIR.glob("db.sqlite3*"):
        path.unlink()
    shutil.rmtree(settings.MAIL_DIR, ignore_errors=True)
    call_command("migrate", verbosity=0)
    call_command("cloudtask", "schedules", "apply", stdout=io.StringIO())


class Server:
    """`manage.py runserver` in a process of its own."""

    def __init__(self, address: str, log: IO[bytes]) -> None:
        self.address = address
        command = [sys.executable, str(PROJECT_DIR / "manage.py")]
        self._process = subprocess.Popen(
            [*command, "runserver", "--noreload", address],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    @property
    def url(self) -> str:
        return f"http://{self.address}/"

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self, deadline: Deadline) -> None:
        """
        Return when it answers.

        Raises:
            NotStarted: It ended, or did not answer in time.
        """
        while (status := self._status()) is None:
            if deadline.left == 0:
                raise NotStarted("the server does not answer")
            try:
                code = self._process.wait(_LOOK_AGAIN)
            except subprocess.TimeoutExpired:
                continue
            raise NotStarted(f"the server ended with exit status {code}")
        if status != 200:
            raise NotStarted(f"the server answers with HTTP {status}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def post(
        self, path: str, content: object, headers: dict[str, str] | None = None
    ) -> int:
        """POST JSON, and return the answer's HTTP status."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self._request("POST", path, json.dumps(content), sent)

    def _status(self) -> int | None:
        try:
            return self._request("GET", "/state.json")
        except OSError:
            return None

    def _request(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        connection = http.client.HTTPConnection(self.address, timeout=5)
        try:
            connection.request(method, path, body, headers or {})
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def running_server(address: str, deadline: Deadline) -> Iterator[Server]:
    """
    The server, from when it answers until the block ends.

    Raises:
        NotStarted: See Server.wait_until_ready().
    """
    with SERVER_LOG.open("wb") as log:
        server = Server(address, log)
        try:
            server.wait_until_ready(deadline)
            yield server
        finally:
            server.stop()


def log_tail(lines: int = 5) -> list[str]:
    """The last lines that the server wrote."""
    if not SERVER_LOG.exists():
        return []
    return SERVER_LOG.read_text(errors="replace").splitlines()[-lines:]


def _with_local(hosts: str | None) -> str:
    # A proxy cannot reach this machine's own addresses.
    return ",".join(filter(None, [hosts, "127.0.0.1", "localhost"]))
