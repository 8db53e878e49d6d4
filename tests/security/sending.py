"""Dispatches, sent through Django's own handlers."""

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django.test import AsyncClient, Client

from tests.security.tokens import SECRET

PATH = "/_tasks/"
#: The header that authenticates where CLOUDTASK has the SECRET.
AUTHENTIC = {"X-Task-Secret": SECRET}
FORM = {
    "Content-Type": "application/json",
    "X-CloudTasks-QueueName": "default",
    "X-CloudTasks-TaskName": "1234567890",
    "X-CloudTasks-TaskRetryCount": "0",
    "X-CloudTasks-TaskExecutionCount": "0",
    "X-CloudTasks-TaskETA": "1800000000.123456",
    "User-Agent": "Google-Cloud-Tasks",
}


@dataclass(frozen=True)
class Answer:
    """All that the sender of a request can see."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def word(self) -> str:
        return str(json.loads(self.body)["status"])

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


#: The one refusal of whoever is not let in.
FORBIDDEN = Answer(
    403,
    (("Cache-Control", "no-store"), ("Content-Type", "application/json")),
    b'{"status": "forbidden"}',
)


class Send(Protocol):
    """
    Send a dispatch.

    Args:
        headers: Beside those of Cloud Tasks, or in their place.
        body: The bytes, or a stream of them.
        method: POST by default.
        client: Arguments of Django's test client.
    """

    def __call__(
        self,
        headers: Mapping[str, str] = ...,
        body: Any = ...,
        *,
        method: str = ...,
        path: str = ...,
        **client: Any,
    ) -> Answer: ...


class Unreadable:
    """A body that must not be read."""

    def __len__(self) -> int:
        return 100

    def read(self, *args: Any) -> bytes:
        raise AssertionError("The body was read.")

    readline = read


class Stream(io.BytesIO):
    """A body that says how long it is. `tell()` is what was read of it."""

    def __len__(self) -> int:
        return len(self.getbuffer())


def payload(task: str = "tests.tasks.add", **changes: Any) -> bytes:
    document = {
        "v": 1,
        "id": "0123456789abcdef0123456789abcdef",
        "task": task,
        "kind": "cloudtask",
        "args": [],
        "kwargs": {},
        "enqueued_at": "2026-01-31T12:00:00+00:00",
    }
    return json.dumps(document | changes).encode()


def send_wsgi(
    headers: Mapping[str, str] = AUTHENTIC,
    body: Any = None,
    *,
    method: str = "POST",
    path: str = PATH,
    **client: Any,
) -> Answer:
    stream = _stream(body)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "wsgi.input": stream,
        "CONTENT_LENGTH": str(len(stream)),
    }
    for name, value in {**FORM, **headers}.items():
        key = name.upper().replace("-", "_")
        known = key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        environ[key if known else f"HTTP_{key}"] = value
    return _answer(Client(**client).request(**environ))


def send_asgi(headers: Mapping[str, str] = AUTHENTIC, *args: Any, **kw: Any) -> Answer:
    return asyncio.run(asend(headers, *args, **kw))


async def asend(
    headers: Mapping[str, str] = AUTHENTIC,
    body: Any = None,
    *,
    method: str = "POST",
    path: str = PATH,
    **client: Any,
) -> Answer:
    stream = _stream(body)
    fields = {"Host": "testserver", "Content-Length": str(len(stream))}
    scope = {
        "method": method,
        "path": path,
        "query_string": b"",
        "_body_file": stream,
        "headers": [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in {**fields, **FORM, **headers}.items()
        ],
    }
    return _answer(await AsyncClient(**client).request(**scope))


def _stream(body: Any) -> Any:
    if body is None:
        body = payload()
    return Stream(body) if isinstance(body, bytes) else body


def _answer(response: Any) -> Answer:
    return Answer(
        response.status_code, tuple(sorted(response.items())), response.content
    )
