"""The REST face of the API: JSON over HTTP, for clients that speak no gRPC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from cloudtask.emulator.api import transcoding
from cloudtask.emulator.values import header_rules
from cloudtask.emulator.values.errors import ApiError, invalid_argument

if TYPE_CHECKING:
    from cloudtask.emulator.api.transcoding import Call
    from cloudtask.emulator.tasks.api.methods import Api

#: The longest body of a request, as of Google's APIs. A batch of large tasks
#: needs several requests.
MAX_BODY_BYTES = 10 * 1024 * 1024

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def add_routes(app: web.Application, api: Api) -> None:
    """
    Serve the API, and the refusal of every path that nothing else serves.

    Call this after all other routes are added.
    """
    app.router.add_route(hdrs.METH_ANY, "/{path:(?s:.*)}", RestFace(api).answer)


class RestFace:
    """Answers HTTP requests with an Api."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def answer(self, request: web.Request) -> web.Response:
        try:
            return _response(await self._carry_out(request))
        except ApiError as error:
            status, content = transcoding.write_error(error)
            return _response(content, status)

    async def _carry_out(self, request: web.Request) -> dict[str, Any]:
        query = request.rel_url.raw_query_string
        call = transcoding.find_call(request.method, request.rel_url.raw_path)
        body = await _body(request)
        message = call.read(query, body)
        if call.method == "BufferTask":
            response = await self._buffer_task(call, request, body)
        else:
            response = await self._api.call(call.method, message)
        return call.write(response, query)

    async def _buffer_task(self, call: Call, request: web.Request, body: bytes) -> Any:
        sent = {
            name: transcoding.readable(", ".join(request.headers.getall(name)))
            for name in request.headers
        }
        _, *task_ids = call.rest
        return await self._api.buffer_task(
            call.resource,
            "".join(task_ids),
            body,
            header_rules.forwardable_headers(sent),
        )


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
