"""Sites under gunicorn, what is posted to them, and Google's keys for them."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cloudtask.emulator.identity.tokens import TokenIssuer

SECRET = "a secret of the benchmark, 32 by"  # noqa: S105
EMAIL = "tasks@project.iam.gserviceaccount.com"
URL = "https://shop.example/_tasks/"
#: What Cloud Tasks adds to each dispatch.
DISPATCHED = {
    "Content-Type": "application/json",
    "User-Agent": "Google-Cloud-Tasks",
    "X-CloudTasks-QueueName": "default",
    "X-CloudTasks-TaskName": "3098433040124486732",
    "X-CloudTasks-TaskRetryCount": "0",
    "X-CloudTasks-TaskExecutionCount": "0",
    "X-CloudTasks-TaskETA": "1795248000.123456",
}
_START_SECONDS = 20


def post(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
) -> None:
    """Post to a site, which has to accept it."""
    connection.request("POST", path, body, dict(headers))
    response = connection.getresponse()
    response.read()
    assert response.status in (200, 204), response.status


@contextmanager
def keys(issuer: TokenIssuer) -> Iterator[str]:
    """Publish an issuer's keys, at `host:port`, as Google does its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(issuer.certificates()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "public, max-age=19000")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def served(
    application: str, environment: Mapping[str, str]
) -> Iterator[http.client.HTTPConnection]:
    """Serve a WSGI application by one thread of gunicorn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--threads", "1", "--keep-alive", "60"]
    command += ["--log-level", "error", application]
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            _wait_until_open(port)
            yield connection
        finally:
            connection.close()
            process.terminate()


def _wait_until_open(port: int) -> None:
    deadline = monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            if monotonic() > deadline:
                raise
        else:
            return
