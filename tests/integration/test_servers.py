"""The real servers, with an emulator as their queue."""

import http.client
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

from cloudtask.emulator import Emulator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
APPLICATIONS = "tests.integration.served.applications"
#: Seconds for anything to happen. Nothing takes as long.
PATIENCE = 30


@dataclass
class Served:
    """A running server, and what it is connected to."""

    port: int
    process: subprocess.Popen[bytes]
    emulator: Emulator
    runs_path: Path
    log_path: Path

    def get(self, path: str) -> Any:
        status, body = self.request("GET", path)
        assert status == 200, self.log_path.read_text()
        return json.loads(body)

    def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @contextmanager
    def one_worker_busy(self) -> Iterator[None]:
        """Keep whoever takes the next connection waiting for a request."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n")
            yield

    def finish(self) -> None:
        self.emulator.wait_for(lambda: self.emulator.idle, PATIENCE)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What the tasks wrote, in the order they ran."""
        return [json.loads(line) for line in self.runs_path.read_text().splitlines()]

    def stop_while_a_task_runs(self) -> int:
        """Ask the server to stop, as Cloud Run does, and return its status."""
        started, release = (
            self.runs_path.with_name(name) for name in ("started", "release")
        )
        for path in (started, release):
            os.mkfifo(path)
        with _open_pipe(started) as running, _open_pipe(release) as gate:
            self.get("/enqueue/hold/held/")
            assert select.select([running], [], [], PATIENCE)[0]
            self.process.send_signal(signal.SIGTERM)
            gate.write(b"!")
            return self.process.wait(PATIENCE)


def _open_pipe(path: Path) -> io.FileIO:
    # Open at both ends, so that nobody ever waits for the other side.
    return io.FileIO(os.open(path, os.O_RDWR | os.O_NONBLOCK), "r+")


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server by its command line, on a socket that listens already."""
    with ExitStack() as stack:

        def serve(*command: str) -> Served:
            emulator = stack.enter_context(
                Emulator(["default:min_backoff=0.01,max_backoff=0.05"])
            )
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = listening.getsockname()[1]
            environ = {
                "DJANGO_SETTINGS_MODULE": "tests.integration.served.settings",
                "NO_GCE_CHECK": "true",
                "SERVED_RUNS": str(tmp_path / "runs"),
                "SERVED_URL": f"http://127.0.0.1:{port}/_tasks/",
                "SERVED_EMULATOR": emulator.host,
                "SERVED_EMULATOR_HTTP": urlsplit(emulator.http_url).netloc,
            }
            log = stack.enter_context((tmp_path / "log").open("wb"))
            arguments = [part.format(listening.fileno()) for part in command]
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env={**os.environ, **environ},
                pass_fds=[listening.fileno()],
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.terminate)
            return Served(port, process, emulator, tmp_path / "runs", tmp_path / "log")

        yield serve


GUNICORN = (
    *("gunicorn", "--bind", "fd://{}", "--no-control-socket", "--preload"),
    f"{APPLICATIONS}:wsgi",
)
UVICORN = (
    *("uvicorn", "--fd", "{}", "--lifespan", "off", "--log-level", "warning"),
    f"{APPLICATIONS}:asgi",
)


def test_gunicorn_with_preload_and_two_forked_workers(serve: Serve) -> None:
    served = serve(*GUNICORN, "--workers", "2", "--worker-class", "sync")
    words, pids = [], set()
    deadline = monotonic() + PATIENCE

    while len(pids) < 2:
        assert monotonic() < deadline, "One of the workers never answered."
        with served.one_worker_busy():
            words.append(f"word-{len(words)}")
            answer = served.get(f"/enqueue/run/{words[-1]}/")
        pids.add(answer["pid"])
        # So the client was made in the worker that used it.
        assert answer["had_grpc"] is False
    served.get("/enqueue/fail_twice/stubborn/")
    served.finish()

    assert served.process.pid not in pids
    runs = served.runs
    assert {run["pid"] for run in runs} <= pids
    assert sorted(run["word"] for run in runs) == sorted([*words, *["stubborn"] * 3])
    assert [r["attempt"] for r in runs if r["word"] == "stubborn"] == [1, 2, 3]
    _assert_closed(served)
    _assert_stops_cleanly(served, pids)


def test_gunicorn_with_threads(serve: Serve) -> None:
    served = serve(*GUNICORN, "--worker-class", "gthread", "--threads", "4")

    answers = [served.get(f"/enqueue/run/word-{i}/") for i in range(8)]
    answers.append(served.get("/enqueue/arun/async/"))
    answers.append(served.get("/enqueue/fail_twice/stubborn/"))
    served.finish()

    [pid] = {answer["pid"] for answer in answers}
    assert {run["pid"] for run in served.runs} == {pid}
    assert sorted(run["word"] for run in served.runs) == sorted(
        [*(f"word-{i}" for i in range(8)), "async", *["stubborn"] * 3]
    )
    _assert_closed(served)
    _assert_stops_cleanly(served, {pid})


def test_uvicorn_runs_async_tasks_on_its_own_loop(serve: Serve) -> None:
    served = serve(*UVICORN)

    answers = [served.get(f"/aenqueue/arun/word-{i}/") for i in range(8)]
    answers.append(served.get("/aenqueue/run/sync/"))
    answers.append(served.get("/aenqueue/fail_twice/stubborn/"))
    served.finish()

    [loop] = {answer["loop"] for answer in answers}
    runs = served.runs
    assert sorted(run["word"] for run in runs) == sorted(
        [*(f"word-{i}" for i in range(8)), "sync", *["stubborn"] * 3]
    )
    assert {run["loop"] for run in runs if "loop" in run} == {loop}
    on_loop = {run["thread"] for run in runs if "loop" in run}
    assert on_loop == {"MainThread"}
    assert on_loop.isdisjoint(run["thread"] for run in runs if "loop" not in run)
    _assert_closed(served)
    _assert_stops_cleanly(served, set())


def _assert_closed(served: Served) -> None:
    refused = (403, b'{"status": "forbidden"}')
    assert served.request("POST", "/_tasks/", b"{}") == refused
    assert served.request("GET", "/_tasks/")[0] == 405
    # AUTH asks for both credentials, and every dispatch carried them.
    for attempt in served.emulator.attempts:
        assert {"X-Task-Secret", "Authorization"} <= set(attempt.headers)
        assert attempt.status in (200, 500)


def _assert_stops_cleanly(served: Served, pids: set[int]) -> None:
    # uvicorn ends by the signal that it got, once it has stopped.
    assert served.stop_while_a_task_runs() in (0, -signal.SIGTERM)

    # What was running was finished and told so.
    served.finish()
    assert [run["word"] for run in served.runs].count("held") == 1
    assert served.emulator.attempts[-1].status == 200
    log = served.log_path.read_text()
    assert "[ERROR]" not in log
    assert "Exception ignored" not in log
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
