"""
The REST face without HTTP: calls out of requests, JSON out of responses.

It follows google.api.http: a field that the path binds is what the path says,
and any other may be in the body or be a query parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

import grpc
from google.protobuf import empty_pb2, json_format
from google.rpc import code_pb2

from cloudtask.emulator.api import protojson
from cloudtask.emulator.tasks.api.methods import METHODS
from cloudtask.emulator.values import fields
from cloudtask.emulator.values.errors import ApiError

# How a path may begin, and whether to pass over what tasks_v2 has no field
# for: v2beta3 has more fields, and Firebase's Admin SDKs, which leave the
# version out, expect an emulator of their own.
_LENIENT = {"v2": False, "v2beta3": True, "projects": True}

# These go for every Google API. None changes what is done.
_SYSTEM_PARAMETERS = frozenset(
    {
        *("$alt", "$callback", "$fields", "$key", "$prettyPrint", "$quotaUser"),
        *("$userProject", "$.xgafv", "access_token", "alt", "callback", "fields"),
        *("key", "oauth_token", "prettyPrint", "quotaUser", "uploadType"),
        *("upload_protocol", "userIp", "userProject"),
    }
)

_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
_STATUS_CODES = {code.value[0]: code for code in _HTTP_STATUS}

# The request of a BufferTask, for which tasks_v2 has no message.
_Empty = cast("Any", empty_pb2).Empty


@dataclass(frozen=True, slots=True)
class _Route:
    method: str  # As in the gRPC services, or BufferTask.
    verb: str
    variable: str | None  # The field that the resource's path is bound to.
    resource_length: int  # In segments, the first ones.
    segments: tuple[str, ...]  # "*" is any, but not an empty one.
    action: str  # What follows the colon, or "".
    body: str | None  # The field that the body is; "*" is the whole request.

    def serves(self, verb: str, segments: tuple[str, ...], action: str) -> bool:
        return (
            (self.verb, self.action) == (verb, action)
            and len(self.segments) == len(segments)
            and all(
                given == expected or (expected == "*" and given != "")
                for given, expected in zip(segments, self.segments, strict=True)
            )
        )


def _route(
    method: str,
    verb: str,
    variable: str | None,
    resource: str,
    rest: str = "",
    body: str | None = None,
) -> _Route:
    path, _, action = f"{resource}{rest}".partition(":")
    return _Route(
        method=method,
        verb=verb,
        variable=variable,
        resource_length=resource.count("/") + 1,
        segments=tuple(path.split("/")),
        action=action,
        body=body,
    )


_LOCATION = "projects/*/locations/*"
_CMEK_CONFIG = f"{_LOCATION}/cmekConfig"
_OPERATION = f"{_LOCATION}/operations/*"
_QUEUE = f"{_LOCATION}/queues/*"
_TASK = f"{_QUEUE}/tasks/*"

_ROUTES = (
    _route("ListLocations", "GET", "name", "projects/*", "/locations"),
    _route("GetLocation", "GET", "name", _LOCATION),
    _route("GetOperation", "GET", "name", _OPERATION),
    _route("GetCmekConfig", "GET", "name", _CMEK_CONFIG),
    _route(
        *("UpdateCmekConfig", "PATCH", "cmek_config.name", _CMEK_CONFIG),
        body="cmek_config",
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
    # Documented for every verb. Here only POST creates: a GET that does could
    # be had from any web page, by an image.
    _route("BufferTask", "POST", None, _QUEUE, "/tasks:buffer"),
    _route("BufferTask", "POST", None, _QUEUE, "/tasks/*:buffer"),
    # As the gcloud CLI has it for a task without an id.
    _route("BufferTask", "POST", None, _QUEUE, "/tasks/:buffer"),
)
_ACTIONS = frozenset(route.action for route in _ROUTES if route.action)


@dataclass(frozen=True, slots=True)
class Call:
    """A request of the REST face whose method is found. See find_call()."""

    _route: _Route
    _beginning: str
    _segments: tuple[str, ...]

    @property
    def method(self) -> str:
        """Its name as in the gRPC services, or BufferTask."""
        return self._route.method

    @property
    def resource(self) -> str:
        """The path of what the call is about, or in."""
        return "/".join(self._segments[: self._route.resource_length])

    @property
    def rest(self) -> tuple[str, ...]:
        """The segments that follow the resource's."""
        return self._segments[self._route.resource_length :]

    def read(self, query: str, body: bytes) -> Any:
        """
        Return the request as raw protobuf.

        A BufferTask's is empty: its `resource` is the queue, and `rest` ends
        with the task's id, if there is one.

        Args:
            query: The URL's, percent-encoded.
            body: JSON, or nothing for an empty object.

        Raises:
            ApiError: There is something wrong with either.
        """
        request = METHODS.get(self.method, _Empty)()
        lenient = _LENIENT[self._beginning]
        if body and self._route.body is not None:
            _merge_body(request, self._route.body, body, lenient)
        for name, value in _parameters(query):
            if name not in _SYSTEM_PARAMETERS:
                _merge_parameter(request, name, value, lenient)
        if self._route.variable is not None:
            *parents, field = self._route.variable.split(".")
            setattr(reduce(getattr, parents, request), field, self.resource)
        return request

    def write(self, response: Any, query: str) -> dict[str, Any]:
        """Return a response, raw protobuf, as JSON."""
        content: dict[str, Any] = json_format.MessageToDict(
            response, use_integers_for_enums=_wants_integers(query)
        )
        if self.method == "BufferTask":
            return {"task": content}
        if self.method == "CreateTask" and self._beginning == "projects":
            # firebase-admin for Python looks for the name here, and takes off
            # the first character of it.
            return content | {"task": {"name": f"/{response.name}"}}
        return content


