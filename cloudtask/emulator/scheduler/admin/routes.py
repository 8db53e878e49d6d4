"""Jobs over HTTP: JSON under `/emulator/jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from cloudtask.emulator.scheduler.admin import shapes
from cloudtask.emulator.web import parameters
from cloudtask.emulator.web.answers import json_response

if TYPE_CHECKING:
    from cloudtask.emulator.scheduler.instrument import Instrument

#: How many attempts of a job are shown in a list, and by itself.
LISTED_ATTEMPTS = 3
SHOWN_ATTEMPTS = 100


def add_routes(app: web.Application, instrument: Instrument) -> None:
    """Add what shows the jobs."""
    jobs = _Jobs(instrument)
    app.router.add_routes(
        [
            web.get("/emulator/jobs", jobs.all),
            web.get("/emulator/jobs/{name:.+}", jobs.one),
        ]
    )


class _Jobs:
    """What can be seen."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument

    async def all(self, request: web.Request) -> web.Response:
        """All jobs with their newest attempts."""
        parameters.read_query(request, ())
        views = self._instrument.jobs()
        return json_response(
            {"jobs": [shapes.job_json(view, LISTED_ATTEMPTS) for view in views]}
        )

    async def one(self, request: web.Request) -> web.Response:
        """One job with its attempts and its execution log."""
        parameters.read_query(request, ())
        name = request.match_info["name"]
        shown = shapes.job_json(self._instrument.job(name), SHOWN_ATTEMPTS)
        return json_response({**shown, "log": self._instrument.log(name)})
