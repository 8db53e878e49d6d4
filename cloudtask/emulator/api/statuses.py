"""Refusals of calls as HTTP has them: a status, and Google's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format

if TYPE_CHECKING:
    from cloudtask.emulator.values.errors import ApiError

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
