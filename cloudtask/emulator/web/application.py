"""The HTTP port: keys, the API, the instrument and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from cloudtask.emulator.api import rest
from cloudtask.emulator.tasks.admin import routes
from cloudtask.emulator.web import keys, page
from cloudtask.emulator.web.answers import add_headers, refusals
from cloudtask.emulator.web.events import EventStreams
from cloudtask.emulator.web.guard import guard

if TYPE_CHECKING:
    from collections.abc import Collection

    from cloudtask.emulator.identity.tokens import TokenIssuer
    from cloudtask.emulator.tasks.api.methods import Api
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.instrument import Instrument


def application(
    *,
    api: Api,
    engine: Engine,
    instrument: Instrument,
    issuer: TokenIssuer,
    allowed_hosts: Collection[str],
) -> web.Application:
    """
    Return the web application.

    Args:
        api: Served as REST.
        engine: Read for the page.
        instrument: What the page and the admin routes steer.
        issuer: Whose keys are published.
        allowed_hosts: Names under which the server may be called, besides
            loopback ones.
    """
    app = web.Application(middlewares=[refusals, guard(allowed_hosts)])
    app.on_response_prepare.append(add_headers)
    streams = EventStreams(instrument.journal.watched)
    app.on_shutdown.append(streams.close)
    app.router.add_get("/healthz", _health)
    app.router.add_get("/emulator/events", streams.answer, allow_head=False)
    keys.add_routes(app, issuer)
    routes.add_routes(app, engine, instrument)
    page.add_routes(app)
    rest.add_routes(app, api)  # The last: it refuses what is left.
    return app


async def _health(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")
