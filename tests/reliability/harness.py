"""Servers, their enemies, and what has to hold whatever those do."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any

from cloudtask.emulator import Emulator

ROOT = Path(__file__).parents[2]
#: Seconds for anything to happen.
PATIENCE = 40
HOST = os.environ.get("PGHOST", "127.0.0.1")
USER = os.environ.get("PGUSER", "postgres")
#: Workers that may die with a task before it is given up.
DEATHS = 3

SERVED = "tests.reliability.served"
_QUEUE = (
    "default:min_backoff=0.1,max_backoff=0.5,max_attempts=100,rate=500,concurrency=24"
)

# Whatever ends a task, or has one begin again that had ended, is noted.
_WATCH = """
CREATE VIEW record AS SELECT * FROM cloudtask_results_taskrecord;
CREATE VIEW error AS SELECT * FROM cloudtask_results_taskerror;
CREATE TABLE transition (
    task text, was text, became text, worker text,
    at timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transition (task, was, became, worker)
    VALUES (NEW.id, OLD.status, NEW.status, NEW.worker_id);
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER UPDATE OF status ON cloudtask_results_taskrecord
FOR EACH ROW WHEN (
    NEW.status IN ('SUCCESSFUL', 'FAILED') OR OLD.status IN ('SUCCESSFUL', 'FAILED')
)
EXECUTE FUNCTION note();
"""


def poll(condition: Callable[[], object]) -> None:
    """
    Wait until it holds.

    Raises:
        TimeoutError: It does not within PATIENCE.
    """
    deadline = monotonic() + PATIENCE
    while not condition():
        if monotonic() > deadline:
            raise TimeoutError
        threading.Event().wait(0.1)


class Database:
    """A database of its own, watched."""

    def __init__(self) -> None:
        # It is not everywhere, and these tests run where it is.
        import psycopg

        self.name = f"cloudtask_reliability_{os.getpid()}"
        self._server = psycopg.connect(
            host=HOST, user=USER, dbname="postgres", autocommit=True, connect_timeout=5
        )
        self._run_on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._run_on_server("CREATE DATABASE {}")
        self._connection = psycopg.connect(
            host=HOST, user=USER, dbname=self.name, autocommit=True
        )

    def watch(self) -> None:
        self._connection.execute(_WATCH)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()

    def empty(self) -> None:
        self._connection.execute(
            "TRUNCATE cloudtask_results_taskrecord, cloudtask_results_taskerror, "
            "transition, served_effect, served_order"
        )

    def drop(self) -> None:
        self._connection.close()
        self._run_on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._server.close()

    def _run_on_server(self, statement: str) -> None:
        self._server.execute(statement.format(self.name))


class Ground:
    """What all scenarios share: database, emulator, socket and chores."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.runs_path = folder / "runs"
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
            )
        self.ask("migrate", {})
        self.database.watch()

    def stop(self) -> None:
        if self._chores is not None:
            self._chores.kill()
            self._chores.communicate()
        self.socket.close()
        self.emulator.stop()

    def clear(self) -> None:
        self.emulator.reset()
        self.database.empty()
        self.runs_path.write_bytes(b"")
        os.truncate(self.log_path, 0)

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
            "RELIABILITY_HOST": HOST,
            "RELIABILITY_USER": USER,
            "RELIABILITY_RUNS": str(self.runs_path),
            "RELIABILITY_URL": f"http://127.0.0.1:{self.socket.getsockname()[1]}/_tasks/",
            "RELIABILITY_EMULATOR": self.emulator.host,
            "RELIABILITY_LEASE": str(lease),
            "RELIABILITY_HEARTBEAT": str(lease / 5),
            "RELIABILITY_GRACE": "3",
            "RELIABILITY_BUG": bug,
        }

    @contextmanager
    def served(
        self, *, workers: int = 3, lease: float = 2.0, bug: str = ""
    ) -> Iterator[Servers]:
        """Serve the project, by processes that are forked again if killed."""
        command = (
            *(sys.executable, "-m", "gunicorn", "--preload", "--no-control-socket"),
            *("--bind", f"fd://{self.socket.fileno()}", "--workers", str(workers)),
            *("--worker-class", "gthread", "--threads", "8"),
            # Connections that stay open would lead dispatches to the frozen.
            *("--keep-alive", "0", "--log-level", "warning"),
            f"{SERVED}.wsgi:wsgi",
        )
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environ(lease=lease, bug=bug),
                cwd=ROOT,
                pass_fds=[self.socket.fileno()],
                stderr=log,
                stdout=log,
            )
        try:
            servers = Servers(process.pid)
            poll(lambda: len(servers.workers()) == workers)
            yield servers
        finally:
            for pid in servers.workers():
                os.kill(pid, signal.SIGCONT)
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def sweepers(self, number: int) -> Iterator[None]:
        pids = self.ask("keep_sweeping", *[{}] * number)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)


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
        """SIGKILL so many, busy ones first, one every 0.1 to 0.3 seconds."""
        while len(self.killed) < number:
            threading.Event().wait(story.dice.uniform(0.1, 0.3))
            alive = [pid for pid in self.workers() if pid not in self.killed]
            busy = [pid for pid in alive if pid in story.busy]
            if alive:
                pid = story.dice.choice(busy or alive)
                os.kill(pid, signal.SIGKILL)
                self.killed[pid] = time()

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
class Story:
    """What came of the tasks of one scenario."""

    ground: Ground
    servers: Servers
    seed: int
    ids: dict[str, str] = field(default_factory=dict)  # Of tasks, by names.
    began: float = field(default_factory=monotonic)
    deaths: int = 0  # Of processes that killed themselves.
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
    def enqueuing(self, seconds: list[float], copies: int = 1) -> Iterator[None]:
        """Enqueue tasks meanwhile."""
        thread = threading.Thread(
            target=self.enqueue, args=(seconds,), kwargs={"copies": copies}
        )
        thread.start()
        try:
            yield
        finally:
            thread.join()

    @property
    def unfinished(self) -> int:
        [[number]] = self.ground.database.rows(
            "SELECT count(*) FROM record WHERE finished_at IS NULL"
        )
        return int(number)

    def settle(self, *, is_swept: bool = False) -> None:
        """
        Wait until the queue is empty; with sweepers, and all is finished.

        What is not by then shows in what is violated.
        """
        emulator = self.ground.emulator
        with suppress(TimeoutError):
            poll(lambda: emulator.idle and not (is_swept and self.unfinished))

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
        busy: Counter[int] = Counter()
        for line in self.lines:
            busy[line["pid"]] += 1 if line["event"] == "begin" else -1
        return +busy

    def interruptions(self, margin: float = 0) -> Counter[str]:
        """
        Runs whose process was killed before they ended.

        Args:
            margin: Seconds after their end that count, too: it is still to be
                noted and answered.
        """
        ends = {
            (line["id"], line["pid"]): line["at"]
            for line in self.lines
            if line["event"] == "end"
        }
        counted: Counter[str] = Counter()
        for line in self.lines:
            killed_at = self.servers.killed.get(line["pid"])
            if line["event"] != "begin" or killed_at is None:
                continue
            ended_at = ends.get((line["id"], line["pid"]))
            counted[line["id"]] += ended_at is None or killed_at - ended_at < margin
        return counted

    @property
    def transitions(self) -> dict[str, list[tuple[Any, ...]]]:
        found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in self.ground.database.rows("SELECT * FROM transition ORDER BY at"):
            found[row[0]].append(row)
        return found

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
            "duplicates": twins + faults,
            "attempts": len(attempts),
            "interrupted": self.interruptions().total(),
            "given up": self.statuses["FAILED"],
            "lost": len(self._lost()),
            "double": sum(len(rows) > 1 for rows in self.transitions.values()),
            "seconds": round(monotonic() - self.began, 1),
            "seed": self.seed,
        }
        pairs = (f"{key}={value}" for key, value in figures.items())
        return f"{name}: {', '.join(pairs)}"

    @property
    def kills(self) -> int:
        return len(self.servers.killed) + self.deaths

    def _lost(self) -> list[str]:
        """Tasks that did not succeed, and that were not given up either."""
        known = {
            row[0]: row[1:]
            for row in self.ground.database.rows(
                "SELECT id, status, interruptions FROM record"
            )
        }
        lost = []
        for task in set(self.ids.values()):
            status, deaths = known.get(task, ("gone", 0))
            is_given_up = status == "FAILED" and deaths == DEATHS
            if status != "SUCCESSFUL" and not is_given_up:
                lost.append(f"{task}: {status} after {deaths} deaths")
        return lost

    def _ends(self) -> list[str]:
        ends = self.transitions
        return [f"{task}: {rows}" for task, rows in ends.items() if len(rows) != 1]

    def _too_many_runs(self) -> list[str]:
        interruptions = self.interruptions(margin=0.5)
        return [
            f"{task}: {runs} runs, {interruptions[task]} interruptions"
            for task, runs in self.runs.items()
            if runs > 1 + interruptions[task]
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
