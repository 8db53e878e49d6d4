"""Sends requests to their targets over HTTP."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Self

import aiohttp
from yarl import URL

from cloudtask.emulator.targets.connections import Connector
from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.targets.rules import TargetRules
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from types import TracebackType

    from cloudtask.emulator.targets.messages import Request

#: How long an idle connection to a target is kept, in seconds. Shorter than
#: servers keep it: a POST on a connection that the server just closed would be
#: a failed attempt that nobody asked for.
KEEP_ALIVE_SECONDS = 1.0

#: How much of an answer's body is kept, in bytes.
MAX_KEPT_BYTES = 4096

_CHUNK_BYTES = 65_536
# Longest header of an answer. A long one does not make an attempt a failure.
_MAX_HEADER_BYTES = 262_144


class HttpDelivery:
    """
    An HTTP client that sends what a request says and nothing else.

    Use it as an asynchronous context manager.

    Args:
        allow_public_targets: Whether targets on the internet are allowed, too.
    """

    def __init__(self, *, allow_public_targets: bool = False) -> None:
        self._rules = TargetRules(allow_public_targets)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # The queues limit the concurrency.
            connector=Connector(
                self._rules, limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
            max_field_size=_MAX_HEADER_BYTES,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send(self, request: Request) -> Answer:
        """
        Send a request and wait for the answer.

        Redirects are followed if it says so. Whatever goes wrong on the way is
        an answer without a status, never an exception.
        """
        try:
            return await self._exchange(request)
        except TimeoutError:
            return Answer(timed_out=True, error="no answer within the deadline")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: a URL or a header that HTTP cannot express. The API
            # accepts such tasks, so it is the attempt that fails.
            return Answer(error=_describe(error))

    async def _exchange(self, request: Request) -> Answer:
        url = URL(request.url, encoded=True)
        self._rules.check_host(url.raw_host or "")
        async with self._session.request(
            request.method,
            url,
            data=request.body or None,
            headers=request.headers,
            allow_redirects=request.follow_redirects,
            timeout=aiohttp.ClientTimeout(total=request.deadline / SECOND),
        ) as response:
            body, size = await _read(response)
        return Answer(
            response.status,
            retry_after=response.headers.get("Retry-After"),
            body=body,
            size=size,
        )


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, int]:
    """Return the beginning of a body, and the number of all its bytes."""
    beginning, size = b"", 0
    # To the end, so that the connection can be used again.
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        beginning += chunk[: MAX_KEPT_BYTES - len(beginning)]
        size += len(chunk)
    return beginning, size


def _describe(error: Exception) -> str:
    match error:
        case aiohttp.InvalidURL():
            return f"not a URL that anything can be sent to: {error}"
        case aiohttp.ClientConnectorCertificateError():
            reason = str(error.certificate_error)
        case aiohttp.ClientConnectorError():
            reason = _reason(error.os_error)
        case _:
            return str(error) or type(error).__name__
    return f"no connection to {error.host}:{error.port}: {reason}"


def _reason(error: OSError) -> str:
    # The text of one with a number names an address instead, unless it is that
    # of the resolver.
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
