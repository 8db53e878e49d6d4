"""The HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from cloudtask.emulator.serving.addresses import check_free

if TYPE_CHECKING:
    from contextlib import AsyncExitStack


async def start_http(
    app: web.Application,
    host: str,
    port: int,
    *,
    grace_seconds: float,
    stack: AsyncExitStack,
) -> int:
    """
    Serve an application until the stack is closed, and return the port.

    Args:
        app: What is served.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        grace_seconds: How long requests get to finish in the end.
        stack: Stops the server.

    Raises:
        OSError: The address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace_seconds)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    check_free(host, port)
    await web.TCPSite(runner, host, port).start()
    taken: int = runner.addresses[0][1]
    return taken
