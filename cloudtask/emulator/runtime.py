"""The thin edge: engine, servers and dispatcher on one event loop."""

from __future__ import annotations

import secrets
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import grpc
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cloudtask.emulator.api.grpc_server import handlers
from cloudtask.emulator.clock import Clock
from cloudtask.emulator.identity.tokens import DEFAULT_ISSUER, TokenIssuer
from cloudtask.emulator.storage.commits import Commits
from cloudtask.emulator.targets.delivery import HttpDelivery
from cloudtask.emulator.tasks.api.methods import SERVICES, Api
from cloudtask.emulator.tasks.engine.engine import Engine, EngineOptions
from cloudtask.emulator.tasks.faults import Faults
from cloudtask.emulator.tasks.instrument import Instrument
from cloudtask.emulator.tasks.sending.dispatcher import Dispatcher
from cloudtask.emulator.tasks.sending.journal import Journal
from cloudtask.emulator.tasks.store import Store
from cloudtask.emulator.tasks.v2beta3 import translation
from cloudtask.emulator.values import instants
from cloudtask.emulator.web.application import application

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudtask.emulator.tasks.sending.journal import Attempt

_CHANNEL_OPTIONS = (
    # Two emulators on one port would share the calls between them.
    ("grpc.so_reuseport", 0),
    # A batch of 100 tasks of 1 MiB; more than any client sends.
    ("grpc.max_receive_message_length", 110 * 1024 * 1024),
    # Clients may ask as often as they like if it is there.
    ("grpc.http2.max_ping_strikes", 0),
)

_KEY = "private_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """How an emulator is set up."""

    store: Path | None = None  # The file that keeps all; None keeps nothing.
    host: str = "127.0.0.1"  # Where both servers listen.
    port: int = 0  # gRPC; 0 takes a free one.
    http_port: int = 0  # REST, keys and the page; 0 takes a free one.
    issuer: str = DEFAULT_ISSUER  # The `iss` of its OIDC tokens.
    tombstone_ttl: timedelta = timedelta(hours=24)  # Used task names stay blocked.
    queue_tombstone_ttl: timedelta = timedelta(days=7)  # Likewise queue names.
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

    Raises:
        StoreError: The store is not to be had.
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
            OSError: An address is not to be had.
            StoreError: The store is not to be had.
            ApiError: A declared queue is not valid.
        """
        options = self._options
        # The parts stop in the reverse order: first no more calls come in,
        # then what is being sent gets its time, then all is kept.
        async with AsyncExitStack() as stack:
            self._store = Store(options.store)
            stack.callback(self._store.close)
            self.engine = Engine(
                self._store,
                self.faults,
                _random_task_id,
                EngineOptions(
                    tombstone_ttl=instants.from_timedelta(options.tombstone_ttl),
                    queue_tombstone_ttl=instants.from_timedelta(
                        options.queue_tombstone_ttl
                    ),
                    create_queues=options.create_queues,
                    concurrency=options.concurrency,
                    app_engine_url=options.app_engine_url,
                    require_https=options.require_https,
                ),
            )
            commits = Commits(self.engine)
            stack.callback(commits.commit)
            self._issuer = TokenIssuer(options.issuer, self._store.fact(_KEY))
            self._prepare()
            await commits.kept()
            delivery = await stack.enter_async_context(
                HttpDelivery(allow_public_targets=options.allow_public_targets)
            )
            dispatcher = Dispatcher(
                self.engine,
                commits,
                delivery,
                self._issuer,
                self.journal,
                self.clock,
                options.on_attempt,
            )
            stack.push_async_callback(dispatcher.stop, self._grace_seconds)
            self.instrument = Instrument(
                self.engine,
                commits,
                dispatcher,
                self.journal,
                self.clock,
                self.faults,
                self._prepare,
            )
            self.api = Api(
                self.engine,
                commits,
                self.clock,
                self.faults,
                changed=dispatcher.poke,
                send=dispatcher.send,
            )
            await self._serve_http(stack)
            await self._serve_grpc(stack)
            dispatcher.start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        await self._running.aclose()

    def _prepare(self) -> None:
        if self._store.path is not None:
            self._store.keep_fact(_KEY, self._issuer.private_key_pem)
        self._declare(self.engine, self.clock.now())

    async def _serve_http(self, stack: AsyncExitStack) -> None:
        options = self._options
        app = application(
            api=self.api,
            engine=self.engine,
            instrument=self.instrument,
            issuer=self._issuer,
            allowed_hosts=(options.host, *options.allowed_hosts),
        )
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=self._grace_seconds,
        )
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        _check_free(options.host, options.http_port)
        await web.TCPSite(runner, options.host, options.http_port).start()
        self.http_port = runner.addresses[0][1]

    async def _serve_grpc(self, stack: AsyncExitStack) -> None:
        _check_free(self._options.host, self._options.port)
        address = join_address(self._options.host, self._options.port)
        server = grpc.aio.server(options=_CHANNEL_OPTIONS)
        server.add_generic_rpc_handlers(handlers(self.api))
        # For the probes of container platforms, which know this service.
        servicer = cast("Any", health).aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        try:
            self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        stack.push_async_callback(server.stop, self._grace_seconds)
        await server.start()
        for service in ("", *SERVICES, translation.SERVICE):
            await servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        stack.push_async_callback(servicer.enter_graceful_shutdown)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_free(host: str, port: int) -> None:
    """
    Raise OSError, in words, if an address cannot be listened on.

    The servers would not say it as well, and gRPC logs on its own.
    """
    kind = socket.SOCK_STREAM
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            host or None, port, type=kind, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind) as probe:
                # As the servers do; the address of one that ended is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(
            f"cannot listen on {join_address(host, port)}: {reason}"
        ) from error


def _random_task_id() -> str:
    # 17 to 20 digits, as the service's own ids.
    return str(10**16 + secrets.randbelow(2**64 - 10**16))
