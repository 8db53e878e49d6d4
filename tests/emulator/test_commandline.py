"""`python -m cloudtask.emulator`: what it says, keeps and ends with."""

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

import grpc
import pytest
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

import cloudtask
from cloudtask.emulator import Attempt, Emulator, commandline
from cloudtask.emulator.arguments.table import OPTIONS
from cloudtask.emulator.commandline import describe, main
from cloudtask.emulator.serving import grpc_server
from cloudtask.emulator.values import errors
from tests.emulator.calls import post
from tests.emulator.conftest import Target

QUEUE = "projects/demo/locations/local/queues/emails"
#: Seconds after which a test gives a process up.
PATIENCE = 20


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The store of the working directory is a new one."""
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)


class Command:
    """The emulator in a process of its own, and the lines that it writes."""

    def __init__(self, *arguments: str) -> None:
        root = Path(cloudtask.__file__).parents[1]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "cloudtask.emulator"),
                *("--port", "0", "--http-port", "0", "--queue", "emails"),
                *arguments,
            ],
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.ready = [self.line() for _ in range(7)]

    def line(self) -> str:
        """Return the next line that it writes."""
        return self._lines.get(timeout=PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> list[str]:
        """Stop it and return the lines that it wrote meanwhile."""
        self.process.send_signal(number)
        assert self.process.wait(PATIENCE) == 0
        self._reader.join()
        assert self.process.stderr is not None
        assert self.process.stderr.read() == ""
        return [self._lines.get() for _ in range(self._lines.qsize())]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def create_task(self, url: str, **fields: Any) -> None:
        host = self.ready[0].split()[5].rstrip(",")
        with grpc.insecure_channel(host) as channel:
            transport = CloudTasksGrpcTransport(channel=channel)
            tasks_v2.CloudTasksClient(transport=transport).create_task(
                parent=QUEUE, task={"http_request": {"url": url}, **fields}
            )

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    """Return a function that starts the command."""
    started: list[Command] = []

    def start(*arguments: str) -> Command:
        started.append(Command(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Return a function that runs main() as if a signal came at once."""
    monkeypatch.setattr(commandline._Stopping, "wait", lambda self: None)

    def run(*arguments: str) -> list[str]:
        assert main(["--port", "0", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return run


# What it says.


def test_the_first_lines_say_all_that_clients_need(
    command: Callable[..., Command],
) -> None:
    ready, holding, *exports = command("--ephemeral").ready

    host, url = ready.removeprefix("Cloud Tasks emulator ready: gRPC ").split(
        ", REST and page "
    )
    address = url.removeprefix("http://").rstrip("/")
    assert host.startswith("127.0.0.1:")
    assert url == f"http://{address}/"
    assert address.startswith("127.0.0.1:")
    assert holding == "Holding 0 tasks in 1 queue, in memory only"
    assert exports == [
        f"export CLOUD_TASKS_EMULATOR_HOST={host}  # cloudtask",
        f"export CLOUD_SCHEDULER_EMULATOR_HOST={host}  # cloudtask",
        f"export CLOUDTASKS_EMULATOR_HOST={address}  # gcloud-aio",
        f"export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS={url}  # gcloud",
        f"export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER={url}  # gcloud",
    ]


@pytest.mark.parametrize(
    ("host", "shown", "end"),
    [
        ("127.0.0.1", "gRPC 127.0.0.1:", "/"),
        ("0.0.0.0", "gRPC 127.0.0.1:", "/, on all addresses of this machine"),  # noqa: S104
    ],
)
def test_addresses_can_be_reached(
    host: str, shown: str, end: str, run: Callable[..., list[str]]
) -> None:
    ready, *_ = run("--ephemeral", "--host", host)

    assert shown in ready
    assert ready.endswith(end)


def test_what_is_kept_is_counted(tmp_path: Path, run: Callable[..., list[str]]) -> None:
    lines = run("--store", "s.sqlite3", "--queue", "a", "--queue", "b")

    file = tmp_path / "s.sqlite3"
    assert lines[1] == f"Holding 0 tasks in 2 queues, kept in {file}"
    assert lines[-1] == f"stopped; 0 tasks kept in {file}"
    assert run("--store", "s.sqlite3", "--queue", "c")[1].startswith(
        "Holding 0 tasks in 3 queues,"
    )


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "--queue default --queue emails:max_attempts=5" in text
    assert "CLOUDTASK_EMULATOR_HTTP_PORT=9000" in text
    assert "http://127.0.0.1:8124/\n" in text
    assert all(option.flag in text for option in OPTIONS.values())


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out == f"cloudtask.emulator {cloudtask.__version__}\n"


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"status": 200}, "status=200 duration=12ms outcome=done"),
        (
            {"outcome": "gave up", "error": "no route"},
            "status=none duration=12ms outcome=gave-up error='no route'",
        ),
        (
            {
                "status": 500,
                "outcome": "retry",
                "retry_time": datetime(2026, 6, 1, 12, 0, 1, tzinfo=UTC),
            },
            "status=500 duration=12ms outcome=retry next=2026-06-01T12:00:01.000+00:00",
        ),
        (
            {"error": "no answer in time", "fault": "timeout"},
            "status=none duration=12ms outcome=done error='no answer in time' "
            "fault=timeout",
        ),
    ],
)
def test_an_attempt_is_one_line(changes: dict[str, Any], end: str) -> None:
    moment = datetime(2026, 6, 1, 12, tzinfo=UTC)
    fields: dict[str, Any] = {
        "name": f"{QUEUE}/tasks/t1",
        "url": "http://127.0.0.1/",
        "number": 2,
        "headers": {"Authorization": "Bearer secret"},
        "status": None,
        "outcome": "done",
        "dispatch_time": moment,
        "response_time": moment + timedelta(milliseconds=12),
        "retry_time": None,
    }

    line = describe(Attempt(**{**fields, **changes}))

    assert line == f"task=t1 queue=emails attempt=2 {end}"


