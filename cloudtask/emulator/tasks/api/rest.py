"""Cloud Tasks over REST: its routes, and what clients expect beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.tasks.api.routes import ROUTES
from cloudtask.emulator.values import header_rules

if TYPE_CHECKING:
    from cloudtask.emulator.api.transcoding import Call
    from cloudtask.emulator.tasks.api.methods import Api


class RestTasks:
    """What the REST face serves for Cloud Tasks."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def find_call(self, verb: str, path: str) -> Call | None:
        """Return what a request calls. See RouteTable.find_call()."""
        return ROUTES.find_call(verb, path)

    async def carry_out(
        self, call: Call, query: str, body: bytes, headers: dict[str, str]
    ) -> dict[str, Any]:
        """Carry out a call and return its response as JSON."""
        request = call.read(query, body)
        if call.method == "BufferTask":
            response = await self._buffer_task(call, body, headers)
        else:
            response = await self._api.call(call.method, request)
        return write_response(call, response, query)

    async def _buffer_task(
        self, call: Call, body: bytes, headers: dict[str, str]
    ) -> Any:
        # Its resource is the queue; the rest ends with the task's id, if any.
        _, *task_ids = call.rest
        return await self._api.buffer_task(
            call.resource,
            "".join(task_ids),
            body,
            header_rules.forwardable_headers(headers),
        )


def write_response(call: Call, response: Any, query: str) -> dict[str, Any]:
    """
    Return a response as JSON.

    Args:
        call: What was called.
        response: Raw protobuf.
        query: The URL's, percent-encoded.
    """
    content = call.write(response, query)
    if call.method == "BufferTask":
        return {"task": content}
    if call.method == "CreateTask" and call.beginning == "projects":
        # firebase-admin for Python looks for the name here, and takes off the
        # first character of it.
        return content | {"task": {"name": f"/{response.name}"}}
    return content
