"""What came of the tasks of one scenario, and what has to hold of them."""

from __future__ import annotations

import json
import math
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic
from typing import Any

from tests.reliability.harness import PATIENCE, RPC_TIMEOUT, Ground, Servers, poll

#: Workers that may die with a task before it is given up.
DEATHS = 3
ENDS = ("SUCCESSFUL", "FAILED")
#: Seconds until a channel that is dead has been replaced, at the latest.
REPLACING = RPC_TIMEOUT + 2


@dataclass
class Run:
    """What one process did with one task, once."""

    task: str
    pid: int
    #: When its claim was begun, from which on it can lose its lease.
    began: float
    #: When its end was recorded, or could not be.
    ended: float = math.inf


@dataclass(frozen=True)
class Harm:
    """What kept a process, or all of them, from going on."""

    pid: int | None
    since: float
    #: What a killed process has sent may reach the database later.
    until: float = math.inf

    def hits(self, pid: int, since: float, until: float) -> bool:
        """Whether it came to a process between two moments."""
        is_meant = self.pid in (None, pid)
        return is_meant and self.until >= since and self.since <= until


def _runs(lines: list[dict[str, Any]]) -> list[Run]:
    runs: list[Run] = []
    open_runs: dict[tuple[str, int], list[Run]] = defaultdict(list)
    claimed: dict[tuple[str, int], float] = {}
    for line in lines:
        where = line["id"], line["pid"]
        under_way = open_runs[where]
        if line["event"] == "claim":
            claimed[where] = line["since"]
        elif line["event"] == "begin":
            began = claimed.pop(where, line["at"])
            runs.append(Run(line["id"], line["pid"], began))
            under_way.append(runs[-1])
        elif line["event"] == "answer" and under_way:
            under_way.pop(0).ended = line["at"]
    return runs


def _pid(worker: str) -> int:
    return int(worker.rpartition("-")[2])


