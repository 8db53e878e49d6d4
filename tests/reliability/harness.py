"""Servers of a project, their enemies, and what is between all of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from cloudtask.emulator import Emulator
from tests.reliability.cluster import Proxy
from tests.reliability.watched import Database

if TYPE_CHECKING:
    from tests.reliability.story import Story

ROOT = Path(__file__).parents[2]
#: Seconds for anything to happen.
PATIENCE = 40
#: Whether tests take their time, to be more certain.
IS_LONG = os.environ.get("CLOUDTASK_RELIABILITY") == "long"
#: Seconds for one call of Cloud Tasks, where it may be without an answer.
RPC_TIMEOUT = 3.0

SERVED = "tests.reliability.served"
_QUEUE = "default:max_attempts=100,rate=500,concurrency=24"
#: Where a takeover is waited for, which comes with the next attempt.
_SOON = "min_backoff=0.1,max_backoff=0.5"
#: Where leases are long, and many attempts find one held.
_LATER = "min_backoff=0.2,max_backoff=4"

_GUNICORN = (
    *("gunicorn", "--preload", "--no-control-socket", "--worker-class", "gthread"),
    # Connections that stay open would lead dispatches to the frozen.
    *("--keep-alive", "0", "--log-level", "warning"),
    f"{SERVED}.wsgi:wsgi",
)
_UVICORN = ("uvicorn", "--log-level", "warning", f"{SERVED}.asgi:asgi")


def poll(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """
    Wait until it holds.

    Args:
        condition: What is to hold.
        patience: Seconds after which it should have.

    Raises:
        TimeoutError: It does not by then.
    """
    deadline = monotonic() + patience
    while not condition():
        if monotonic() > deadline:
            raise TimeoutError
        threading.Event().wait(0.1)


class Ground:
    """
    What one scenario has: database, emulator, socket and chores.

    Nothing of it is there in the next one. A task that is left in the queue,
    or a connection that waits at the socket, would run in the database of
    another scenario, which does not know it.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.points = Points(folder / "points")
        self.runs_path = folder / "runs"
        self.runs_path.touch()
        self.log_path = folder / "log"
        self.clock_path = folder / "clock"
        self.set_clock(timedelta(0))
        self._sweepers: list[int] = []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        # What may be put between the project, its database and its queue.
        self.to_database, self.to_queue, self.to_servers = Proxy(), Proxy(), Proxy()
        self._chores: subprocess.Popen[str] | None = None

    @contextmanager
    def served(
        self,
        *,
        workers: int = 3,
        threads: int = 8,
        lease: float = 2.0,
        bug: str = "",
        memory: int = 0,
        is_asgi: bool = False,
        is_proxied: bool = False,
    ) -> Iterator[Servers]:
        """
        Serve the project, by processes that are begun again if killed.

        Args:
            workers: How many processes.
            threads: Of each, one for each task; uvicorn has its own.
            lease: Seconds.
            bug: One of those of the served project.
            memory: Bytes that a process may have, if there is a limit.
            is_asgi: Whether uvicorn serves it, in place of gunicorn.
            is_proxied: Whether the proxies are put between.
        """
        with ExitStack() as stack:
            queue = f"{_QUEUE},{_SOON if lease < 5 else _LATER}"
            self.emulator = stack.enter_context(Emulator([queue]))
            if is_proxied:
                self._lead_proxies()
            fd = self.socket.fileno()
            command = (
                (*_UVICORN, "--fd", str(fd), "--workers", str(workers))
                if is_asgi
                else (
                    *(*_GUNICORN, "--bind", f"fd://{fd}"),
                    *("--workers", str(workers), "--threads", str(threads)),
                )
            )
            environ = {
                **self._environ(is_proxied=is_proxied, is_asgi=is_asgi),
                "RELIABILITY_LEASE": str(lease),
                "RELIABILITY_MEMORY": str(memory),
                "RELIABILITY_BUG": bug,
            }
            process = stack.enter_context(self._process(*command, env=environ))
            self._chores = stack.enter_context(
                self._process("django", "chores", env=environ)
            )
            # While the servers start.
            self.ask("migrate", {})
            self.database.watch()
            servers = Servers(process.pid)
            poll(lambda: len(servers.workers()) == workers)
            if is_asgi:
                # Each of them imports everything.
                poll(lambda: self.runs_path.read_text().count("ready") >= workers)
            yield servers

    def close(self) -> None:
        self.socket.close()
        for proxy in (self.to_database, self.to_queue, self.to_servers):
            proxy.close()

    def ask(self, chore: str, *calls: dict[str, Any]) -> list[Any]:
        """Have chores done, all at once."""
        assert self._chores is not None
        assert self._chores.stdin is not None
        assert self._chores.stdout is not None
        self._chores.stdin.write(json.dumps([chore, calls]) + "\n")
        self._chores.stdin.flush()
        answer = self._chores.stdout.readline()
        assert answer, self.log
        answers: list[Any] = json.loads(answer)
        return answers

    def set_clock(self, ahead: timedelta) -> None:
        """Have the clock of all processes be ahead of the machine's."""
        whole = self.clock_path.with_suffix(".new")
        whole.write_text(str(ahead.total_seconds()))
        whole.rename(self.clock_path)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @contextmanager
    def _process(
        self, module: str, *arguments: str, env: dict[str, str]
    ) -> Iterator[subprocess.Popen[str]]:
        """Run a module of Python, and end it with all of its children."""
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=env,
                cwd=ROOT,
                pass_fds=[self.socket.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            # Frozen ones end, too.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    @property
    def _port(self) -> str:
        return str(self.socket.getsockname()[1])

    def _lead_proxies(self) -> None:
        self.to_database.lead_to(self.database.port)
        self.to_queue.lead_to(self.emulator.host.rpartition(":")[2])
        self.to_servers.lead_to(self._port)

    def _environ(self, *, is_proxied: bool, is_asgi: bool) -> dict[str, str]:
        database, queue, servers = self.database.port, self.emulator.host, self._port
        if is_proxied:
            database, servers = self.to_database.port, self.to_servers.port
            queue = f"127.0.0.1:{self.to_queue.port}"
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": f"{SERVED}.settings",
            "NO_GCE_CHECK": "true",
            "RELIABILITY_SERVER": self.database.server,
            "RELIABILITY_DATABASE": self.database.name,
            "RELIABILITY_HOST": self.database.host,
            "RELIABILITY_PORT": database,
            "RELIABILITY_USER": self.database.user,
            "RELIABILITY_RUNS": str(self.runs_path),
            "RELIABILITY_POINTS": str(self.points.folder),
            "RELIABILITY_URL": f"http://127.0.0.1:{servers}/_tasks/",
            "RELIABILITY_EMULATOR": queue,
            "RELIABILITY_RPC_TIMEOUT": str(RPC_TIMEOUT if is_proxied else 10),
            "RELIABILITY_GRACE": "3",
            "RELIABILITY_CLOCK": str(self.clock_path),
            "RELIABILITY_IS_ASGI": "1" if is_asgi else "",
        }

    @contextmanager
    def sweepers(self, number: int, **options: Any) -> Iterator[None]:
        """Have so many processes sweep, each begun again if it dies."""
        self._sweepers = self.ask("keep_sweeping", *[options] * number)
        try:
            yield
        finally:
            for pid in self._sweepers:
                os.killpg(pid, signal.SIGKILL)
            self._sweepers = []

    def sweeping(self) -> list[int]:
        """The processes that sweep. One that dies is begun again."""
        return [pid for parent in self._sweepers for pid in list_children(parent)]


