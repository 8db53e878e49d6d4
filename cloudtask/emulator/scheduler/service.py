"""Cloud Scheduler put together, on one event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.emulator.api.grpc_handlers import GrpcService
from cloudtask.emulator.scheduler.admin import routes
from cloudtask.emulator.scheduler.api.methods import Api
from cloudtask.emulator.scheduler.api.rest import RestJobs
from cloudtask.emulator.scheduler.api.services import JOB_METHODS, SERVICE
from cloudtask.emulator.scheduler.instrument import Instrument
from cloudtask.emulator.scheduler.sending.dispatcher import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from cloudtask.emulator.changes import Changes, Records
    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.identity.tokens import TokenIssuer
    from cloudtask.emulator.pace.travel import Travel
    from cloudtask.emulator.scheduler.engine.engine import Engine
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt
    from cloudtask.emulator.storage.commits import Commits
    from cloudtask.emulator.targets.delivery import HttpDelivery


class SchedulerService:
    """
    The service over an engine: what calls it, sends for it and shows it.

    Args:
        engine: Where jobs are.
        commits: Keeps what the engine did.
        delivery: Sends requests to targets.
        issuer: Makes the tokens of dispatches.
        attempts: Takes what was sent.
        changes: Who is told of what changes.
        clock: Tells the time.
        travel: Moves it; the dispatcher goes by it.
        on_attempt: Called with each attempt; None if nobody wants to know.

    Attributes:
        dispatcher: Sends what is due, once it is started.
        instrument: What tests can see and do.
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
        attempts: Records[JobAttempt],
        changes: Changes,
        clock: Clock,
        travel: Travel,
        on_attempt: Callable[[JobAttempt], object] | None = None,
    ) -> None:
        self.dispatcher = Dispatcher(
            engine, commits, delivery, issuer, attempts, changes, clock, on_attempt
        )
        travel.add(self.dispatcher.pump)
        self.instrument = Instrument(engine, attempts)
        self.api = Api(
            engine,
            commits,
            clock,
            changed=self.dispatcher.poke,
            send=self.dispatcher.send,
        )
        self.rest = RestJobs(self.api)

    def grpc_services(self) -> list[GrpcService]:
        """Return what is served over gRPC, but for locations."""
        return [GrpcService(SERVICE, JOB_METHODS, self.api.call)]

    def add_routes(self, app: web.Application) -> None:
        """Serve what shows the jobs."""
        routes.add_routes(app, self.instrument)
