"""The lives and deaths of emulators on one store, and what has to hold."""

import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from signal import SIGKILL

from google.cloud.tasks_v2 import CloudTasksClient, Queue, Task

from tests.emulator.crash_clients import (
    PARENT,
    UNANSWERED,
    Controller,
    Countdown,
    Load,
    create_all,
    free_names,
    new_task,
    queue_of,
    queue_path,
    tasks_by_key,
)
from tests.emulator.crash_process import CHILD, PATIENCE, EmulatorProcess
from tests.emulator.crash_target import Arrival, CrashTarget

#: Tasks that are under way at any time.
HELD = 50

_LATER = 200
_CLIENTS = 2
_NAMES_TRIED = 200

# What is there from the start: the declaration of a queue, how its target
# behaves, and how many tasks it gets.
_QUEUES = {
    "failed": ("min_backoff=3000,max_backoff=3000", "once", 20),
    "held": (f"concurrency={HELD}", "hold", HELD),
    "live": ("min_backoff=0.01,max_backoff=0.05", "now", 0),
    "paused": ("rate=500", "now", 20),
    "pending": ("rate=5", "now", 1000),
    "purged": ("rate=500", "now", 1200),
}
# Queues in which nothing happens until the end.
_STILL = ("failed", "paused", "purged")


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Death:
    """When a process is killed."""

    moment: str  # "before" or "after" the commit of a step; "" from outside.
    event: str
    number: int  # It is the event's nth.


# Steps at whose commits a process kills itself, and of how many of a kind.
_STEPS = {
    "CreateTask": 100,
    "BatchCreateTasks": 15,
    "DeleteTask": 10,
    "BatchDeleteTasks": 3,
    "PurgeQueue": 2,
    "PauseQueue": 2,
    "sweep": 2,
    "take_due": 20,
    "complete": 60,
}
# What happens outside: a call was answered, or an attempt arrived, once all
# is at work or while the process starts.
_EVENTS = {"answer": 200, "attempt": 100, "first attempts": HELD}


def deaths(random: Random) -> list[Death]:
    """Return one death of each kind, twenty and one."""
    kinds = [(moment, step) for moment in ("before", "after") for step in _STEPS]
    kinds += [("", event) for event in _EVENTS]
    random.shuffle(kinds)
    numbers = _STEPS | _EVENTS
    return [
        Death(moment, event, random.randint(1, numbers[event]))
        for moment, event in kinds
    ]


