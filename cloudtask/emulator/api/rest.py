"""The REST face of an API: JSON over HTTP, for clients without gRPC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import hdrs, web
from google.rpc import code_pb2

from cloudtask.emulator.api.statuses import write_error
from cloudtask.emulator.api.transcoding import clean_text
from cloudtask.emulator.values.errors import ApiError, invalid_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtask.emulator.api.transcoding import Call

#: The longest body of a request, as of Google's APIs. A batch of large tasks
#: needs several requests.
MAX_BODY_BYTES = 10 * 1024 * 1024

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class RestService(Protocol):
    """A service that is called over REST."""

    def find_call(self, verb: str, path: str) -> Call | None:
        """Return what a request calls, None if it is not of this service."""
        ...

    async def carry_out(
        self, call: Call, query: str, body: bytes, headers: dict[str, str]
    ) -> dict[str, Any]:
        """
        Carry out a call and return its response as JSON.

        Args:
            call: What find_call() returned.
            query: The URL's, percent-encoded.
            body: The request's.
            headers: The request's; of one that is repeated, the joined values.

        Raises:
            ApiError: The call is refused.
        """
        ...


def add_routes(app: web.Application, services: Sequence[RestService]) -> None:
    """
    Serve the APIs, and the refusal of every path that nothing else serves.

    Call this after all other routes are added.
    """
    face = RestFace(services)
    app.router.add_route(hdrs.METH_ANY, "/{path:(?s:.*)}", face.answer)


class RestFace:
    """Answers HTTP requests with the service that has such a path."""

    def __init__(self, services: Sequence[RestService]) -> None:
        self._services = services

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request: what the method returned, or a refusal as JSON."""
        try:
            return _response(await self._carry_out(request))
        except ApiError as error:
            status, content = write_error(error)
            return _response(content, status)

    async def _carry_out(self, request: web.Request) -> dict[str, Any]:
        path, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        service, call = self._find_call(request.method, path)
        body = await _body(request)
        return await service.carry_out(call, query, body, _headers(request))

    def _find_call(self, verb: str, path: str) -> tuple[RestService, Call]:
        for service in self._services:
            call = service.find_call(verb, path)
            if call is not None:
                return service, call
        raise ApiError(code_pb2.NOT_FOUND, "Method not found.")


def _headers(request: web.Request) -> dict[str, str]:
    return {
        name: clean_text(", ".join(request.headers.getall(name)))
        for name in request.headers
    }


async def _body(request: web.Request) -> bytes:
    try:
        return await request.clone(client_max_size=MAX_BODY_BYTES).read()
    except web.HTTPRequestEntityTooLarge:
        raise invalid_argument(
            f"Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes."
        ) from None
    except (web.RequestPayloadError, ConnectionError):
        raise invalid_argument("The body does not arrive as announced.") from None


def _response(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        text=json.dumps(content, indent=2) + "\n",
        status=status,
        content_type="application/json",
        charset="UTF-8",
        headers=_HEADERS,
    )
