"""Codes of google.rpc, and what HTTP statuses of targets mean as such."""

from __future__ import annotations

from typing import Any

from google.rpc import code_pb2

# Anything else is UNKNOWN.
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_Code: Any = code_pb2.Code
_NAMES: dict[int, str] = {code: name for name, code in _Code.items()}


def read_http_status(status: int) -> int:
    """Return the code that an HTTP status means."""
    is_success = 200 <= status <= 299
    code: int = getattr(code_pb2, "OK" if is_success else _CODES.get(status, "UNKNOWN"))
    return code


def name(code: int) -> str:
    """Return what a code is called."""
    return _NAMES[code]
