"""Everything that runs: the store, the service and the two servers."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cloudtask.emulator.clock import Clock
from cloudtask.emulator.identity.tokens import DEFAULT_ISSUER, TokenIssuer
from cloudtask.emulator.serving.grpc_server import start_grpc
from cloudtask.emulator.serving.http_server import start_http
from cloudtask.emulator.storage.commits import Commits
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
    from pathlib import Path

    from cloudtask.emulator.tasks.sending.journal import Attempt

_KEY = "private_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """How an emulator is set up."""

    store: Path | None = None  # The file that keeps everything; None keeps nothing.
    host: str = "127.0.0.1"  # Where both servers listen.
    port: int = 0  # gRPC; 0 takes a free one.
    http_port: int = 0  # REST, keys and the page; 0 takes a free one.
    issuer: str = DEFAULT_ISSUER  # The `iss` of its OIDC tokens.
    tombstone_ttl: timedelta = timedelta(hours=24)  # Used task names stay blocked.
    queue_tombstone_ttl: timedelta = timedelta(days=7)  # Used queue names, too.
    create_queues: bool = False  # Make a queue when a task names one.
    concurrency: int | None = None  # Of queues that it makes without a limit.
    app_engine_url: str | None = None  # Where App Engine tasks are sent.
    allowed_hosts: tuple[str, ...] = ()  # Names for the HTTP server, see web.
    allow_public_targets: bool = False  # Dispatch to the internet, too.
    require_https: bool = False  # A token needs an https URL, on local hosts, too.
    stop_grace: timedelta = timedelta(seconds=2)  # For requests under way.
    on_attempt: Callable[[Attempt], object] | None = None


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
        self.journal = Journal()
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
            service = await self._assemble(commits, stack)
            await self._serve(service, stack)
            service.dispatcher.start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop what start() has started, in the reverse order."""
        await self._running.aclose()

    async def _open(self, stack: AsyncExitStack) -> Commits:
        """Open the store, with the engine, the key and the declared queues."""
        options = self._options
        self._store = Store(options.store)
        stack.callback(self._store.file.close)
        self._engine = Engine(
            self._store, self.faults, _random_task_id, _engine_options(options)
        )
        commits = Commits(self._engine)
        stack.callback(commits.commit)
        self._issuer = TokenIssuer(options.issuer, self._store.facts.get(_KEY))
        self._prepare()
        await commits.wait_until_kept()
        return commits

    async def _assemble(self, commits: Commits, stack: AsyncExitStack) -> TasksService:
        options = self._options
        delivery = await stack.enter_async_context(
            HttpDelivery(allow_public_targets=options.allow_public_targets)
        )
        service = TasksService(
            self._engine,
            commits,
            delivery,
            self._issuer,
            journal=self.journal,
            clock=self.clock,
            faults=self.faults,
            declare=self._prepare,
            on_attempt=options.on_attempt,
        )
        stack.push_async_callback(service.dispatcher.stop, self._grace_seconds)
        self.instrument, self.api = service.instrument, service.api
        return service

    async def _serve(self, service: TasksService, stack: AsyncExitStack) -> None:
        options = self._options
        app = make_application(
            issuer=self._issuer,
            watch=self.journal.watch,
            allowed_hosts=(options.host, *options.allowed_hosts),
            add_routes=service.add_routes,
        )
        self.http_port = await start_http(
            app,
            options.host,
            options.http_port,
            grace_seconds=self._grace_seconds,
            stack=stack,
        )
        self.port = await start_grpc(
            {each.name: each.handler() for each in service.grpc_services()},
            options.host,
            options.port,
            grace_seconds=self._grace_seconds,
            stack=stack,
        )

    def _prepare(self) -> None:
        if self._store.file.path is not None:
            self._store.facts.keep(_KEY, self._issuer.private_key_pem)
        self._declare(self._engine, self.clock.now())


def _engine_options(options: EmulatorOptions) -> EngineOptions:
    return EngineOptions(
        tombstone_ttl=instants.from_timedelta(options.tombstone_ttl),
        queue_tombstone_ttl=instants.from_timedelta(options.queue_tombstone_ttl),
        create_queues=options.create_queues,
        concurrency=options.concurrency,
        app_engine_url=options.app_engine_url,
        require_https=options.require_https,
    )


def _random_task_id() -> str:
    # 17 to 20 digits, as the service's own ids.
    return str(10**16 + secrets.randbelow(2**64 - 10**16))
