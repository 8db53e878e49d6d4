"""
Ends of the process, wanted and not: what was acknowledged is there after.

It is killed 21 times while 1,000 tasks are pending, 200 are for later and 50
are being sent. The environment variable CLOUDTASK_FUZZ=40 makes it forty times
as many.
"""

import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from signal import SIGKILL, SIGTERM
from stat import S_IMODE
from time import monotonic
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud.tasks_v2 import BatchCreateTasksRequest, CreateTaskRequest

from tests.emulator.crash_clients import (
    Countdown,
    Load,
    create_all,
    new_task,
    queue_path,
    tasks_by_key,
)
from tests.emulator.crash_process import CHILD, PATIENCE, EmulatorProcess
from tests.emulator.crash_story import HELD, Story, deaths
from tests.emulator.crash_target import CrashTarget
from tests.sizes import scaled

#: How many times as much as usual.
pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")

QUEUES = ("--queue", "live:min_backoff=0.01,max_backoff=0.05", "--queue", "held")


@pytest.fixture
def crash_target() -> Iterator[CrashTarget]:
    with CrashTarget().serving() as target:
        yield target


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def spawn(store: Path) -> Iterator[Callable[..., EmulatorProcess]]:
    """Return a function that starts the emulator, by default on the store."""
    with ExitStack() as stack:

        def spawn(
            *arguments: str, path: Path = store, **options: Any
        ) -> EmulatorProcess:
            process = EmulatorProcess(path, *QUEUES, *arguments, **options)
            return stack.enter_context(process)

        yield spawn


@pytest.fixture
def serve(
    spawn: Callable[..., EmulatorProcess],
) -> Callable[..., EmulatorProcess]:
    """Return a function that starts it and waits until it serves."""

    def serve(*arguments: str, **options: Any) -> EmulatorProcess:
        process = spawn(*arguments, **options)
        assert process.is_ready(), process.log
        return process

    return serve


@pytest.mark.parametrize("seed", range(scaled(1)))
def test_nothing_acknowledged_is_lost_by_kills(
    seed: int, store: Path, crash_target: CrashTarget
) -> None:
    story = Story(store, crash_target, seed)
    with ExitStack() as stack:
        process = stack.enter_context(story.spawn())
        following = stack.enter_context(story.spawn())
        story.begin(process)
        for death in deaths(Random(seed)):  # noqa: S311
            process, following = following, stack.enter_context(story.spawn())
            story.live(process, death)
        story.end(following)
    story.check_attempts()


def stop_twice(process: EmulatorProcess) -> None:
    deadline = monotonic() + PATIENCE
    while process.process.poll() is None:
        assert monotonic() < deadline
        # One that comes too soon is not a second one.
        process.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.process.wait(0.1)


@pytest.mark.parametrize("end", ["answered", "cut off", "stopped twice"])
def test_a_stop_loses_nothing(
    end: str, crash_target: CrashTarget, serve: Callable[..., EmulatorProcess]
) -> None:
    loads = [Load(f"load{n}", crash_target.url, Random(n)) for n in range(2)]  # noqa: S311
    process = serve("--stop-grace", "0.2" if end == "cut off" else "60")
    url = f"{crash_target.url}/hold"
    with process.client() as client, ThreadPoolExecutor(2) as pool:
        held = create_all(client, [new_task("held", f"{url}/{n}") for n in range(HELD)])
        crash_target.wait_for_held(HELD)
        stop = Countdown(100, process.process.terminate)
        working = [pool.submit(load.run, client, 0, stop) for load in loads]
        assert process.line().startswith("stopping: ")
        if end == "answered":
            crash_target.release()
        if end == "stopped twice":
            stop_twice(process)
        process.check_end(128 + SIGTERM if end == "stopped twice" else 0)
        for each in working:
            each.result()

    crash_target.begin_life()
    crash_target.release()
    again = serve()
    with again.client() as client:
        for load in loads:
            load.resolve(client, 1)
    again.drain(hours=1)
    assert {name for load in loads for name in load.accepted} <= crash_target.done
    attempts = crash_target.attempts("held")
    numbers = [1] if end == "answered" else [1, 2]
    assert {
        name: [attempt.attempt for attempt in made] for name, made in attempts.items()
    } == dict.fromkeys(held, numbers)


def test_a_store_serves_one_process(
    store: Path,
    serve: Callable[..., EmulatorProcess],
    spawn: Callable[..., EmulatorProcess],
) -> None:
    first = serve()
    with first.client() as client:
        create_all(client, [later("before")])
        check_refused(
            spawn(),
            f"{store} is in use by another process, most likely an emulator. "
            "Stop it, or use another file with --store.",
        )
        create_all(client, [later("after")])
    first.process.kill()
    first.check_end(-SIGKILL)

    with serve().client() as client:
        assert tasks_by_key(client, "live").keys() == {"before", "after"}


