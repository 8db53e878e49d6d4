"""Everything that runs: the store, the services and the two servers."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from cloudtask.cron import Doubled
from cloudtask.emulator.api import places, rest
from cloudtask.emulator.api.grpc_handlers import GrpcService
from cloudtask.emulator.changes import Changes, Records
from cloudtask.emulator.clock import Clock
from cloudtask.emulator.identity.tokens import TokenIssuer
from cloudtask.emulator.pace.travel import Travel
from cloudtask.emulator.scheduler.engine import engine as scheduler
from cloudtask.emulator.scheduler.engine import options as scheduler_options
from cloudtask.emulator.scheduler.sending.attempts import MAX_ATTEMPTS, JobAttempt
from cloudtask.emulator.scheduler.service import SchedulerService
from cloudtask.emulator.scheduler.tables.store import Store as JobStore
from cloudtask.emulator.schema import SCHEMA
from cloudtask.emulator.serving.grpc_server import start_grpc
from cloudtask.emulator.serving.http_server import start_http
from cloudtask.emulator.storage.commits import Commits, States
from cloudtask.emulator.storage.file import StoreFile
from cloudtask.emulator.targets.delivery import HttpDelivery
from cloudtask.emulator.tasks.engine.engine import Engine, EngineOptions
from cloudtask.emulator.tasks.faults import Faults
from cloudtask.emulator.tasks.sending.journal import Journal
from cloudtask.emulator.tasks.service import TasksService
from cloudtask.emulator.tasks.tables.store import Store
from cloudtask.emulator.values import instants
from cloudtask.emulator.web.application import make_application

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from cloudtask.emulator.options import EmulatorOptions

_KEY = "private_key"


class Runtime:
    """
    Everything that runs, on the event loop that starts it.

    Args:
        options: How it is set up.
        declare: Given the engine and `now`, makes the queues that are there
            from the start and after every reset.
    """

    def __init__(
        self, options: EmulatorOptions, declare: Callable[[Engine, int], object]
    ) -> None:
        self.changes = Changes()
        self.journal = Journal(self.changes)
        self.job_attempts: Records[JobAttempt] = Records(self.changes, MAX_ATTEMPTS)
        self.clock = Clock()
        self.faults = Faults()
        self.port = options.port
        self.http_port = options.http_port
        self._options = options
        self._declare = declare
        self._grace_seconds = options.stop_grace.total_seconds()
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """
        Start serving.

        Raises:
            OSError: An address cannot be listened on.
            StoreError: The store cannot be opened.
            ApiError: A declared queue is not valid.
        """
        # The parts stop in the reverse order: first no more calls come in,
        # then what is being sent gets its time, then all is kept.
        async with AsyncExitStack() as stack:
            commits = await self._open(stack)
            await self._assemble(commits, stack)
            await self._serve(stack)
            self.tasks.dispatcher.start()
            self.scheduler.dispatcher.pump.start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop what start() has started, in the reverse order."""
        await self._running.aclose()

    async def _open(self, stack: AsyncExitStack) -> Commits:
        """Open the store, with engines, the key and the declared queues."""
        options = self._options
        file = StoreFile(options.store, SCHEMA)
        stack.callback(file.close)
        self._store = Store(file)
        self._tasks_engine = Engine(
            self._store, self.faults, _random_id, _tasks_options(options)
        )
        self._jobs_engine = scheduler.Engine(
            JobStore(file), _random_id, _jobs_options(options)
        )
        commits = Commits(States(self._tasks_engine, self._jobs_engine))
        stack.callback(commits.commit)
        self._issuer = TokenIssuer(options.issuer, self._store.facts.get(_KEY))
        self._prepare()
        await commits.wait_until_kept()
        return commits

    async def _assemble(self, commits: Commits, stack: AsyncExitStack) -> None:
        options = self._options
        delivery = await stack.enter_async_context(
            HttpDelivery(allow_public_targets=options.allow_public_targets)
        )
        travel = Travel(self.clock)
        self.tasks = TasksService(
            self._tasks_engine,
            commits,
            delivery,
            self._issuer,
            journal=self.journal,
            clock=self.clock,
            travel=travel,
            faults=self.faults,
            declare=self._begin_again,
            on_attempt=options.on_attempt,
        )
        self.scheduler = SchedulerService(
            self._jobs_engine,
            commits,
            delivery,
            self._issuer,
            attempts=self.job_attempts,
            changes=self.changes,
            clock=self.clock,
            travel=travel,
            on_attempt=options.on_job_attempt,
        )
        for pump in (self.tasks.dispatcher.pump, self.scheduler.dispatcher.pump):
            stack.push_async_callback(pump.stop, self._grace_seconds)

    async def _serve(self, stack: AsyncExitStack) -> None:
        options = self._options
        app = make_application(
            issuer=self._issuer,
            watch=self.changes.watch,
            allowed_hosts=(options.host, *options.allowed_hosts),
            add_routes=self._add_routes,
        )
        self.http_port = await start_http(
            app,
            options.host,
            options.http_port,
            grace_seconds=self._grace_seconds,
            stack=stack,
        )
        self.port = await start_grpc(
            {each.name: each.handler() for each in self._list_grpc_services()},
            options.host,
            options.port,
            grace_seconds=self._grace_seconds,
            stack=stack,
        )

    def _list_grpc_services(self) -> list[GrpcService]:
        shared = places.SharedLocations([self.tasks.api.call, self.scheduler.api.call])
        return [
            *self.tasks.grpc_services(),
            *self.scheduler.grpc_services(),
            GrpcService(places.SERVICE, places.METHODS, shared.call),
        ]

    def _add_routes(self, app: web.Application) -> None:
        self.tasks.add_routes(app)
        self.scheduler.add_routes(app)
        rest.add_routes(app, [self.tasks.rest, self.scheduler.rest])

    def _begin_again(self) -> None:
        self._jobs_engine.forget()
        self.job_attempts.clear()
        self._prepare()

    def _prepare(self) -> None:
        if self._store.file.path is not None:
            self._store.facts.keep(_KEY, self._issuer.private_key_pem)
        self._declare(self._tasks_engine, self.clock.now())


def _tasks_options(options: EmulatorOptions) -> EngineOptions:
    return EngineOptions(
        tombstone_ttl=instants.from_timedelta(options.tombstone_ttl),
        queue_tombstone_ttl=instants.from_timedelta(options.queue_tombstone_ttl),
        create_queues=options.create_queues,
        concurrency=options.concurrency,
        app_engine_url=options.app_engine_url,
        require_https=options.require_https,
    )


def _jobs_options(options: EmulatorOptions) -> scheduler_options.EngineOptions:
    return scheduler_options.EngineOptions(
        doubled=Doubled(options.doubled_times),
        growth=options.retry_growth,
        busy_slots=options.busy_slots,
        rephase=options.rephase_intervals,
        app_engine_url=options.app_engine_url,
    )


def _random_id() -> str:
    # 17 to 20 digits, as the ids of tasks that the service makes.
    return str(10**16 + secrets.randbelow(2**64 - 10**16))
