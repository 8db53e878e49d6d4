"""Refusals of calls: codes, messages and details in Google's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.rpc import code_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

# Messages travel in headers, which clients limit.
_LONGEST_QUOTE = 100


class ApiError(Exception):
    """
    A call that the API refuses.

    `code` is a number of google.rpc.Code, `details` are messages of
    google.rpc that explain more, such as Help.
    """

    def __init__(self, code: int, message: str, details: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def status(self) -> Any:
        """Return this error as the google.rpc.Status that goes on the wire."""
        status = status_pb2.Status(code=self.code, message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        return status


def invalid_argument(message: str, details: Sequence[Any] = ()) -> ApiError:
    """The request is malformed. The message says what is wrong with it."""
    return ApiError(code_pb2.INVALID_ARGUMENT, message, details)


def bad_parent() -> ApiError:
    """The parent of a request is malformed."""
    # Unconfirmed: nobody recorded a parent with a project but no location.
    return invalid_argument("Invalid resource field value in the request.")


def entity_not_found() -> ApiError:
    """The thing that a request names does not exist."""
    return ApiError(code_pb2.NOT_FOUND, "Requested entity was not found.")


def store_failed(reason: str) -> ApiError:
    """The store cannot be written."""
    return ApiError(
        code_pb2.UNAVAILABLE,
        f"The emulator cannot write its store; nothing of this call is kept: {reason}",
    )


def unknown_field(path: str) -> ApiError:
    """An update mask names what the message has no field for."""
    return invalid_argument(f"Invalid update mask: {quote(path)} is not a field.")


def quote(text: str) -> str:
    """Return a caller's text for a message, cut if it is long."""
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")