@linux
@pytest.mark.parametrize("then", ["there is room", "killed", "stopped"])
def test_a_full_disk_loses_nothing(
    then: str, crash_target: CrashTarget, serve: Callable[..., EmulatorProcess]
) -> None:
    process = serve()
    refused: list[CreateTaskRequest] = []
    reasons = []
    with process.client() as client:
        held = create_all(client, [new_task("held", f"{crash_target.url}/hold/h")])
        crash_target.wait_for_held(1)
        limit_files(process, 500_000)
        accepted = [*held]
        for number in range(100):
            request = later(f"t{number}", crash_target.url)
            try:
                accepted.append(client.create_task(request, retry=None).name)
            except ServiceUnavailable as error:
                reasons.append(error.message)
                refused.append(request)

        # An answer that cannot be kept; then the task cannot be taken again.
        crash_target.release()
        wait_for_failures(process, len(refused) + 2)
        there = tasks_by_key(client, "live")
        assert {task.name for task in there.values()} | {*held} == {*accepted}
        assert process.depths() == {"held": 1, "live": len(there)}
        assert client.get_task(name=accepted[-1], retry=None).name == accepted[-1]
        assert process.http("GET", f"/v2/{accepted[-1]}")["name"] == accepted[-1]

    words = "The emulator cannot write its store; nothing of this call is kept: "
    assert reasons
    assert [reason for reason in reasons if not reason.startswith(words)] == []
    if then == "there is room":
        limit_files(process, None)
    else:
        process.process.send_signal(SIGKILL if then == "killed" else SIGTERM)
        assert process.process.wait(PATIENCE) == (-SIGKILL if then == "killed" else 0)
        crash_target.begin_life()
        crash_target.release()
        process = serve()
    with process.client() as client:
        # Nothing was kept of what was refused, not even its name.
        accepted += create_all(client, refused)
    process.drain(hours=2)
    assert crash_target.done == {*accepted}
    assert set(process.depths().values()) == {0}


@linux
def test_a_disk_that_is_full_from_the_start(
    store: Path, spawn: Callable[..., EmulatorProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever measures coverage could not write, either, and would say so.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    process = spawn(module=CHILD)
    limit_files(process, 8192)
    process.go()

    check_refused(process, f"{store} cannot be used as a store: ")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file/tasks.sqlite3", "cannot be created"),
        ("file/below/tasks.sqlite3", "cannot be created"),
        ("/proc/tasks.sqlite3", "cannot be created"),
        (".", "cannot be used as a store: "),
    ],
)
def test_no_place_for_a_store_is_one_line(
    path: str, reason: str, tmp_path: Path, spawn: Callable[..., EmulatorProcess]
) -> None:
    (tmp_path / "file").touch()
    process = spawn(path=tmp_path / path)

    check_refused(process, f"{tmp_path / path} {reason}")


def test_files_are_private(
    tmp_path: Path, serve: Callable[..., EmulatorProcess]
) -> None:
    directory = tmp_path / "not" / "there" / "yet"
    process = serve(path=directory / "tasks.sqlite3", umask=0)
    with process.client() as client:
        create_all(client, [later("a")])

    modes = {file.name: S_IMODE(file.stat().st_mode) for file in directory.iterdir()}
    assert modes == {"tasks.sqlite3": 0o600, "tasks.sqlite3-wal": 0o600}


@linux
def test_memory_does_not_grow_with_the_backlog(
    serve: Callable[..., EmulatorProcess],
) -> None:
    process = serve()
    batch = BatchCreateTasksRequest(
        parent=queue_path("live"),
        requests=[later(body=bytes(4000)) for _ in range(100)],
    )
    with process.client() as client:
        for _ in range(40):
            client.batch_create_tasks(batch, retry=None)
        before = resident(process)
        for _ in range(160):
            client.batch_create_tasks(batch, retry=None)

    assert process.depths()["live"] == 20_000
    assert resident(process) - before < 16_000 * 1000


def later(
    name: str = "", url: str = "http://127.0.0.1:9", body: bytes = b""
) -> CreateTaskRequest:
    """Return the request for a task in an hour, whose key is its name."""
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    return new_task("live", f"{url}/now/{name}", name, body, schedule_time=in_an_hour)


def check_refused(process: EmulatorProcess, message: str) -> None:
    """Check that a process ends at once and says why in one line."""
    assert process.process.wait(PATIENCE) == 1
    assert process.log.startswith(f"cloudtask.emulator: {message}")
    assert process.log.count("\n") == 1


def limit_files(process: EmulatorProcess, size: int | None) -> None:
    """Let no file of a process grow any further, as if the disk were full."""
    pid = process.process.pid
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    limit = most if size is None else size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, most))


def wait_for_failures(process: EmulatorProcess, number: int) -> None:
    """Return when a process could not write its store so many times."""
    deadline = monotonic() + PATIENCE
    while process.log.count("the store cannot be written") < number:
        assert monotonic() < deadline
        # Something for it to do meanwhile.
        process.http("GET", "/emulator/clock")


def resident(process: EmulatorProcess) -> int:
    """Return how many bytes of memory a process has."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    (kibibytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(kibibytes)
