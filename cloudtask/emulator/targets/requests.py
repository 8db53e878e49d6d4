"""Requests as messages of an API describe them, before anything is added."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudtask.emulator.values.errors import invalid_argument

if TYPE_CHECKING:
    from cloudtask.emulator.identity.credentials import Credential

#: The methods' names by their numbers in the APIs. Unset means POST.
METHODS: dict[int, str] = dict(
    enumerate(
        ("POST", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"),
    )
)
#: The methods of an HTTP target that may have a body.
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class Outline:
    """A request without what the service adds to it."""

    url: str
    method: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    credential: Credential | None = None


def check_method(kind: str, request: Any, methods_with_body: frozenset[str]) -> None:
    """
    Raise ApiError unless a request has a method, and a body only if it may.

    Args:
        kind: The message's name, for refusals.
        request: The message.
        methods_with_body: The methods that may have one.
    """
    method = METHODS.get(request.http_method)
    if method is None:
        raise invalid_argument(f"{kind}.httpMethod is not a known method.")
    if request.body and method not in methods_with_body:
        raise invalid_argument(f"{kind}.body is not allowed with {method}.")


def pop_header(headers: Any, name: str) -> str | None:
    """Remove a header however it is written, and return a value of it."""
    value = None
    for header in [each for each in headers if each.lower() == name]:
        value = headers.pop(header)
    return value