class Points:
    """
    Where processes of the project die or wait, once with each task.

    A folder for each point that is armed, with a file for each task that came
    to it: see `reach()` of the project.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def arm(self, point: str, *, holds: bool = False) -> None:
        """Have whoever comes there die, or wait until it is released."""
        if holds:
            self._hold(point).touch()
        (self.folder / point).mkdir()

    def release(self, point: str) -> None:
        """Let go who waits there, and disarm it."""
        past = len(os.listdir(self.folder))
        (self.folder / point).rename(self.folder / f"{point}.{past}")
        self._hold(point).unlink()

    def reached(self, point: str) -> int:
        """How many tasks came there."""
        return len(os.listdir(self.folder / point))

    def _hold(self, point: str) -> Path:
        return self.folder / f"{point}.hold"


class Servers:
    """The processes that serve, and those who do them harm."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        #: When each was killed.
        self.killed: dict[int, float] = {}
        #: How often any was frozen.
        self.frozen = 0

    def workers(self) -> list[int]:
        return [pid for pid in list_children(self._parent) if not _is_helper(pid)]

    def dump(self) -> None:
        """Have all write to the log where their threads are."""
        for pid in self.workers():
            os.kill(pid, signal.SIGRTMIN + 1)
        threading.Event().wait(1)

    def kill_some(self, number: int, story: Story) -> None:
        """SIGKILL so many that run a task, one every 0.1 to 0.3 seconds."""
        while len(self.killed) < number:
            threading.Event().wait(story.dice.uniform(0.1, 0.3))
            poll(lambda: self.kill_busy(story))

    def kill_busy(
        self, story: Story, spared: Callable[[int], bool] | None = None
    ) -> bool:
        """
        SIGKILL one that runs a task.

        Args:
            story: Whose dice choose.
            spared: Whether a process that has been stopped is to go on.

        Returns:
            False if there was none.
        """
        busy = [pid for pid in self.workers() if pid in story.busy]
        alive = [pid for pid in busy if pid not in self.killed]
        if not alive:
            return False
        pid = story.dice.choice(alive)
        # It cannot end its task between the look and the kill.
        if not send_signal(pid, signal.SIGSTOP):
            return False
        if pid not in story.busy or (spared and spared(pid)):
            os.kill(pid, signal.SIGCONT)
            return False
        os.kill(pid, signal.SIGKILL)
        self.killed[pid] = time()
        return True

    def freeze_some(self, number: int, seconds: float, story: Story) -> None:
        """Stop so many at once for that long, the busiest first."""
        pids, busy = self.workers(), story.busy
        story.dice.shuffle(pids)
        chosen = sorted(pids, key=lambda pid: -busy[pid])[:number]
        for pid in chosen:
            send_signal(pid, signal.SIGSTOP)
        threading.Event().wait(seconds)
        for pid in chosen:
            send_signal(pid, signal.SIGCONT)
        self.frozen += number


def send_signal(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False if the process has ended by itself meanwhile."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def list_children(pid: int) -> list[int]:
    """The processes that one has begun; none if it is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in text.split()]


def _is_helper(pid: int) -> bool:
    """Whether it is a process that multiprocessing has for itself."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
