"""Cloud Tasks put together, on one event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.api import places
from cloudtask.emulator.api.grpc_handlers import GrpcService
from cloudtask.emulator.tasks.admin import routes
from cloudtask.emulator.tasks.api.methods import Api
from cloudtask.emulator.tasks.api.rest import RestTasks
from cloudtask.emulator.tasks.api.services import SERVICES
from cloudtask.emulator.tasks.instrument import Instrument
from cloudtask.emulator.tasks.sending.dispatcher import Dispatcher
from cloudtask.emulator.tasks.v2beta3 import translation

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.identity.tokens import TokenIssuer
    from cloudtask.emulator.pace.travel import Travel
    from cloudtask.emulator.storage.commits import Commits
    from cloudtask.emulator.targets.delivery import HttpDelivery
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.faults import Faults
    from cloudtask.emulator.tasks.sending.journal import Attempt, Journal


class TasksService:
    """
    The service over an engine: what calls it, sends for it and steers it.

    Args:
        engine: Where queues and tasks are.
        commits: Keeps what the engine did.
        delivery: Sends requests to targets.
        issuer: Makes the tokens of dispatches.
        journal: Takes what was sent.
        clock: Tells the time.
        travel: Moves it; the dispatcher goes by it.
        faults: What is to go wrong on purpose; the engine has the same.
        declare: Makes the queues that are there after a reset.
        on_attempt: Called with each attempt; None if nobody wants to know.

    Attributes:
        dispatcher: Sends what is due, once it is started.
        instrument: What tests can do to it.
        api: Its methods.
        rest: The same for the REST face.
    """

    def __init__(
        self,
        engine: Engine,
        commits: Commits,
        delivery: HttpDelivery,
        issuer: TokenIssuer,
        *,
        journal: Journal,
        clock: Clock,
        travel: Travel,
        faults: Faults,
        declare: Callable[[], object],
        on_attempt: Callable[[Attempt], object] | None = None,
    ) -> None:
        self._engine = engine
        self.dispatcher = Dispatcher(
            engine, commits, delivery, issuer, journal, clock, on_attempt
        )
        travel.add(self.dispatcher.pump)
        self.instrument = Instrument(
            engine, commits, travel, journal, clock, faults, declare
        )
        self.api = Api(
            engine,
            commits,
            clock,
            faults,
            changed=self.dispatcher.poke,
            send=self.dispatcher.send,
        )
        self.rest = RestTasks(self.api)

    def grpc_services(self) -> list[GrpcService]:
        """Return what is served over gRPC, but for locations."""
        beta = GrpcService(translation.SERVICE, translation.METHODS, self._call_beta)
        return [
            beta,
            *(
                GrpcService(name, methods, self.api.call)
                for name, methods in SERVICES.items()
                if name != places.SERVICE
            ),
        ]

    def add_routes(self, app: web.Application) -> None:
        """Serve what steers and shows the service."""
        routes.add_routes(app, self._engine, self.instrument)

    async def _call_beta(self, method: str, request: Any) -> Any:
        """Carry out a call of v2beta3."""
        response = await self.api.call(
            method, translation.read_request(method, request)
        )
        return translation.write_response(request, response, self.api.figures)
