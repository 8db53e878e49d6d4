"""Large bodies for the dispatch view, under ASGI."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from http.client import HTTPResponse
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from django.conf.urls.i18n import i18n_patterns
from django.core.handlers.asgi import ASGIHandler
from django.urls import include, path

from cloudtask.asgi import guard
from cloudtask.auth import Authenticator
from cloudtask.wire.limits import MAX_BODY_BYTES
from tests.security.sending import payload

SECRET = "a secret for tests of 32 bytes.."
CHUNK = b"x" * 65_536
#: 56 MB, of which the server gets as much as it takes.
CHUNKS = 860


class Anybody(Authenticator):
    """Lets in who sends nothing at all."""

    def authenticate(self, meta: object) -> None:
        """Refuse nobody."""


@contextlib.contextmanager
def serve(application: Any) -> Iterator[int]:
    config = uvicorn.Config(
        application, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serve(guard(ASGIHandler())) as port:
        yield port


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each body that Django moves to a file."""
    found: list[object] = []
    rollover = tempfile.SpooledTemporaryFile.rollover

    def note(file: Any) -> None:
        found.append(file)
        rollover(file)

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", note)
    return found


def post(
    port: int,
    *chunks: bytes,
    length: int | None = None,
    secret: str | None = SECRET,
    path: str = "/_tasks/",
    method: str = "POST",
) -> tuple[int, bytes]:
    """Send chunks, or a body of an announced length, and return the answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example"]
    if secret is not None:
        lines.append(f"X-Task-Secret: {secret}")
    if length is None:
        lines.append("Transfer-Encoding: chunked")
    else:
        lines.append(f"Content-Length: {length}")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:

        def send() -> None:
            # The answer may come, and the connection go, before all is sent.
            with contextlib.suppress(OSError):
                sock.sendall("\r\n".join([*lines, "", ""]).encode())
                for chunk in chunks:
                    frame = chunk if length else b"%x\r\n%s\r\n" % (len(chunk), chunk)
                    sock.sendall(frame)
                if length is None:
                    sock.sendall(b"0\r\n\r\n")

        sending = threading.Thread(target=send)
        sending.start()
        response = HTTPResponse(sock, method=method)
        response.begin()
        answer = response.status, response.read()
        sending.join()
    return answer


def test_django_alone_takes_all_of_it(files: list[object]) -> None:
    with serve(ASGIHandler()) as port:
        status, _ = post(port, *[CHUNK] * 60, secret=None)

    assert status == 403
    assert files != []


@pytest.mark.parametrize("secret", [None, SECRET], ids=["stranger", "known"])
@pytest.mark.parametrize("length", [None, len(CHUNK) * CHUNKS])
def test_nothing_of_it_is_kept(
    port: int, files: list[object], secret: str | None, length: int | None
) -> None:
    answer = post(port, *[CHUNK] * CHUNKS, secret=secret, length=length)

    assert answer == (
        (413, b'{"status": "too large"}')
        if secret
        else (403, b'{"status": "forbidden"}')
    )
    assert files == []


@pytest.mark.parametrize("pieces", [1, 5])
def test_a_task_runs(port: int, pieces: int) -> None:
    body = payload()
    step = -(-len(body) // pieces)
    chunks = [body[i : i + step] for i in range(0, len(body), step)]

    assert post(port, *chunks)[0] == 200
    assert post(port, *chunks, length=len(body))[0] == 200
    assert post(port, *chunks, secret="wrong")[0] == 403


def test_a_body_of_the_limit_is_the_views(port: int) -> None:
    assert post(port, b"x" * MAX_BODY_BYTES) == (400, b'{"status": "malformed"}')
    assert post(port, b"x" * MAX_BODY_BYTES, b"x")[0] == 413
    assert post(port, b"x" * MAX_BODY_BYTES, b"x", length=MAX_BODY_BYTES + 1)[0] == 413


def test_other_methods_are_refused_unread(port: int, files: list[object]) -> None:
    assert post(port, *[CHUNK] * 60, method="PUT")[0] == 405
    assert files == []


def test_other_paths_are_the_applications(port: int, files: list[object]) -> None:
    assert post(port, *[CHUNK] * 60, path="/elsewhere/")[0] == 404
    assert len(files) == 1


def test_a_site_with_languages_or_a_mount_is_guarded(port: int, settings: Any) -> None:
    urls = ModuleType("urls")
    urls.urlpatterns = i18n_patterns(  # type: ignore[attr-defined]
        path("_tasks/", include("cloudtask.urls"))
    )
    settings.ROOT_URLCONF = urls
    settings.FORCE_SCRIPT_NAME = "/app"
    settings.LANGUAGES = [("en", "English"), ("de", "German")]

    too_much = [b"x" * MAX_BODY_BYTES, b"x"]
    assert post(port, *too_much, path="/app/de/_tasks/")[0] == 413
    assert post(port, *too_much, path="/en/_tasks/")[0] == 413


def test_an_authenticator_may_know_other_credentials(port: int, settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "AUTH": f"{__name__}.Anybody"}

    assert post(port, payload(), secret=None)[0] == 200


def test_wrong_settings_open_nothing(port: int, settings: Any) -> None:
    settings.CLOUDTASK = {"xyzzy": 1}

    assert post(port, payload(), secret=None) == (403, b'{"status": "forbidden"}')


def test_a_client_that_goes_is_not_waited_for(files: list[object]) -> None:
    gone = threading.Event()
    reached: list[object] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        await guard(application)(scope, receive, send)
        gone.set()

    with serve(watched) as port:
        head = [
            "POST /_tasks/ HTTP/1.1",
            "Host: shop.example",
            "X-Task-Secret: x",
            "Content-Length: 100",
        ]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall("\r\n".join([*head, "", ""]).encode())
        assert gone.wait(20)

    assert reached == []
