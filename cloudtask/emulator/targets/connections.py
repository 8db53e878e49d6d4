"""
Connections to targets that take one answer, whatever bytes follow it.

aiohttp's parser takes the bytes after an answer for the next answer. If they
are not one, and came in one packet with the answer, both are lost.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, cast

from aiohttp import ClientPayloadError, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD

from cloudtask.emulator.targets.rules import ForbiddenTarget, GuardedResolver

if TYPE_CHECKING:
    from aiohttp import ClientRequest, StreamReader
    from aiohttp.connector import Connection

    from cloudtask.emulator.targets.rules import TargetRules

_SWITCHING_PROTOCOLS = 101


class Connector(TCPConnector):
    """
    A TCPConnector whose connections take one answer for each request.

    A connection is closed after an answer that can have no body, such as 204:
    a server that sends one nevertheless may send it late, when the next
    request is under way.

    Args:
        rules: Which addresses are connected to.
        options: See TCPConnector.
    """

    def __init__(self, rules: TargetRules, **options: Any) -> None:
        super().__init__(resolver=GuardedResolver(rules), **options)
        self._rules = rules
        self._factory = functools.partial(_handler, asyncio.get_running_loop())

    async def connect(
        self, req: ClientRequest, *args: Any, **kwargs: Any
    ) -> Connection:
        """
        Return a connection for a request, of which nothing was sent yet.

        Raises:
            ForbiddenTarget: It does not lead where a target may be.
        """
        connection = await super().connect(req, *args, **kwargs)
        try:
            # Whoever resolved it, and however.
            peer = cast("AnswerHandler", connection.protocol).peer
            self._rules.check_address(peer, req.url.raw_host or "")
        except ForbiddenTarget:
            connection.close()
            raise
        return connection


class AnswerHandler(ResponseHandler):
    """Passes on one answer for each request and drops what follows it."""

    peer = ""  # The address that it is connected to.
    _has_head = False  # The head of the answer is complete.
    _body: StreamReader | None = None  # None if the answer has none.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the address that this is connected to."""
        super().connection_made(transport)
        # None if it was closed meanwhile.
        self.peer = (transport.get_extra_info("peername") or ("",))[0]

    def set_response_params(self, **params: Any) -> None:
        """Prepare for the answer to the next request."""
        self._has_head, self._body = False, None
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Pass on what belongs to the answer, and close after it."""
        # What the parser refuses goes with all that it was given at once, so a
        # head is given to it line by line.
        start = 0
        while start < len(data) and not self._has_head and not self.exception():
            end = data.find(b"\n", start) + 1 or len(data)
            super().data_received(data[start:end])
            start = end
        if self._body is not None:
            super().data_received(data[start:])
            self._fail(self._body)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a head from the parser, and where its body will be."""
        message, payload = data
        is_final = message.code >= 200 or message.code == _SWITCHING_PROTOCOLS
        if is_final and self._has_head:
            self.abort()
            return
        super().feed_data(data, size)
        if is_final:
            self._has_head = True
            if payload is EMPTY_PAYLOAD:
                self.force_close()
            else:
                self._body = payload

    def _fail(self, body: StreamReader) -> None:
        # The parser tells the next reader of a head, not the one of this body.
        error = self.exception()
        if error is not None and not body.is_eof():
            body.set_exception(ClientPayloadError(str(error)))


def _handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return AnswerHandler(loop)
