"""The HTTP port: health, events, keys, the page, and what services add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from cloudtask.emulator.web import keys, page
from cloudtask.emulator.web.answers import add_headers, refusals
from cloudtask.emulator.web.events import EventStreams
from cloudtask.emulator.web.guard import guard

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    from cloudtask.emulator.identity.tokens import TokenIssuer


def make_application(
    *,
    issuer: TokenIssuer,
    watch: Callable[[], AbstractContextManager[asyncio.Event]],
    allowed_hosts: Collection[str],
    add_routes: Callable[[web.Application], object],
) -> web.Application:
    """
    Return the web application.

    Args:
        issuer: Whose keys are published.
        watch: Gives an event that every change sets, for the page.
        allowed_hosts: Names under which the server may be called, besides
            loopback ones.
        add_routes: Adds what the services have; it comes last, so that it may
            refuse what nobody serves.
    """
    app = web.Application(middlewares=[refusals, guard(allowed_hosts)])
    app.on_response_prepare.append(add_headers)
    streams = EventStreams(watch)
    app.on_shutdown.append(streams.close)
    app.router.add_get("/healthz", _health)
    app.router.add_get("/emulator/events", streams.answer, allow_head=False)
    keys.add_routes(app, issuer)
    page.add_routes(app)
    add_routes(app)
    return app


async def _health(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")
