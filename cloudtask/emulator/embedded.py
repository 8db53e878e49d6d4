"""An emulator inside the current process, on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from google.cloud import tasks_v2

from cloudtask.emulator.options import EmulatorOptions
from cloudtask.emulator.runtime import Runtime
from cloudtask.emulator.serving.addresses import join_address
from cloudtask.emulator.tasks.declarations import parse_queue
from cloudtask.emulator.tasks.faults import Fault
from cloudtask.emulator.tasks.model.queues import QueueOptions, make_declared
from cloudtask.emulator.values.instants import from_timedelta, to_datetime
from cloudtask.emulator.values.locations import is_location_path

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from datetime import datetime
    from types import TracebackType

    from cloudtask.emulator.options import (
        Duration,
        FaultArguments,
        OptionArguments,
    )
    from cloudtask.emulator.scheduler.instrument import JobView
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.faults import FaultKind
    from cloudtask.emulator.tasks.instrument import QueueView
    from cloudtask.emulator.tasks.sending.journal import Attempt

T = TypeVar("T")

_CreateQueueRequest = tasks_v2.CreateQueueRequest.pb()
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


class Emulator:
    """
    Cloud Tasks and Cloud Scheduler for a test or a development server.

        with Emulator(queues=["emails:max_attempts=3"]) as emulator:
            channel = grpc.insecure_channel(emulator.host)

    Everything is kept in memory and forgotten with stop(), unless there is a
    `store`. Several emulators may run at once. All methods may be called from
    any thread but its own.

    Args:
        queues: What to create in `project` and `location`, see parse_queue().
        project: For queue_path() and create_queue(); the API serves any.
        location: Likewise.
        options: See EmulatorOptions. `on_attempt` is called with each Attempt,
            `on_job_attempt` with each JobAttempt, on the emulator's thread.
            They must not block it.
    """

    def __init__(
        self,
        queues: Iterable[str] = ("default",),
        *,
        project: str = "demo",
        location: str = "local",
        **options: Unpack[OptionArguments],
    ) -> None:
        self.parent = f"projects/{project}/locations/{location}"
        if not is_location_path(self.parent):
            raise ValueError(f"{self.parent!r} is not a project and a location.")
        self._queues = [parse_queue(text) for text in queues]
        self._options = EmulatorOptions(**options)
        self._runtime = Runtime(self._options, self._declare)
        self._journal = self._runtime.journal
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ask_to_stop: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def host(self) -> str:
        """The gRPC address, for grpc.insecure_channel()."""
        return join_address(self._reachable_host, self._runtime.port)

    @property
    def http_url(self) -> str:
        """Where `/certs`, `/jwks` and the OpenID configuration are."""
        return f"http://{join_address(self._reachable_host, self._runtime.http_port)}"

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts so far, oldest first; the last 10,000 are kept."""
        return self._journal.attempts

    @property
    def pending(self) -> int:
        """How many tasks are waiting, due or in flight."""
        return self._journal.pending

    @property
    def idle(self) -> bool:
        """Whether every task is finished. One for tomorrow is not."""
        return self.pending == 0

    @property
    def queues(self) -> list[QueueView]:
        """All queues as they are now, ordered by their paths."""
        return self._call(lambda: _on_loop(self._runtime.tasks.instrument.queues))

    @property
    def jobs(self) -> list[JobView]:
        """All jobs as they are now, ordered by their names."""
        return self._call(lambda: _on_loop(self._runtime.scheduler.instrument.jobs))

    @property
    def job_attempts(self) -> list[JobAttempt]:
        """The attempts of jobs, oldest first; the last 10,000 are kept."""
        return self._runtime.job_attempts.list_all()

    def start(self) -> Self:
        """
        Start the emulator and return it when it serves.

        Raises:
            OSError: An address cannot be listened on.
            StoreError: The store cannot be opened.
            ApiError: A declared queue is not valid.
            RuntimeError: It has been started before.
        """
        if self._thread is not None:
            raise RuntimeError("An emulator can be started once. Create another one.")
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)),
            name="cloudtask-emulator",
            daemon=True,
        )
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """
        Stop serving and end the thread; once stopped, do nothing.

        Requests under way get `stop_grace` to finish.
        """
        if self._thread is None:
            return
        # A loop that did not start to serve closes by itself.
        with contextlib.suppress(RuntimeError):
            self._ask_to_stop()
        self._thread.join()

    def queue_path(self, queue: str) -> str:
        """Return the path of a queue in `project` and `location`."""
        return f"{self.parent}/queues/{queue}"

    def job_path(self, job: str) -> str:
        """Return the full name of a job in `project` and `location`."""
        return f"{self.parent}/jobs/{job}"

    def run_job(self, job: str) -> list[JobAttempt]:
        """
        Run a job now, as RunJob does, and send what is due.

        Args:
            job: Its id, in `project` and `location`.

        Returns:
            The attempts of this job made meanwhile.

        Raises:
            ApiError: There is no such job.
            TimeoutError: It took longer than 10 seconds.
        """
        name, before = self.job_path(job), self._runtime.job_attempts.count
        self._call(lambda: self._runtime.scheduler.api.run_job(name))
        self.drain()
        made = self._runtime.job_attempts.list_since(before)
        return [attempt for attempt in made if attempt.name == name]

    def job_log(self, job: str) -> list[dict[str, Any]]:
        """
        Return the execution log of a job, as entries of Cloud Logging.

        Raises:
            ApiError: There is no such job.
        """
        log = self._runtime.scheduler.instrument.log
        return self._call(lambda: _on_loop(lambda: log(self.job_path(job))))

    def create_queue(self, name: str, **options: Unpack[QueueOptions]) -> str:
        """
        Create a queue and return its path.

        Raises:
            ApiError: It exists or an option is out of range.
        """
        path = self.queue_path(name)
        request = _CreateQueueRequest(
            parent=self.parent, queue=make_declared(path, options)
        )
        self._call(lambda: self._runtime.tasks.api.call("CreateQueue", request))
        return path

    def wait_for(self, predicate: Callable[[], object], timeout: float = 10) -> None:
        """
        Return as soon as `predicate()` is true.

            emulator.wait_for(lambda: emulator.idle)

        It is evaluated now and after every created task, recorded attempt or
        other change.

        Raises:
            TimeoutError: It was not true within `timeout` seconds.
        """
        self._journal.wait_for(predicate, timeout)

    def advance(
        self, *, timeout: float = 10, **duration: Unpack[Duration]
    ) -> list[Attempt]:
        """
        Move the clock by a duration, as for timedelta: `advance(hours=1)`.

        It stops wherever something is due on the way and waits for the
        answers, so that schedules and retries happen as they would. Jobs run
        in all of their slots.

        Returns:
            The attempts of tasks made meanwhile; those of jobs are in
            `job_attempts`.

        Raises:
            TimeoutError: It took longer than `timeout` seconds, in real time.
        """
        microseconds = from_timedelta(timedelta(**duration))
        return self._call(
            lambda: self._runtime.tasks.instrument.advance(microseconds, timeout)
        )

    def drain(self, timeout: float = 10) -> list[Attempt]:
        """
        Send what is due, and what becomes due by that, until nothing is.

        What is scheduled for later, retries too, stays: see advance().

        Returns:
            The attempts made meanwhile.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
        """
        return self._call(lambda: self._runtime.tasks.instrument.drain(timeout))

    def reset(self) -> None:
        """
        Forget queues, tasks, jobs, attempts and faults, and reset the clock.

        The queues that were declared at the start are there again.
        """
        self._call(self._runtime.tasks.instrument.reset)

    def inject(self, kind: FaultKind, **options: Unpack[FaultArguments]) -> Fault:
        """
        Let something go wrong: `inject("timeout", queue="emails", times=2)`.

        See Fault for the kinds and the options.

        Raises:
            ValueError: An option is not valid.
        """
        fault = Fault(kind, **options)
        return self._call(
            lambda: _on_loop(lambda: self._runtime.tasks.instrument.inject(fault))
        )

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._call(lambda: _on_loop(self._runtime.tasks.instrument.clear_faults))

    @property
    def now(self) -> datetime:
        """What the emulator's clock says, in UTC."""
        return to_datetime(self._runtime.clock.now())

    @property
    def _reachable_host(self) -> str:
        return _WILDCARDS.get(self._options.host, self._options.host)

    async def _serve(self, started: Future[None]) -> None:
        self._loop = loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        self._ask_to_stop = lambda: loop.call_soon_threadsafe(stopping.set)
        try:
            await self._runtime.start()
        except Exception as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await stopping.wait()
        await self._runtime.stop()

    def _declare(self, engine: Engine, now: int) -> None:
        for name, options in self._queues:
            engine.queues.declare(self.queue_path(name), options, now)

    def _call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the emulator's loop and return its result."""
        if self._loop is None or not self._loop.is_running():
            raise RuntimeError("This emulator is not running.")
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result()


async def _on_loop(function: Callable[[], T]) -> T:
    return function()
