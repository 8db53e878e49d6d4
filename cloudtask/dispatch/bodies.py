"""The form of a dispatch: its method, and a body that is not too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http.request import UnreadablePostError

from cloudtask.dispatch.answers import UnfitRequest
from cloudtask.wire.limits import MAX_BODY_BYTES

if TYPE_CHECKING:
    from django.http import HttpRequest


def check_method(method: str | None) -> None:
    """
    Raises:
        UnfitRequest: It is not POST.
    """
    if method != "POST":
        raise UnfitRequest(405, "method not allowed")


def check_length(length: str) -> None:
    """
    Raises:
        UnfitRequest: This `Content-Length` announces a body that is too large.
    """
    if length.isdecimal():
        check_size(int(length[:12]))


def check_size(size: int) -> None:
    """
    Raises:
        UnfitRequest: A body of so many bytes is too large.
    """
    if size > MAX_BODY_BYTES:
        raise UnfitRequest(413, "too large")


def read_body(request: HttpRequest) -> bytes:
    """
    The body of a dispatch.

    Raises:
        UnfitRequest: It is compressed, too large, or ends early.
    """
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise UnfitRequest(415, "unsupported content encoding")
    check_length(str(request.META.get("CONTENT_LENGTH") or "0"))
    try:
        # Read to a limit, since the length may be missing or a lie.
        body = request.read(MAX_BODY_BYTES + 1)
    except UnreadablePostError:
        raise UnfitRequest(400, "malformed") from None
    check_size(len(body))
    return body
