"""Server-sent events: a page learns that something changed, not what."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Type": "text/event-stream",
}
_RECONNECT = b"retry: 1000\n\n"  # Milliseconds.
_CHANGED = b"event: changed\ndata: {}\n\n"
_HEARTBEAT = b": still here\n\n"


class EventStreams:
    """
    The open streams of an application.

    Args:
        watch: Gives an event that is set with every change, as long as it
            is entered.
        interval: Least time between two events of one stream, in seconds.
        heartbeat: After so many seconds without an event a comment is sent,
            which shows both sides that the other is there.
    """

    def __init__(
        self,
        watch: Callable[[], AbstractContextManager[asyncio.Event]],
        *,
        interval: float = 0.2,
        heartbeat: float = 15,
    ) -> None:
        self._watch = watch
        self._interval = interval
        self._heartbeat = heartbeat
        self._wakers: set[asyncio.Event] = set()
        self._is_closed = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Send events until the client has gone or close() is called."""
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        with self._watch() as changed, suppress(ConnectionResetError):
            self._wakers.add(changed)
            try:
                await self._tell(response, changed)
            finally:
                self._wakers.discard(changed)
        return response

    async def close(self, app: web.Application) -> None:
        """End all streams, as a signal handler of their application."""
        self._is_closed = True
        for waker in self._wakers:
            waker.set()

    async def _tell(self, response: web.StreamResponse, changed: asyncio.Event) -> None:
        await response.write(_RECONNECT)
        while not self._is_closed:
            try:
                async with asyncio.timeout(self._heartbeat):
                    await changed.wait()
            except TimeoutError:
                await response.write(_HEARTBEAT)
                continue
            if not self._is_closed:
                changed.clear()
                await response.write(_CHANGED)
                await asyncio.sleep(self._interval)
