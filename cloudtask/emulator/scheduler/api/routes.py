"""Where the methods of Cloud Scheduler are in REST."""

from __future__ import annotations

from cloudtask.emulator.api.transcoding import Route, RouteTable, make_route
from cloudtask.emulator.scheduler.api.services import METHODS

_LOCATION = "projects/*/locations/*"
_JOB = f"{_LOCATION}/jobs/*"


def _route(
    method: str,
    verb: str,
    variable: str,
    resource: str,
    rest: str = "",
    body: str | None = None,
) -> Route:
    return make_route(
        method, METHODS[method], verb, resource, rest, variable=variable, body=body
    )


#: Every route of the service. Fields that it does not have are refused.
ROUTES = RouteTable(
    (
        _route("ListLocations", "GET", "name", "projects/*", "/locations"),
        _route("GetLocation", "GET", "name", _LOCATION),
        _route("ListJobs", "GET", "parent", _LOCATION, "/jobs"),
        _route("CreateJob", "POST", "parent", _LOCATION, "/jobs", "job"),
        _route("GetJob", "GET", "name", _JOB),
        _route("UpdateJob", "PATCH", "job.name", _JOB, body="job"),
        _route("DeleteJob", "DELETE", "name", _JOB),
        _route("PauseJob", "POST", "name", _JOB, ":pause", "*"),
        _route("ResumeJob", "POST", "name", _JOB, ":resume", "*"),
        _route("RunJob", "POST", "name", _JOB, ":run", "*"),
    ),
    {"v1": False},
)
