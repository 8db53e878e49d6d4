"""Servers, their enemies, and what has to hold whatever those do."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic, time
from typing import Any

from cloudtask.emulator import Emulator

ROOT = Path(__file__).parents[2]
#: Seconds for anything to happen.
PATIENCE = 40
HOST = os.environ.get("PGHOST", "127.0.0.1")
PORT = os.environ.get("PGPORT", "5432")
USER = os.environ.get("PGUSER", "postgres")
#: Workers that may die with a task before it is given up.
DEATHS = 3
ENDS = ("SUCCESSFUL", "FAILED")
#: Seconds that an end may take to be noted, on a machine that is busy.
NOTING = 5

SERVED = "tests.reliability.served"
_numbers = count()
_QUEUE = (
    "default:min_backoff=0.1,max_backoff=0.5,max_attempts=100,rate=500,concurrency=24"
)

# What claims a task, ends it, or has it begin again is noted.
_WATCH = """
CREATE VIEW record AS SELECT * FROM cloudtask_results_taskrecord;
CREATE VIEW error AS SELECT * FROM cloudtask_results_taskerror;
CREATE TABLE transition (
    task text, was text, became text, worker text,
    at timestamptz DEFAULT clock_timestamp(),
    is_death boolean
);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transition (task, was, became, worker, is_death)
    VALUES (
        NEW.id, OLD.status, NEW.status, NEW.worker_id,
        NEW.interruptions > OLD.interruptions
    );
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER UPDATE OF status ON cloudtask_results_taskrecord
FOR EACH ROW WHEN (
    NEW.status <> 'READY' OR OLD.status IN ('SUCCESSFUL', 'FAILED')
)
EXECUTE FUNCTION note();
"""


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


class Database:
    """A database for one scenario, watched."""

    def __init__(self, host: str = HOST, port: str = PORT) -> None:
        self.host, self.port = host, port
        self.name = f"cloudtask_reliability_{os.getpid()}_{next(_numbers)}"
        self._run_on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._run_on_server("CREATE DATABASE {}")
        self._connection = self._connected(self.name)

    def connect_again(self) -> None:
        """Do so when its server was away."""
        self._connection.close()
        self._connection = self._connected(self.name)

    def _connected(self, name: str) -> Any:
        # It is not everywhere, and these tests run where it is.
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=USER,
            dbname=name,
            autocommit=True,
            connect_timeout=5,
        )

    def watch(self) -> None:
        self._connection.execute(_WATCH)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(query).fetchall()
        return rows

    def cut(self) -> int:
        """End all other connections to it. Returns how many there were."""
        return len(
            self.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    def drop(self) -> None:
        self._connection.close()
        self._run_on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)")

    def _run_on_server(self, statement: str) -> None:
        with self._connected("postgres") as server:
            server.execute(statement.format(self.name))


class Ground:
    """
    What one scenario has: database, emulator, socket and chores.

    Nothing of it is there in the next one. A task that is left in the queue,
    or a connection that waits at the socket, would run in the database of
    another scenario, which does not know it.
    """

    def __init__(
        self, folder: Path, database: Database, *, port: str | None = None
    ) -> None:
        self.database = database
        # Where the project finds it, if something is in between.
        self._port = port or database.port
        self.points = Points(folder / "points")
        self.runs_path = folder / "runs"
        self.runs_path.touch()
        self.log_path = folder / "log"
        self.emulator = Emulator([_QUEUE])
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._chores: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.emulator.start()
        with self.log_path.open("ab") as log:
            self._chores = subprocess.Popen(
                [sys.executable, "-m", "django", "chores"],
                env=self.environ(lease=2.0),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def stop(self) -> None:
        if self._chores is not None:
            # With the forks that it has not waited for.
            os.killpg(self._chores.pid, signal.SIGKILL)
            self._chores.communicate()
        self.socket.close()
        self.emulator.stop()

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

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def environ(self, *, lease: float, bug: str = "") -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": f"{SERVED}.settings",
            "NO_GCE_CHECK": "true",
            "RELIABILITY_DATABASE": self.database.name,
            "RELIABILITY_HOST": self.database.host,
            "RELIABILITY_PORT": self._port,
            "RELIABILITY_USER": USER,
            "RELIABILITY_RUNS": str(self.runs_path),
            "RELIABILITY_POINTS": str(self.points.folder),
            "RELIABILITY_URL": f"http://127.0.0.1:{self.socket.getsockname()[1]}/_tasks/",
            "RELIABILITY_EMULATOR": self.emulator.host,
            "RELIABILITY_LEASE": str(lease),
            "RELIABILITY_GRACE": "3",
            "RELIABILITY_BUG": bug,
        }

    @contextmanager
    def served(
        self,
        *,
        workers: int = 3,
        threads: int = 8,
        lease: float = 2.0,
        bug: str = "",
        memory: int = 0,
    ) -> Iterator[Servers]:
        """
        Serve the project, by processes that are forked again if killed.

        Args:
            workers: How many processes.
            threads: Of each, one for each task.
            lease: Seconds.
            bug: One of those of the served project.
            memory: Bytes that a process may have, if there is a limit.
        """
        command = (
            *(sys.executable, "-m", "gunicorn", "--preload", "--no-control-socket"),
            *("--bind", f"fd://{self.socket.fileno()}", "--workers", str(workers)),
            *("--worker-class", "gthread", "--threads", str(threads)),
            # Connections that stay open would lead dispatches to the frozen.
            *("--keep-alive", "0", "--log-level", "warning"),
            f"{SERVED}.wsgi:wsgi",
        )
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                env={
                    **self.environ(lease=lease, bug=bug),
                    "RELIABILITY_MEMORY": str(memory),
                },
                cwd=ROOT,
                pass_fds=[self.socket.fileno()],
                stderr=log,
                stdout=log,
                start_new_session=True,
            )
        try:
            # While they start.
            self.ask("migrate", {})
            self.database.watch()
            servers = Servers(process.pid)
            poll(lambda: len(servers.workers()) == workers)
            yield servers
        finally:
            # Frozen ones end, too.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @contextmanager
    def sweepers(self, number: int, **options: Any) -> Iterator[None]:
        """Have so many processes sweep, each begun again if it dies."""
        pids = self.ask("keep_sweeping", *[options] * number)
        try:
            yield
        finally:
            for pid in pids:
                os.killpg(pid, signal.SIGKILL)


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
    """The processes that gunicorn forked, and who does them harm."""

    def __init__(self, parent: int) -> None:
        self._children = Path(f"/proc/{parent}/task/{parent}/children")
        #: When each was killed.
        self.killed: dict[int, float] = {}
        #: How often any was frozen.
        self.frozen = 0

    def workers(self) -> list[int]:
        try:
            return [int(pid) for pid in self._children.read_text().split()]
        except OSError:
            return []

    def kill_some(self, number: int, story: Story) -> None:
        """SIGKILL so many that run a task, one every 0.1 to 0.3 seconds."""
        while len(self.killed) < number:
            threading.Event().wait(story.dice.uniform(0.1, 0.3))
            poll(lambda: self._kill_busy(story))

    def _kill_busy(self, story: Story) -> bool:
        busy = [pid for pid in self.workers() if pid in story.busy]
        alive = [pid for pid in busy if pid not in self.killed]
        if not alive:
            return False
        pid = story.dice.choice(alive)
        # It cannot end its task between the look and the kill.
        os.kill(pid, signal.SIGSTOP)
        if pid not in story.busy:
            os.kill(pid, signal.SIGCONT)
            return False
        os.kill(pid, signal.SIGKILL)
        self.killed[pid] = time()
        return True

    def freeze_some(self, number: int, seconds: float, dice: random.Random) -> None:
        """Stop so many at once for that long."""
        chosen = dice.sample(self.workers(), number)
        for pid in chosen:
            os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(seconds)
        for pid in chosen:
            os.kill(pid, signal.SIGCONT)
        self.frozen += number


@dataclass
class Run:
    """What one process did with one task, once."""

    task: str
    pid: int
    began: float
    ended: float | None = None


@dataclass(frozen=True)
class Harm:
    """What kept a process, or all of them, from going on."""

    pid: int | None
    since: float
    #: What a killed process has sent may reach the database later.
    until: float = math.inf

    def hits(self, run: Run) -> bool:
        ended = self.since if run.ended is None else run.ended
        return (
            self.pid in (None, run.pid)
            and self.until >= run.began
            and self.since <= ended + NOTING
        )


def _runs(lines: list[dict[str, Any]]) -> list[Run]:
    runs: list[Run] = []
    open_runs: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for line in lines:
        under_way = open_runs[line["id"], line["pid"]]
        if line["event"] == "begin":
            runs.append(Run(line["id"], line["pid"], line["at"]))
            under_way.append(runs[-1])
        elif line["event"] == "end" and under_way:
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
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311

    def enqueue(
        self, seconds: list[float], *, copies: int = 1, kind: str = "work"
    ) -> None:
        """
        Enqueue tasks.

        Args:
            seconds: How long each takes.
            copies: How often each is in the queue, at least once; 0 is any
                number from 2 to 5.
            kind: Name of the task's function.
        """
        numbers = [copies or self.dice.randint(2, 5) for _ in seconds]
        call = {"seconds": seconds, "copies": numbers, "kind": kind}
        [ids] = self.ground.ask("enqueue", call)
        assert ids is not None, self.ground.log
        self.ids.update(ids)

    @contextmanager
    def enqueuing(
        self, seconds: list[float], *, copies: int = 1, kind: str = "work"
    ) -> Iterator[None]:
        """Enqueue tasks meanwhile, see enqueue()."""
        thread = threading.Thread(
            target=self.enqueue,
            args=(seconds,),
            kwargs={"copies": copies, "kind": kind},
        )
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
        self.servers.freeze_some(3, 2.0, self.dice)

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
        text = self.ground.runs_path.read_text()
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
            harmed = sum(any(harm.hits(run) for harm in harms) for run in some)
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
        return Counter(
            task
            for task, rows in self._noted("became = 'RUNNING'").items()
            for _, _, _, worker, at, _ in rows
            if any(
                harm.pid in (None, _pid(worker)) and harm.until >= at.timestamp()
                for harm in harms
            )
        )

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
            "I6 acked early": self._acked_early,
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
        return f"{name}: {', '.join(pairs)}"

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
                "SELECT task_id FROM error WHERE type NOT LIKE '%.WorkerDied'"
            )
        )
        return [
            f"{task}: {runs} runs, {interruptions[task]} interruptions, "
            f"{raised[task]} errors"
            for task, runs in self.runs.items()
            if runs > 1 + interruptions[task] + raised[task]
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
        # Who is slow, on a machine that is busy, is taken for dead.
        most += most // 10
        return [f"{len(names)} instead of {most}"] if len(names) > most else []

    def _acked_early(self) -> list[str]:
        ends = {task: rows[0][4] for task, rows in self.transitions.items()}
        early = []
        for attempt in self.ground.emulator.attempts:
            task = self.ids.get(attempt.name)
            if task is None or attempt.status is None or attempt.status >= 300:
                continue
            if task not in ends or ends[task] > attempt.response_time:
                early.append(f"{task}: {attempt.status} in attempt {attempt.number}")
        return early