@pytest.mark.parametrize("quiet", [False, True])
def test_each_attempt_is_a_line(
    quiet: bool,
    monkeypatch: pytest.MonkeyPatch,
    target: Target,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attempts: list[Attempt] = []

    def send(
        emulator: Emulator, values: object, stopping: commandline._Stopping
    ) -> None:
        with closing(grpc.insecure_channel(emulator.host)) as channel:
            transport = CloudTasksGrpcTransport(channel=channel)
            tasks_v2.CloudTasksClient(transport=transport).create_task(
                parent=emulator.queue_path("default"),
                task={"http_request": {"url": target.url}},
            )
        emulator.wait_for(lambda: emulator.idle)
        emulator.stop()
        attempts.extend(emulator.attempts)

    monkeypatch.setattr(commandline, "_serve", send)

    assert main(["--ephemeral", "--port", "0", *(["--quiet"] if quiet else [])]) == 0

    lines = [] if quiet else [describe(attempt) for attempt in attempts]
    assert len(attempts) == 1
    assert capsys.readouterr().out.splitlines() == lines


def test_each_attempt_of_a_job_is_a_line(
    monkeypatch: pytest.MonkeyPatch,
    target: Target,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_job(
        emulator: Emulator, values: object, stopping: commandline._Stopping
    ) -> None:
        job = {
            "name": emulator.job_path("nightly"),
            "schedule": "0 0 1 1 *",
            "httpTarget": {"uri": target.url},
        }
        assert post(emulator, f"/v1/{emulator.parent}/jobs", job).status == 200
        emulator.run_job("nightly")
        emulator.stop()

    command = ["--store", str(tmp_path / "s.sqlite3"), "--port", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(commandline, "_serve", run_job)
        assert main(command) == 0
    monkeypatch.setattr(commandline._Stopping, "wait", lambda self: None)
    assert main(command) == 0

    line, _, holding, *_ = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"job=nightly slot=\d{4}-01-01T00:00:00\+00:00 forced attempt=1 status=200 "
        r"duration=\d+ms outcome=done",
        line,
    )
    assert holding.startswith("Holding 0 tasks in 1 queue and 1 job, kept in ")


# What cannot be.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--queue", "a:max_attempts=-2"], "RetryConfig.maxAttempts must be greater"),
        (["--project", "a/b"], "'projects/a/b/locations/local' is not a project "),
        (["--port", "65535"], "There is no port after 65535. Set --http-port."),
        (["--store", "s"], "--store and --ephemeral exclude each other"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ephemeral", *arguments]) == 2

    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith(f"cloudtask.emulator: {message}")


@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_a_busy_port_is_one_line(
    option: str, emulator: Emulator, capfd: pytest.CaptureFixture[str]
) -> None:
    addresses = {"--port": emulator.host, "--http-port": emulator.http_url}
    port = addresses[option].rpartition(":")[2]
    free = {"--port", "--http-port"} - {option}

    assert main(["--ephemeral", f"{option}={port}", f"{free.pop()}=0"]) == 1

    output = capfd.readouterr()
    assert output.out == ""
    assert output.err == (
        f"cloudtask.emulator: cannot listen on 127.0.0.1:{port}: "
        "address already in use\n"
    )


def test_a_port_that_is_taken_in_the_last_moment_is_explained(
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(grpc_server, "check_free", lambda host, port: None)

    port = emulator.host.rpartition(":")[2]

    assert main(["--ephemeral", "--port", port, "--http-port", "0"]) == 1
    assert f"cannot listen on 127.0.0.1:{port}: " in capsys.readouterr().err


def test_a_foreign_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear Ada, this is no database.\n" * 100)

    assert main(["--port", "0", "--store", str(file)]) == 1

    assert capsys.readouterr().err == (
        f"cloudtask.emulator: {file} cannot be used as a store: "
        "file is not a database.\n"
    )
    assert file.read_text().startswith("Dear Ada,")


def test_a_directory_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", "0", "--store", str(tmp_path)]) == 1

    assert capsys.readouterr().err == (
        f"cloudtask.emulator: {tmp_path} cannot be used as a store: "
        "unable to open database file.\n"
    )


def test_a_store_in_use_is_one_line(
    command: Callable[..., Command], capsys: pytest.CaptureFixture[str]
) -> None:
    command()

    assert main(["--port", "0"]) == 1

    assert capsys.readouterr().err.startswith(
        "cloudtask.emulator: cloudtask-emulator.sqlite3 is in use by another process"
    )


def test_a_full_disk_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(self: Emulator) -> None:
        raise errors.store_failed("database or disk is full")

    monkeypatch.setattr(Emulator, "start", start)

    assert main([]) == 1

    assert "database or disk is full\n" in capsys.readouterr().err


def test_a_missing_aiohttp_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)

    assert main([]) == 2

    assert "pip install 'dj-cloudtask[emulator]'" in capsys.readouterr().err


def test_a_missing_library_of_the_scheduler_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if "scheduler" in name else find_spec(name),
    )

    assert main([]) == 2

    assert capsys.readouterr().err == (
        "cloudtask.emulator: google-cloud-scheduler is not installed. "
        "Run: pip install 'dj-cloudtask[emulator]'\n"
    )


def test_the_command_line_loads_neither_aiohttp_nor_grpc() -> None:
    code = (
        "import sys, cloudtask.emulator.commandline;"
        "print({'aiohttp', 'grpc', 'cryptography', 'django'} & {*sys.modules})"
    )
    root = Path(cloudtask.__file__).parents[1]

    output = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root)

    assert output.strip() == "set()"


def test_importing_the_main_module_runs_nothing() -> None:
    assert importlib.import_module("cloudtask.emulator.__main__").main is main


# How it ends.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(
    number: signal.Signals, target: Target, command: Callable[..., Command]
) -> None:
    emulator = command("--ephemeral")
    emulator.create_task(target.url)
    line = emulator.line()

    assert " queue=emails attempt=1 status=200 " in line
    assert emulator.stop(number) == ["stopped; 0 tasks forgotten"]