class Story:
    """
    One store, the processes that serve it in turn, and their clients.

    Args:
        store: The file.
        target: Where all tasks go.
        seed: Of what is random here: all but how threads take turns.
    """

    def __init__(self, store: Path, target: CrashTarget, seed: int) -> None:
        self._store = store
        self._target = target
        self._random = Random(f"{seed}")  # noqa: S311
        self._loads = [
            Load(name, target.url, Random(f"{seed} {name}"))  # noqa: S311
            for name in (f"load{n}" for n in range(_CLIENTS))
        ]
        self._controllers = [
            Controller(name, target.url, Random(f"{seed} {name}"))  # noqa: S311
            for name in (f"control{n}" for n in range(_CLIENTS))
        ]
        # The names of the tasks from the start, by queue.
        self._first: dict[str, list[str]] = {}
        self._still: dict[str, dict[str, Task]] = {}
        self._certificates: object = None

    def spawn(self) -> EmulatorProcess:
        """Return the process for a later life, which gets ready meanwhile."""
        queues = [
            argument
            for name, (options, _, _) in _QUEUES.items()
            for argument in ("--queue", f"{name}:{options}")
        ]
        return EmulatorProcess(self._store, *queues, module=CHILD)

    def begin(self, process: EmulatorProcess) -> None:
        """Let the first process take in all that later ones have to know."""
        self._start(process)
        assert process.is_ready(), process.log
        self._certificates = process.http("GET", "/certs")
        with process.client() as client:
            for queue in ("paused", "purged"):
                client.pause_queue(name=queue_path(queue), retry=None)
            for queue in _QUEUES:
                self._first[queue] = self._fill(client, queue)
                if queue == "failed":
                    process.drain()
            for controller in self._controllers:
                controller.prepare(client, _LATER // _CLIENTS)
            self._still = {queue: tasks_by_key(client, queue) for queue in _STILL}
            self._still["purged"] = {}
            # What is purged is more than one sweep can remove.
            process.plan_death("after", "sweep", 1)
            with suppress(*UNANSWERED):
                client.purge_queue(name=queue_path("purged"), retry=None)
        process.check_end(-SIGKILL)

    def live(self, process: EmulatorProcess, death: Death) -> None:
        """Let a process serve until its death."""
        if death.event == "first attempts":
            self._start(process, Countdown(death.number, process.process.kill))
        else:
            self._start(process)
            assert process.is_ready(), process.log
            self._check(process)
            self._work(process, death)
        process.check_end(-SIGKILL)

    def end(self, process: EmulatorProcess) -> None:
        """Let the last process send all that is left, and stop it."""
        self._start(process)
        assert process.is_ready(), process.log
        self._check(process)
        self._target.release()
        with process.client() as client:
            process.drain()
            assert self._target.attempts("paused") == {}
            for queue in client.list_queues(parent=PARENT, retry=None):
                client.resume_queue(name=queue.name, retry=None)
            process.drain(hours=2)
            for names in self._names().values():
                assert free_names(client, names) == []
        assert set(process.depths().values()) == {0}
        process.process.terminate()
        process.check_end(0)

    def check_attempts(self) -> None:
        """Check what the target saw in all the lives."""
        done = self._target.done
        purged = self._first.pop("purged")
        accepted = {name: 0 for names in self._first.values() for name in names}
        for load in self._loads:
            accepted |= load.accepted
        assert {name: life for name, life in accepted.items() if name not in done} == {}

        made: dict[str, set[str]] = defaultdict(set)
        for arrival in self._target.arrivals:
            made[arrival.key].add(arrival.task)
        assert [key for key, tasks in made.items() if len(tasks) > 1] == []
        arrived = {arrival.task for arrival in self._target.arrivals}
        assert arrived & {*purged} == set()
        for controller in self._controllers:
            assert controller.there - done == set()
            assert controller.gone & arrived == set()
        for queue in _QUEUES:
            for attempts in self._target.attempts(queue).values():
                _check_counts(attempts)
        for first, second in self._target.attempts("failed").values():
            assert (first.attempt, second.attempt, second.previous) == (1, 2, "500")

    def _start(
        self, process: EmulatorProcess, on_arrival: Callable[[], None] = _nothing
    ) -> None:
        self._target.begin_life()
        self._target.on_arrival = on_arrival
        process.go()

    def _fill(self, client: CloudTasksClient, queue: str) -> list[str]:
        _, behaviour, number = _QUEUES[queue]
        url = f"{self._target.url}/{behaviour}/{queue}"
        requests = [
            new_task(queue, f"{url}{n}", f"{queue}{n}" if n % 2 else "")
            for n in range(number)
        ]
        return create_all(client, requests)

    def _check(self, process: EmulatorProcess) -> None:
        """Check what is there at the start of a life."""
        with process.client() as client:
            for controller in self._controllers:
                controller.resolve(client)
            for load in self._loads:
                load.resolve(client, self._target.life)
            for queue, tasks in self._still.items():
                assert tasks_by_key(client, queue) == tasks
            for queue in ("paused", "purged"):
                found = client.get_queue(name=queue_path(queue), retry=None)
                assert found.state == Queue.State.PAUSED
            for names in self._names().values():
                tried = self._random.sample(names, min(len(names), _NAMES_TRIED))
                assert free_names(client, tried) == []
        assert process.http("GET", "/certs") == self._certificates

    def _work(self, process: EmulatorProcess, death: Death) -> None:
        """Let the clients work until the process dies."""
        kill = Countdown(death.number, process.process.kill)
        is_at_work = threading.Event()

        def count() -> None:
            if is_at_work.is_set():
                kill()

        answered = count if death.event == "answer" else _nothing
        self._target.on_arrival = count if death.event == "attempt" else _nothing

        def load(load: Load) -> None:
            with process.client() as client:
                load.run(client, self._target.life, answered)

        def control(controller: Controller) -> None:
            with process.client() as client:
                controller.run(client, answered)

        with ThreadPoolExecutor(2 * _CLIENTS) as pool:
            working = [
                *(pool.submit(load, each) for each in self._loads),
                *(pool.submit(control, each) for each in self._controllers),
            ]
            try:
                self._target.wait_for_held(HELD)
                is_at_work.set()
                if death.moment:
                    process.plan_death(death.moment, death.event, death.number)
                process.process.wait(PATIENCE)
            finally:
                process.process.kill()
        for each in working:
            each.result()

    def _names(self) -> dict[str, list[str]]:
        """Return all names of tasks that are taken, by queue."""
        names: dict[str, list[str]] = defaultdict(list)
        for name in (
            *(name for names in self._first.values() for name in names),
            *(name for load in self._loads for name in load.accepted),
            *(name for each in self._controllers for name in each.names),
        ):
            names[queue_of(name)].append(name)
        return names


def _check_counts(made: list[Arrival]) -> None:
    """Check the attempts of one task, in the order in which they came."""
    numbers = [arrival.attempt for arrival in made]
    # Each is counted on disk before it is made.
    assert numbers == sorted(set(numbers)), made
    for before, after in pairwise(made):
        if before.life == after.life:
            assert before.status == 500, made
            assert after.attempt == before.attempt + 1, made
            assert after.previous == "500", made
