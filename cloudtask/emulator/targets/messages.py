"""A request to a target and its answer, as values."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request to send."""

    url: str
    method: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    deadline: int  # Longest time until the answer, in microseconds.
    follow_redirects: bool = False  # Else the redirect is the answer.


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    status: int | None = None  # None: no answer came.
    timed_out: bool = False
    error: str | None = None  # Why no answer came.
    retry_after: str | None = None  # The header of that name.
    body: bytes = field(default=b"", repr=False)  # Its beginning, as it came.
    size: int = 0  # Of the whole body, in bytes.

    @property
    def is_success(self) -> bool:
        """Whether the target has answered with a status of 2xx."""
        return self.status is not None and 200 <= self.status <= 299
