import argparse
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from cloudtask.emulator import Attempt, Emulator
from cloudtask.emulator.commandline import (
    _emulator_arguments,
    add_arguments,
    describe,
    main,
)
from tests.emulator.conftest import Target

COMMAND = [sys.executable, "-m", "cloudtask.emulator"]


def parse(*arguments: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return _emulator_arguments(parser.parse_args(arguments))


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the command and yield it with the lines that say it is ready."""
    command = [*COMMAND, "--port", "0", "--http-port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline().strip() for _ in range(2)]
        finally:
            process.kill()


def test_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parse()

    del options["on_attempt"]
    assert options == {
        "queues": ["default"],
        "project": "demo",
        "location": "local",
        "host": "127.0.0.1",
        "port": 8123,
        "http_port": 8124,
        "issuer": "https://cloudtask-emulator.invalid",
        "tombstone_ttl": timedelta(days=1),
        "allowed_hosts": (),
        "allow_public_targets": False,
    }


def test_arguments_are_read() -> None:
    options = parse(
        *("--host", "0.0.0.0", "--port", "9000", "--http-port", "0"),  # noqa: S104
        *("--queue", "a", "--queue", "b:max_attempts=2"),
        *("--project", "p", "--location", "l", "--issuer", "https://i.example"),
        *("--tombstone-ttl", "1.5", "--allowed-host", "tasks"),
        "--allow-public-targets",
    )

    del options["on_attempt"]
    assert options == {
        "queues": ["a", "b:max_attempts=2"],
        "project": "p",
        "location": "l",
        "host": "0.0.0.0",  # noqa: S104
        "port": 9000,
        "http_port": 0,
        "issuer": "https://i.example",
        "tombstone_ttl": timedelta(seconds=1.5),
        "allowed_hosts": ("tasks",),
        "allow_public_targets": True,
    }


def test_a_free_port_for_one_is_a_free_port_for_both() -> None:
    assert parse("--port", "0")["http_port"] == 0


def test_the_environment_sets_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PORT": "9000",
        "QUEUE": "a b:max_attempts=2,min_backoff=1",
        "ALLOWED_HOST": "tasks emulator",
        "PROJECT": "p",
        "LOCATION": "",  # Empty is not set.
        "TOMBSTONE_TTL": "60",
    }.items():
        monkeypatch.setenv(f"CLOUDTASK_EMULATOR_{name}", value)

    options = parse("--project", "mine")

    assert options["port"] == 9000
    assert options["http_port"] == 9001
    assert options["queues"] == ["a", "b:max_attempts=2,min_backoff=1"]
    assert options["allowed_hosts"] == ("tasks", "emulator")
    assert options["project"] == "mine"
    assert options["location"] == "local"
    assert options["tombstone_ttl"] == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--port", "x"], {}, "argument --port: 'x' is no port: 0 to 65535."),
        (["--http-port", "65536"], {}, "'65536' is no port: 0 to 65535."),
        ([], {"PORT": "-1"}, "argument --port: '-1' is no port: 0 to 65535."),
        (["--queue", "a_b"], {}, "'a_b' is no queue name"),
        (["--queue", "a:b=1"], {}, "'b' is no option of a queue."),
        (["--tombstone-ttl", "long"], {}, "'long' is no number of seconds."),
        (["--tombstone-ttl", "-1"], {}, "'-1' is no number of seconds."),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str],
    environment: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"CLOUDTASK_EMULATOR_{name}", value)

    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "queue", "message"),
    [
        ([], "a_b", "'a_b' is no queue name: 1 to 100 letters, digits and hyphens."),
        (["--queue", "a", "--queue", "a"], "", "Queue already exists"),
        (
            ["--queue", "a:max_attempts=-2"],
            "",
            "RetryConfig.maxAttempts must be greater or equal to -1.",
        ),
        (["--project", "a/b"], "", "'projects/a/b/locations/local' is no project "),
        # There is no port after the last one.
        (["--port", "65535"], "", "port must be 0-65535"),
    ],
)
def test_what_cannot_be_is_explained(
    arguments: list[str],
    queue: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CLOUDTASK_EMULATOR_QUEUE", queue)

    assert main(arguments) == 2

    assert message in capsys.readouterr().err


def test_a_taken_port_is_explained(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    port = emulator.host.rpartition(":")[2]

    assert main(["--port", port, "--http-port", "0"]) == 1

    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_missing_aiohttp_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)

    assert main([]) == 2

    assert "pip install 'dj-cloudtask[emulator]'" in capsys.readouterr().err


def test_the_command_line_loads_neither_aiohttp_nor_grpc() -> None:
    code = (
        "import sys, cloudtask.emulator.commandline;"
        "print({'aiohttp', 'grpc', 'cryptography', 'django'} & {*sys.modules})"
    )

    output = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert output.strip() == "set()"


def test_importing_the_main_module_runs_nothing() -> None:
    assert importlib.import_module("cloudtask.emulator.__main__").main is main


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "--queue default --queue emails:max_attempts=5" in text
    assert "CLOUD_TASKS_EMULATOR_HOST=HOST:PORT" in text
    assert "CLOUDTASK_EMULATOR_" in text


@pytest.mark.parametrize(
    ("status", "outcome", "retry_time", "end"),
    [
        (200, "done", None, "status=200 duration=12ms outcome=done"),
        (
            None,
            "gave up",
            None,
            "status=none duration=12ms outcome=gave-up error='no route'",
        ),
        (
            500,
            "retry",
            datetime(2026, 6, 1, 12, 0, 1, tzinfo=UTC),
            "status=500 duration=12ms outcome=retry next=2026-06-01T12:00:01.000+00:00",
        ),
    ],
)
def test_an_attempt_is_one_line(
    status: int | None, outcome: str, retry_time: datetime | None, end: str
) -> None:
    moment = datetime(2026, 6, 1, 12, tzinfo=UTC)
    attempt = Attempt(
        name="projects/demo/locations/local/queues/emails/tasks/t1",
        url="http://127.0.0.1/",
        number=2,
        headers={"Authorization": "Bearer secret"},
        status=status,
        outcome=outcome,
        dispatch_time=moment,
        response_time=moment + timedelta(milliseconds=12),
        retry_time=retry_time,
        error=None if status else "no route",
    )

    assert describe(attempt) == f"task=t1 queue=emails attempt=2 {end}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(
    target: Target, number: signal.Signals
) -> None:
    with running("--queue", "emails") as (process, [ready, export]):
        assert process.stdout is not None
        host = export.removeprefix("export CLOUD_TASKS_EMULATOR_HOST=")
        with grpc.insecure_channel(host) as channel:
            client = tasks_v2.CloudTasksClient(
                transport=CloudTasksGrpcTransport(channel=channel)
            )
            client.create_task(
                parent="projects/demo/locations/local/queues/emails",
                task={"http_request": {"url": target.url}},
            )
        line = process.stdout.readline()
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=20)

    assert ready.startswith(f"Cloud Tasks emulator ready: gRPC {host}, keys http://")
    assert " queue=emails attempt=1 status=200 " in line
    assert process.returncode == 0
    assert (output, errors) == ("", "")


def test_attempts_are_written_by_the_hook(
    capsys: pytest.CaptureFixture[str],
    start: Callable[..., Emulator],
    target: Target,
) -> None:
    options = parse("--port", "0")
    emulator = start(**options)
    with grpc.insecure_channel(emulator.host) as channel:
        client = tasks_v2.CloudTasksClient(
            transport=CloudTasksGrpcTransport(channel=channel)
        )
        client.create_task(
            parent=emulator.queue_path("default"),
            task={"http_request": {"url": target.url}},
        )
        emulator.wait_for(lambda: emulator.idle)
        emulator.stop()

    assert capsys.readouterr().out == f"{describe(emulator.attempts[0])}\n"
