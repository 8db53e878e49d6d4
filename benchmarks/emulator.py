"""The emulator's rates, its lag and its size, on disk and in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from random import uniform
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import time
from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2

from benchmarks import target as targets
from benchmarks.emulator_process import (
    PARENT,
    PEER,
    InstallError,
    cloudtask_emulator,
    peer_emulator,
)
from benchmarks.measure import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.emulator_process import Emulator
    from benchmarks.target import Target

_QUEUES = [f"{PARENT}/queues/part-{number}" for number in range(8)]
_ONE_QUEUE = f"{PARENT}/queues/one"
_QUEUE_IDS = [path.rpartition("/")[2] for path in (*_QUEUES, _ONE_QUEUE)]
_FULL_RATE = 500  # The most that a queue may be given.
_LAG_RATE = 200
_SMALL_BACKLOG = 1_000
_BATCH = 100
_BODY = b'{"v": 1, "task": "shop.tasks.add", "args": [], "kwargs": {"a": 1}}'
_NOWHERE = "http://127.0.0.1:9/"  # For what is never due.
_DAY = 86_400


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    tasks: int  # Created and dispatched in a round.
    one_queue_tasks: int
    lag_seconds: int
    backlog: int
    peer_tasks: int
    idle_seconds: int


FULL = Sizes(
    rounds=5,
    tasks=4_000,
    one_queue_tasks=10_000,
    lag_seconds=30,
    backlog=1_000_000,
    peer_tasks=1_000,
    idle_seconds=10,
)
#: For a look; its figures are not what the limits are about.
QUICK = Sizes(
    rounds=3,
    tasks=1_000,
    one_queue_tasks=2_000,
    lag_seconds=4,
    backlog=20_000,
    peer_tasks=200,
    idle_seconds=2,
)


@dataclass(frozen=True)
class _Rates:
    """Tasks a second, medians of the rounds."""

    creates: float
    dispatches: float


def run(sizes: Sizes = FULL) -> Iterator[Result]:
    with TemporaryDirectory() as name, targets.running() as target:
        directory = Path(name)
        yield from _idle(directory / "idle.db", sizes.idle_seconds)
        yield from _backlogs(directory, target, sizes)
        with _emulator(directory / "one-queue.db") as emulator:
            yield _full_rate(emulator, target, sizes.one_queue_tasks)
            yield _lag(emulator, target, sizes.lag_seconds)
            yield from _peer(directory / "peer", emulator, target, sizes.peer_tasks)


def _idle(store: Path, seconds: int) -> Iterator[Result]:
    with _emulator(store) as emulator:
        yield Result("memory when new, MB", emulator.megabytes, 100, True)
        yield Result("CPU when idle, %", _cpu_percent(emulator, seconds), 1, True)


def _backlogs(directory: Path, target: Target, sizes: Sizes) -> Iterator[Result]:
    """Rounds of three emulators side by side; the large one is on disk."""
    with (
        _emulator(directory / "small.db") as small,
        _emulator(directory / "large.db") as large,
        _emulator(None) as ephemeral,
    ):
        for emulator in (small, ephemeral):
            _fill(emulator, _SMALL_BACKLOG)
        fill_rate = sizes.backlog / _fill(large, sizes.backlog)
        rates = _rates([small, large, ephemeral], target, sizes)
        yield from _on_disk_and_in_memory(rates[0], rates[2])
        yield from _large_and_small(rates[1], rates[0], sizes.backlog)
        yield Result(
            f"memory with {sizes.backlog:,} tasks, MB",
            large.megabytes,
            300,
            True,
            f"created at {fill_rate:.0f}/s in batches",
        )
        yield Result(
            f"CPU when idle with {sizes.backlog:,} tasks, %",
            _cpu_percent(large, sizes.idle_seconds),
            1,
            True,
        )


def _on_disk_and_in_memory(disk: _Rates, memory: _Rates) -> Iterator[Result]:
    for place, rates in (("durable", disk), ("ephemeral", memory)):
        yield Result(f"creates/s, {place}", rates.creates, 1500, False)
        yield Result(
            f"dispatches/s over {len(_QUEUES)} queues, {place}",
            rates.dispatches,
            _FULL_RATE,
            False,
        )


def _large_and_small(large: _Rates, small: _Rates, backlog: int) -> Iterator[Result]:
    for name, value, base in (
        ("creates", large.creates, small.creates),
        ("dispatches", large.dispatches, small.dispatches),
    ):
        yield Result(
            f"{name}/s, {backlog:,} tasks / {_SMALL_BACKLOG:,}",
            value / base,
            0.8,
            False,
            f"{value:.0f}/s / {base:.0f}/s",
        )


def _full_rate(emulator: Emulator, target: Target, tasks: int) -> Result:
    """
    One queue, whose bucket gives its burst and then no more than its rate:
    over the run a little more than the rate, if the emulator keeps up.
    """
    _create(emulator, [_ONE_QUEUE], target.url, tasks)
    arrivals = _dispatch(emulator, [_ONE_QUEUE], target, tasks)
    half = tasks // 2
    steady = (tasks - half - 1) / (arrivals.times[-1] - arrivals.times[half])
    return Result(
        f"dispatches/s, one queue at {_FULL_RATE}/s",
        arrivals.rate,
        _FULL_RATE,
        False,
        f"{tasks:,} tasks, the second half at {steady:.1f}/s",
    )


def _lag(emulator: Emulator, target: Target, seconds: int) -> Result:
    count = _LAG_RATE * seconds
    # All of them are there before the first one is due.
    start = time() + count / 1_000 + 2
    times = [start + number / _LAG_RATE for number in range(count)]
    requests = [
        _batch_request(_ONE_QUEUE, target.url, times[first : first + _BATCH])
        for first in range(0, count, _BATCH)
    ]
    emulator.flood("BatchCreateTasks", requests)
    assert time() < start, "creating the tasks took too long to measure their lag"
    milliseconds = [lag * 1000 for lag in target.wait(count).lags]
    return Result(
        f"p99 dispatch lag at {_LAG_RATE}/s, ms",
        quantiles(milliseconds, n=100)[98],
        100,
        True,
        f"median {median(milliseconds):.1f}, longest {max(milliseconds):.1f}",
    )


def _peer(
    directory: Path, emulator: Emulator, target: Target, tasks: int
) -> Iterator[Result]:
    """One queue of each, to a target that works a little or not at all."""
    try:
        with peer_emulator(directory, _ONE_QUEUE) as peer:
            at_once = [
                _dispatch_rate(each, target, target.url, tasks)
                for each in (emulator, peer)
            ]
            slow = [
                _dispatch_rate(each, target, target.slow_url, tasks)
                for each in (emulator, peer)
            ]
    except InstallError as error:
        print(f"skipped: {PEER} cannot be installed: {error}")
        return
    yield Result(
        f"dispatches/s / {PEER}",
        slow[0] / slow[1],
        10,
        False,
        f"{slow[0]:.0f}/s / {slow[1]:.0f}/s to a target that takes "
        f"{targets.SLOW_SECONDS * 1000:.0f} ms; {at_once[0]:.0f}/s / "
        f"{at_once[1]:.0f}/s to one that takes none",
    )


def _rates(emulators: Sequence[Emulator], target: Target, sizes: Sizes) -> list[_Rates]:
    """Rates of each emulator, in rounds that take turns."""
    creates: list[list[float]] = [[] for _ in emulators]
    dispatches: list[list[float]] = [[] for _ in emulators]
    for _ in range(sizes.rounds):
        for number, emulator in enumerate(emulators):
            seconds = _create(emulator, _QUEUES, target.url, sizes.tasks)
            creates[number].append(sizes.tasks / seconds)
            arrivals = _dispatch(emulator, _QUEUES, target, sizes.tasks)
            dispatches[number].append(arrivals.rate)
    return [
        _Rates(median(create), median(dispatch))
        for create, dispatch in zip(creates, dispatches, strict=True)
    ]


def _dispatch_rate(emulator: Emulator, target: Target, url: str, tasks: int) -> float:
    _create(emulator, [_ONE_QUEUE], url, tasks)
    return _dispatch(emulator, [_ONE_QUEUE], target, tasks).rate


def _create(emulator: Emulator, queues: Sequence[str], url: str, tasks: int) -> float:
    """Pause the queues, put tasks that are due in them, return the seconds."""
    for queue in queues:
        emulator.call("PauseQueue", name=queue)
    requests = [
        _create_request(queues[number % len(queues)], url) for number in range(tasks)
    ]
    return emulator.flood("CreateTask", requests)


def _dispatch(
    emulator: Emulator, queues: Sequence[str], target: Target, tasks: int
) -> targets.Arrivals:
    for queue in queues:
        emulator.call("ResumeQueue", name=queue)
    return target.wait(tasks)


def _fill(emulator: Emulator, tasks: int) -> float:
    """Spread tasks over queues and the days to come; return the seconds."""
    batches = tasks // _BATCH
    now = time()
    samples = [
        _batch_request(
            _QUEUES[number % len(_QUEUES)],
            _NOWHERE,
            [now + uniform(1, 29) * _DAY for _ in range(_BATCH)],  # noqa: S311
        )
        for number in range(min(batches, 200))
    ]
    requests = [samples[number % len(samples)] for number in range(batches)]
    return emulator.flood("BatchCreateTasks", requests)


def _create_request(queue: str, url: str) -> bytes:
    request = tasks_v2.CreateTaskRequest.pb()(parent=queue)
    _write_task(request.task, url)
    serialized: bytes = request.SerializeToString()
    return serialized


def _batch_request(queue: str, url: str, times: Sequence[float]) -> bytes:
    request = tasks_v2.BatchCreateTasksRequest.pb()(parent=queue)
    for when in times:
        task = request.requests.add(parent=queue).task
        _write_task(task, url)
        task.schedule_time.FromMicroseconds(round(when * 1_000_000))
    serialized: bytes = request.SerializeToString()
    return serialized


def _write_task(task: Any, url: str) -> None:
    task.http_request.url = url
    task.http_request.headers["Content-Type"] = "application/json"
    task.http_request.body = _BODY


def _cpu_percent(emulator: Emulator, seconds: int) -> float:
    before = emulator.cpu_seconds
    threading.Event().wait(seconds)
    return 100 * (emulator.cpu_seconds - before) / seconds


def _emulator(store: Path | None) -> AbstractContextManager[Emulator]:
    return cloudtask_emulator(store, _QUEUE_IDS)
