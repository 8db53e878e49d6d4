"""The thin edge: engine, servers and dispatcher on one event loop."""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
from aiohttp import web

from cloudtask.emulator import instants
from cloudtask.emulator.delivery import HttpDelivery
from cloudtask.emulator.dispatcher import Dispatcher
from cloudtask.emulator.engine import Engine
from cloudtask.emulator.journal import Journal
from cloudtask.emulator.service import CloudTasksService
from cloudtask.emulator.tokens import DEFAULT_ISSUER, TokenIssuer
from cloudtask.emulator.web import application

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.journal import Attempt

_CHANNEL_OPTIONS = (
    # Two emulators on one port would share the calls between them.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """How an emulator is set up."""

    host: str = "127.0.0.1"  # Where both servers listen.
    port: int = 0  # gRPC; 0 takes a free one.
    http_port: int = 0  # Keys and discovery; 0 takes a free one.
    issuer: str = DEFAULT_ISSUER  # The `iss` of its OIDC tokens.
    tombstone_ttl: timedelta = timedelta(hours=24)  # Used task names stay blocked.
    allowed_hosts: tuple[str, ...] = ()  # Names for the HTTP server, see web.py.
    allow_public_targets: bool = False  # Dispatch to the internet, too.
    stop_grace: timedelta = timedelta(seconds=2)  # For requests under way.
    on_attempt: Callable[[Attempt], object] | None = None


class Runtime:
    """Everything that runs, on the event loop that starts it."""

    def __init__(self, options: EmulatorOptions) -> None:
        self.journal = Journal()
        self.engine = Engine(
            _random_task_id, instants.from_timedelta(options.tombstone_ttl)
        )
        self.port = options.port
        self.http_port = options.http_port
        self._options = options
        self._grace_seconds = options.stop_grace.total_seconds()
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """
        Start serving.

        Raises:
            OSError: An address is not to be had.
        """
        # The parts stop in the reverse order: first no more calls come in,
        # then what is being sent gets its time, then the client closes.
        async with AsyncExitStack() as stack:
            options = self._options
            issuer = TokenIssuer(options.issuer)
            delivery = await stack.enter_async_context(
                HttpDelivery(_now, allow_public_targets=options.allow_public_targets)
            )
            dispatcher = Dispatcher(
                self.engine, delivery, issuer, self.journal, _now, options.on_attempt
            )
            stack.push_async_callback(dispatcher.stop, self._grace_seconds)
            await self._serve_http(stack, issuer)
            service = CloudTasksService(self.engine, _now, dispatcher.poke)
            await self._serve_grpc(stack, service)
            self._running = stack.pop_all()

    async def stop(self) -> None:
        await self._running.aclose()

    async def _serve_http(self, stack: AsyncExitStack, issuer: TokenIssuer) -> None:
        options = self._options
        runner = web.AppRunner(
            application(issuer, (options.host, *options.allowed_hosts)),
            access_log=None,
            shutdown_timeout=self._grace_seconds,
        )
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, options.host, options.http_port).start()
        self.http_port = runner.addresses[0][1]

    async def _serve_grpc(
        self, stack: AsyncExitStack, service: CloudTasksService
    ) -> None:
        address = join_address(self._options.host, self._options.port)
        server = grpc.aio.server(options=_CHANNEL_OPTIONS)
        server.add_generic_rpc_handlers((service.handler(),))
        try:
            self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        stack.push_async_callback(server.stop, self._grace_seconds)
        await server.start()


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _now() -> int:
    return time.time_ns() // 1000


def _random_task_id() -> str:
    # 17 to 20 digits, as the service's own ids.
    return str(10**16 + secrets.randbelow(2**64 - 10**16))
