"""Calls of an emulator's HTTP port, header by header."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.emulator import Emulator


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of a refusal in Google's shape."""
        error = self.json["error"]
        assert error["code"] == self.status
        return str(error["message"])


def call(
    emulator: Emulator,
    method: str,
    path: str,
    content: Any = None,
    **headers: str,
) -> Answer:
    """
    Call the emulator's HTTP port.

    Args:
        emulator: Whose port.
        method: Such as "GET".
        path: With its query.
        content: Sent as JSON, bytes as they are.
        headers: With underscores for hyphens.
    """
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    port = http.client.HTTPConnection(urlsplit(emulator.http_url).netloc, timeout=20)
    with closing(port):
        port.request(method, path, None if content is None else body, sent)
        response = port.getresponse()
        is_stream = response.headers.get_content_type() == "text/event-stream"
        # A stream has no end; its beginning is enough.
        data = b"" if is_stream else response.read()
        return Answer(response.status, response.headers, data)


def get(emulator: Emulator, path: str, **headers: str) -> Answer:
    return call(emulator, "GET", path, **headers)


def post(emulator: Emulator, path: str, content: Any = None, **headers: str) -> Answer:
    return call(emulator, "POST", path, content, **headers)
