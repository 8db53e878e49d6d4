"""Cloud Scheduler over REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.scheduler.api.routes import ROUTES

if TYPE_CHECKING:
    from cloudtask.emulator.api.transcoding import Call
    from cloudtask.emulator.scheduler.api.methods import Api


class RestJobs:
    """What the REST face serves for Cloud Scheduler."""

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
        return call.write(await self._api.call(call.method, request), query)
