"""What the HTTP port answers beside the API: JSON, refusals, headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from google.rpc import code_pb2

from cloudtask.emulator.api.statuses import write_error
from cloudtask.emulator.values.errors import ApiError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

#: Of every answer. Whatever is shown was written by somebody else.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_NO_STORE = {"Cache-Control": "no-store"}


def json_response(content: Any, status: int = 200) -> web.Response:
    """An answer that no cache keeps."""
    return web.json_response(content, status=status, headers=_NO_STORE)


def error_response(error: ApiError) -> web.Response:
    """Return a refusal in the shape of Google's REST errors."""
    status, content = write_error(error)
    return json_response(content, status)


def forbidden(message: str) -> ApiError:
    """The caller may not do this."""
    return ApiError(code_pb2.PERMISSION_DENIED, message)


def not_found(message: str) -> ApiError:
    """There is nothing of this name."""
    return ApiError(code_pb2.NOT_FOUND, message)


def too_late(message: str) -> ApiError:
    """What the caller waited for did not happen in time."""
    return ApiError(code_pb2.DEADLINE_EXCEEDED, message)


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what a handler refuses."""
    try:
        return await handler(request)
    except ApiError as error:
        return error_response(error)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put HEADERS on an answer that is about to be sent."""
    response.headers.update(HEADERS)