def find_call(verb: str, path: str) -> Call:
    """
    Return what a request calls.

    Args:
        verb: In capitals. HEAD is as good as GET.
        path: The URL's, percent-encoded.

    Raises:
        ApiError: Nothing is served there.
    """
    beginning, segments, action = _split(path)
    verb = "GET" if verb == "HEAD" else verb
    if beginning in _LENIENT:
        for route in _ROUTES:
            if route.serves(verb, segments, action):
                return Call(route, beginning, segments)
    raise ApiError(code_pb2.NOT_FOUND, "Method not found.")


def write_error(error: ApiError) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the JSON of a refusal."""
    code = _STATUS_CODES[error.code]
    status = _HTTP_STATUS[code]
    content: dict[str, Any] = {
        "code": status,
        "message": error.message,
        "status": code.name,
    }
    written = json_format.MessageToDict(error.status())
    if "details" in written:
        content["details"] = written["details"]
    return status, {"error": content}


def readable(text: str) -> str:
    """Return a text from the wire without what no message can hold."""
    # Bytes that are no UTF-8 came as lone surrogates.
    return text.encode(errors="replace").decode()


def _split(path: str) -> tuple[str, tuple[str, ...], str]:
    """Return how a path begins, its decoded segments and its action."""
    path = readable(path).removeprefix("/")
    beginning, _, rest = path.partition("/")
    encoded = path if beginning == "projects" else rest
    # Decoded one by one: an encoded slash is no slash.
    *segments, last = [unquote(segment) for segment in encoded.split("/")]
    name, _, action = last.rpartition(":")
    if action in _ACTIONS:
        return beginning, (*segments, name), action
    return beginning, (*segments, last), ""


def _merge_body(request: Any, field: str, body: bytes, lenient: bool) -> None:
    content = protojson.loads(body)
    if field == "*":
        protojson.merge(request, content, lenient=lenient)
    else:
        target = getattr(request, field)
        target.SetInParent()
        protojson.merge(target, content, field, lenient=lenient)


def _merge_parameter(request: Any, name: str, value: str, lenient: bool) -> None:
    found = fields.resolve(request.DESCRIPTOR, name)
    if found is None or any(parent.is_repeated for parent in found[:-1]):
        if not lenient:
            raise protojson.unknown_parameter(name)
        return
    *parents, field = found
    target = reduce(getattr, (parent.name for parent in parents), request)
    path = ".".join(each.name for each in found)
    protojson.set_field(target, field, value, path, lenient=lenient)


def _wants_integers(query: str) -> bool:
    return any(
        name in ("$alt", "alt") and "enum-encoding=int" in value.split(";")
        for name, value in _parameters(query)
    )


def _parameters(query: str) -> list[tuple[str, str]]:
    return parse_qsl(readable(query), keep_blank_values=True)