@dataclass
class Story:
    """What came of the tasks of one scenario."""

    ground: Ground
    servers: Servers
    seed: int
    ids: dict[str, str] = field(default_factory=dict)  # Of tasks, by names.
    began: float = field(default_factory=monotonic)
    deaths: int = 0  # Of processes that killed themselves and noted nothing.
    outages: list[tuple[float, float]] = field(default_factory=list)
    redriven: Counter[str] = field(default_factory=Counter)
    #: What else was done to it: no excuse for another run.
    faults: Counter[str] = field(default_factory=Counter)
    #: When the connections to the queue went dead.
    blackened: list[float] = field(default_factory=list)
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311

    def enqueue(
        self,
        seconds: list[float],
        *,
        copies: int = 1,
        kind: str = "work",
        kinds: list[str] | None = None,
        pause: float = 0.0,
    ) -> None:
        """
        Enqueue tasks.

        Args:
            seconds: How long each takes.
            copies: How often each is in the queue, at least once; 0 is any
                number from 2 to 5.
            kind: Name of the tasks' function.
            kinds: The name for each, in place of that.
            pause: Seconds between two.
        """
        numbers = [copies or self.dice.randint(2, 5) for _ in seconds]
        named = kinds or [kind] * len(seconds)
        tasks = list(zip(named, seconds, numbers, strict=True))
        [ids] = self.ground.ask("enqueue", {"wanted": tasks, "pause": pause})
        assert ids is not None, self.ground.log
        self.ids.update(ids)

    @contextmanager
    def enqueuing(self, seconds: list[float], **options: Any) -> Iterator[None]:
        """Enqueue tasks meanwhile, see enqueue()."""
        thread = threading.Thread(target=self.enqueue, args=(seconds,), kwargs=options)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def freeze_and_take_over(self, seconds: float, kind: str = "work") -> None:
        """
        Freeze half of six servers until the others have taken over from them.

        All that is in the queue is what they run and a twin of each, which
        waits for the lease to end: the others have room for it.
        """
        self.settle()
        self.enqueue([seconds] * 14, copies=2, kind=kind)
        # On a busy machine some end before others begin.
        poll(lambda: self.busy.total() >= 10)
        self.servers.freeze_some(3, 2.0, self)

    @property
    def unfinished(self) -> int:
        [[number]] = self.ground.database.rows(
            "SELECT count(*) FROM record WHERE finished_at IS NULL"
        )
        return int(number)

    def settle(self, *, is_swept: bool = False, patience: float = PATIENCE) -> None:
        """
        Wait until the queue is empty; with sweepers, and all is finished.

        What is not when nothing has changed for so many seconds shows in what
        is violated.
        """
        emulator = self.ground.emulator
        left, due = None, 0.0
        while left != (0, 0):
            now = emulator.pending, self.unfinished if is_swept else 0
            if now != left:
                left, due = now, monotonic() + patience
            elif monotonic() > due:
                return
            threading.Event().wait(0.1)

    def redrive(self) -> int:
        """Have the tasks that were given up run again. Returns how many."""
        self.redriven.update(self.given_up)
        [number] = self.ground.ask("redrive", {})
        return int(number)

    @property
    def given_up(self) -> list[str]:
        return [
            row[0]
            for row in self.ground.database.rows(
                "SELECT id FROM record WHERE status = 'FAILED'"
            )
        ]

    @property
    def lines(self) -> list[dict[str, Any]]:
        # The last line may be in the middle of being written.
        text = self.ground.runs_path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in text.splitlines()]

    @property
    def runs(self) -> Counter[str]:
        return Counter(line["id"] for line in self.lines if line["event"] == "begin")

    @property
    def busy(self) -> Counter[int]:
        """Processes, by the runs that have begun there and not ended."""
        signs = {"begin": 1, "end": -1}
        busy: Counter[int] = Counter()
        for line in self.lines:
            busy[line["pid"]] += signs.get(line["event"], 0)
        return +busy

    def interruptions(self) -> Counter[str]:
        """
        Runs that could not note their end, or only too late.

        Their process was killed or stopped, or its database was away.
        """
        lines = self.lines
        harms = self._harms(lines)
        runs: dict[tuple[str, int], list[Run]] = defaultdict(list)
        for run in _runs(lines):
            runs[run.task, run.pid].append(run)
        noted = {
            (task, _pid(worker))
            for task, rows in self._noted("NOT is_death").items()
            for _, _, became, worker, *_ in rows
            if became in ENDS
        }
        counted: Counter[str] = Counter()
        for (task, pid), some in runs.items():
            harmed = sum(
                any(harm.hits(pid, run.began, run.ended) for harm in harms)
                for run in some
            )
            # The one that noted its end was not kept from it.
            counted[task] += min(harmed, len(some) - ((task, pid) in noted))
        return +counted

    def _harms(self, lines: list[dict[str, Any]]) -> list[Harm]:
        harms = [Harm(pid, at) for pid, at in self.servers.killed.items()]
        harms += [Harm(None, since, until) for since, until in self.outages]
        for line in lines:
            if line["event"] == "killed":
                harms.append(Harm(line["pid"], line["at"]))
            elif line["event"] == "stopped":
                harms.append(Harm(line["pid"], line["since"], line["at"]))
        return harms

    @property
    def transitions(self) -> dict[str, list[tuple[Any, ...]]]:
        """By tasks, what ended them, or had them begin again."""
        return self._noted("was IN ('SUCCESSFUL', 'FAILED') OR became <> 'RUNNING'")

    def _noted(self, condition: str) -> dict[str, list[tuple[Any, ...]]]:
        found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in self.ground.database.rows(
            f"SELECT * FROM transition WHERE {condition} ORDER BY at"  # noqa: S608
        ):
            found[row[0]].append(row)
        return found

    def _deaths(self) -> Counter[str]:
        """By tasks, how many of their workers were harmed in earnest."""
        harms = self._harms(self.lines)
        deaths: Counter[str] = Counter()
        for task, rows in self._noted("became = 'RUNNING'").items():
            claims = [(_pid(worker), at) for _, _, _, worker, at, _ in rows]
            # Each was this task's worker until the next one was.
            for (pid, since), (_, until) in pairwise([*claims, (0, math.inf)]):
                deaths[task] += any(harm.hits(pid, since, until) for harm in harms)
        return deaths

    @property
    def statuses(self) -> Counter[str]:
        return Counter(
            row[0] for row in self.ground.database.rows("SELECT status FROM record")
        )

    def violations(self) -> dict[str, list[str]]:
        """What does not hold, by the invariants' names."""
        checks = {
            "I1 lost": self._lost,
            "I2 not one end": self._ends,
            "I3 too many runs": self._too_many_runs,
            "I4 no effect": self._no_effect,
            "I5 stuck": self._stuck,
            "I9 too early": self._too_early,
            "I6 acked early": self._acked_early,
            "I7 death without a cause": self._blamed,
            "I8 dead channel": self._unsent,
            "queue not empty": self._queued,
            "sent too often": self._sent_too_often,
        }
        return {name: found for name, check in checks.items() if (found := check())}

    def report(self, name: str) -> str:
        """A line of the table."""
        attempts = self.ground.emulator.attempts
        tasks = len(set(self.ids.values()))
        twins = len(self.ids) - tasks
        # Both of them are noted.
        faults = sum(attempt.fault == "duplicate" for attempt in attempts) // 2
        figures = {
            "tasks": tasks or sum(self.statuses.values()),
            "kills": self.kills,
            "freezes": self.servers.frozen,
            "outages": len(self.outages),
            "duplicates": twins + faults,
            "attempts": len(attempts),
            "interrupted": self.interruptions().total(),
            "given up": self.statuses["FAILED"] + self.redriven.total(),
            "lost": len(self._lost()),
            "double": len(self._ends()),
            "seconds": round(monotonic() - self.began, 1),
            "seed": self.seed,
        }
        pairs = (f"{key}={value}" for key, value in figures.items())
        others = (f"{key}={value}" for key, value in self.faults.items())
        return f"{name}: {', '.join((*pairs, *others))}"

    @property
    def kills(self) -> int:
        noted = sum(line["event"] == "killed" for line in self.lines)
        return len(self.servers.killed) + self.deaths + noted

    def _lost(self) -> list[str]:
        """
        Tasks that did not succeed.

        One may be given up, if so many of its workers died indeed.
        """
        harmed = self._deaths()
        known = {
            row[0]: row[1:]
            for row in self.ground.database.rows(
                "SELECT id, status, interruptions FROM record"
            )
        }
        lost = []
        for task in set(self.ids.values()):
            status, deaths = known.get(task, ("gone", 0))
            is_given_up = status == "FAILED" and (deaths == DEATHS <= harmed[task])
            if status != "SUCCESSFUL" and not is_given_up:
                lost.append(
                    f"{task}: {status} after {deaths} deaths, {harmed[task]} by us; "
                    f"{self._noted('true')[task]}"
                )
        return lost

    def _ends(self) -> list[str]:
        """Tasks that did not end once, and once more for each redrive."""
        found = []
        for task, rows in self.transitions.items():
            again = self.redriven[task]
            ends = sum(row[2] in ENDS for row in rows)
            begun_again = sum(row[1] in ENDS for row in rows)
            if (ends, begun_again) != (1 + again, again):
                found.append(f"{task}: {rows}")
        return found

    def _too_many_runs(self) -> list[str]:
        """Tasks that ran more than once, and once more for each reason."""
        interruptions = self.interruptions()
        raised = Counter(
            row[0]
            for row in self.ground.database.rows(
                "SELECT task_id FROM error WHERE type NOT LIKE '%.WorkerDied' "
                "AND type NOT LIKE '%.CancelledError'"
            )
        )
        cancelled = Counter(
            line["id"] for line in self.lines if line["event"] == "cancelled"
        )
        return [
            f"{task}: {runs} runs, {interruptions[task]} interruptions, "
            f"{raised[task]} errors, {cancelled[task]} cancelled"
            for task, runs in self.runs.items()
            if runs > 1 + interruptions[task] + raised[task] + cancelled[task]
        ]

    def _too_early(self) -> list[str]:
        """Tasks that ran before the time they asked for, uninterrupted."""
        due: dict[str, float] = {}
        early: Counter[str] = Counter()
        for line in self.lines:
            if line["event"] == "postponed":
                due[line["id"]] = line["until"]
            elif line["event"] == "begin":
                early[line["id"]] += line["at"] < due.get(line["id"], 0.0)
        interruptions = self.interruptions()
        return [
            f"{task}: {number} times"
            for task, number in early.items()
            if number > interruptions[task]
        ]

    def _no_effect(self) -> list[str]:
        effects = {
            row[0]
            for row in self.ground.database.rows("SELECT task FROM served_effect")
        }
        successful = self.ground.database.rows(
            "SELECT id FROM record WHERE status = 'SUCCESSFUL' AND path LIKE '%.work'"
        )
        return [task for (task,) in successful if task not in effects]

    def _stuck(self) -> list[str]:
        return [
            str(row)
            for row in self.ground.database.rows(
                "SELECT id, status, interruptions, attempt, send_at, lease_expires_at "
                "FROM record WHERE status IN ('READY', 'RUNNING')"
            )
        ]

    def _queued(self) -> list[str]:
        pending = self.ground.emulator.pending
        return [f"{pending} tasks"] if pending else []

    def _sent_too_often(self) -> list[str]:
        """More of them than tasks, wanted copies and processes that died."""
        names = {attempt.name for attempt in self.ground.emulator.attempts}
        tasks = self.statuses.total() + self.redriven.total()
        copies = len(self.ids) - len(set(self.ids.values()))
        most = tasks + copies + self.kills + len(self.outages)
        # Each re-armed task has a name for each alarm.
        [[rearmed]] = self.ground.database.rows("SELECT sum(arming) FROM record")
        most += int(rearmed or 0)
        # After each of these it may be unknown what was sent.
        most += self.faults.total()
        # Who is slow, on a machine that is busy, is taken for dead.
        most += most // 10
        return [f"{len(names)} instead of {most}"] if len(names) > most else []

    def _acked_early(self) -> list[str]:
        ends = {task: rows[0][4] for task, rows in self.transitions.items()}
        # What was re-armed is over for the first alarm, and not for the task.
        rearmed = self.ground.database.rows("SELECT id FROM record WHERE arming > 0")
        ends |= dict.fromkeys((task for (task,) in rearmed), 0.0)
        early = []
        for attempt in self.ground.emulator.attempts:
            task = self.ids.get(attempt.name)
            if task is None or attempt.status is None or attempt.status >= 300:
                continue
            answered = attempt.response_time.timestamp()
            if task not in ends or ends[task] > answered:
                early.append(f"{task}: {attempt.status} in attempt {attempt.number}")
        return early

    def _blamed(self) -> list[str]:
        """Tasks that count a worker as dead that nobody harmed."""
        harmed = self._deaths()
        return [
            f"{task}: {deaths} deaths, {harmed[task]} by us; "
            f"{self._noted('true')[task]}"
            for task, deaths in self.ground.database.rows(
                "SELECT id, interruptions FROM record WHERE interruptions > 0"
            )
            if deaths > harmed[task]
        ]

    def _unsent(self) -> list[str]:
        """Tasks that Cloud Tasks did not get at once, without a cause."""
        found = []
        for line in self.lines:
            if line["event"] != "enqueue" or line["is_sent"]:
                continue
            began = line["at"] - line["took"]
            if not any(began - REPLACING < at <= line["at"] for at in self.blackened):
                found.append(f"{line['id']}: {line['took']:.1f} s")
        return found