def test_tasks_are_there_again(
    tmp_path: Path, target: Target, command: Callable[..., Command]
) -> None:
    first = command()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    first.create_task(target.url, schedule_time=tomorrow)

    stopped = first.stop()
    second = command()

    file = tmp_path / "cloudtask-emulator.sqlite3"
    assert stopped == [f"stopped; 1 task kept in {file}"]
    assert second.ready[1] == f"Holding 1 task in 1 queue, kept in {file}"


def test_attempts_under_way_may_finish(
    target: Target, command: Callable[..., Command]
) -> None:
    emulator = command("--stop-grace", "60")
    target.gate.clear()
    emulator.create_task(target.url)
    assert target.reached.wait(PATIENCE)

    emulator.process.send_signal(signal.SIGTERM)
    assert emulator.line() == (
        "stopping: 1 attempt under way, which may take 60 s; "
        "a second signal stops at once"
    )
    target.gate.set()

    assert " attempt=1 status=200 " in emulator.line()
    assert emulator.line().startswith("stopped; 0 tasks kept in ")
    assert emulator.process.wait(PATIENCE) == 0


def test_attempts_that_do_not_finish_are_made_again(
    target: Target, command: Callable[..., Command]
) -> None:
    emulator = command("--stop-grace", "0.1")
    target.gate.clear()
    emulator.create_task(target.url)
    assert target.reached.wait(PATIENCE)

    _, stopped = emulator.stop()
    target.gate.set()
    again = command()

    assert stopped.startswith("stopped; 1 task kept in ")
    # That one was cut off is nothing that the task or its target did.
    assert " attempt=2 status=200 " in again.line()
    assert len(target.received) == 2


def test_a_second_signal_stops_at_once(
    target: Target, command: Callable[..., Command]
) -> None:
    emulator = command("--stop-grace", "60")
    target.gate.clear()
    emulator.create_task(target.url)
    assert target.reached.wait(PATIENCE)

    deadline = monotonic() + PATIENCE
    while emulator.process.poll() is None:
        assert monotonic() < deadline
        emulator.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            emulator.process.wait(0.1)
    target.gate.set()

    assert emulator.process.returncode == 128 + signal.SIGTERM
    assert " status=200 " in command().line()


def test_a_signal_that_comes_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    codes: list[int] = []
    monkeypatch.setattr(commandline, "monotonic", lambda: now)
    monkeypatch.setattr(os, "_exit", codes.append)
    before = signal.getsignal(signal.SIGTERM)

    with commandline._Stopping() as stopping:
        signal.raise_signal(signal.SIGTERM)
        stopping.wait()
        now += 0.1
        signal.raise_signal(signal.SIGTERM)
        assert codes == []
        now += 1
        signal.raise_signal(signal.SIGTERM)
        assert codes == [128 + signal.SIGTERM]

    assert signal.getsignal(signal.SIGTERM) == before
