"""Where the methods of Cloud Tasks are in REST."""

from __future__ import annotations

from typing import Any, cast

from google.protobuf import empty_pb2

from cloudtask.emulator.api.transcoding import Route, RouteTable, make_route
from cloudtask.emulator.tasks.api.services import METHODS

# How a path may begin, and whether to ignore what tasks_v2 has no field for:
# v2beta3 has more fields, and Firebase's Admin SDKs, which leave the
# version out, expect an emulator of their own.
_BEGINNINGS = {"v2": False, "v2beta3": True, "projects": True}

# The request of a BufferTask, for which tasks_v2 has no message.
_Empty = cast("Any", empty_pb2).Empty


def _route(
    method: str,
    verb: str,
    variable: str | None,
    resource: str,
    rest: str = "",
    body: str | None = None,
) -> Route:
    request_type = METHODS.get(method, _Empty)
    return make_route(
        method, request_type, verb, resource, rest, variable=variable, body=body
    )


_LOCATION = "projects/*/locations/*"
_CMEK_CONFIG = f"{_LOCATION}/cmekConfig"
_OPERATION = f"{_LOCATION}/operations/*"
_QUEUE = f"{_LOCATION}/queues/*"
_TASK = f"{_QUEUE}/tasks/*"

#: Every route of the service.
ROUTES = RouteTable(
    (
        _route("ListLocations", "GET", "name", "projects/*", "/locations"),
        _route("GetLocation", "GET", "name", _LOCATION),
        _route("GetOperation", "GET", "name", _OPERATION),
        _route("GetCmekConfig", "GET", "name", _CMEK_CONFIG),
        _route(
            "UpdateCmekConfig",
            "PATCH",
            "cmek_config.name",
            _CMEK_CONFIG,
            "",
            "cmek_config",
        ),
        _route("ListQueues", "GET", "parent", _LOCATION, "/queues"),
        _route("CreateQueue", "POST", "parent", _LOCATION, "/queues", "queue"),
        _route("GetQueue", "GET", "name", _QUEUE),
        _route("UpdateQueue", "PATCH", "queue.name", _QUEUE, body="queue"),
        _route("DeleteQueue", "DELETE", "name", _QUEUE),
        _route("PurgeQueue", "POST", "name", _QUEUE, ":purge", "*"),
        _route("PauseQueue", "POST", "name", _QUEUE, ":pause", "*"),
        _route("ResumeQueue", "POST", "name", _QUEUE, ":resume", "*"),
        _route("GetIamPolicy", "POST", "resource", _QUEUE, ":getIamPolicy", "*"),
        _route("SetIamPolicy", "POST", "resource", _QUEUE, ":setIamPolicy", "*"),
        _route(
            *("TestIamPermissions", "POST", "resource"),
            *(_QUEUE, ":testIamPermissions", "*"),
        ),
        _route("ListTasks", "GET", "parent", _QUEUE, "/tasks"),
        _route("CreateTask", "POST", "parent", _QUEUE, "/tasks", "*"),
        _route("GetTask", "GET", "name", _TASK),
        _route("DeleteTask", "DELETE", "name", _TASK),
        _route("RunTask", "POST", "name", _TASK, ":run", "*"),
        _route("BatchCreateTasks", "POST", "parent", _QUEUE, "/tasks:batchCreate", "*"),
        _route("BatchDeleteTasks", "POST", "parent", _QUEUE, "/tasks:batchDelete", "*"),
        # Documented for every verb. Here only POST creates: a GET that does
        # could be had from any web page, by an image.
        _route("BufferTask", "POST", None, _QUEUE, "/tasks:buffer"),
        _route("BufferTask", "POST", None, _QUEUE, "/tasks/*:buffer"),
        # As the gcloud CLI has it for a task without an id.
        _route("BufferTask", "POST", None, _QUEUE, "/tasks/:buffer"),
    ),
    _BEGINNINGS,
)
