"""The dispatch view beside a bare view that parses JSON, under gunicorn."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, time
from typing import TYPE_CHECKING

from benchmarks.measure import Result, seconds_each
from cloudtask.emulator.sending.tokens import TokenIssuer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SECRET = "a secret of the benchmark, 32 by"  # noqa: S105
EMAIL = "tasks@project.iam.gserviceaccount.com"
URL = "https://shop.example/_tasks/"
_START_SECONDS = 20


def run() -> Iterator[Result]:
    issuer = TokenIssuer()
    token = issuer.id_token(EMAIL, URL, int(time() * 1_000_000))
    with _keys(issuer) as keys_host, _server(keys_host) as connection:
        yield from _compare(connection, token)


def _compare(connection: http.client.HTTPConnection, token: str) -> Iterator[Result]:
    body = _payload()
    dispatched = {
        "Content-Type": "application/json",
        "User-Agent": "Google-Cloud-Tasks",
        "X-CloudTasks-QueueName": "default",
        "X-CloudTasks-TaskName": "3098433040124486732",
        "X-CloudTasks-TaskRetryCount": "0",
        "X-CloudTasks-TaskExecutionCount": "0",
        "X-CloudTasks-TaskETA": "1795248000.123456",
    }
    secret = {**dispatched, "X-Task-Secret": SECRET}
    signed = {**dispatched, "Authorization": f"Bearer {token}"}
    times = seconds_each(
        {
            "bare, secret": _post(connection, "/bare/", body, secret),
            "secret": _post(connection, "/_tasks/", body, secret),
            "bare, token": _post(connection, "/bare/", body, signed),
            "token": _post(connection, "/_tasks/", body, signed),
        }
    )
    for name, limit in (("secret", 0.85), ("token", 0.8)):
        bare = times[f"bare, {name}"]
        yield Result(
            f"dispatch with {name} / bare JSON view, req/s",
            bare / times[name],
            limit,
            False,
            f"{1 / times[name]:.0f}/s / {1 / bare:.0f}/s",
        )


def _payload() -> bytes:
    from cloudtask.payload import Payload, encode, new_id

    return encode(
        Payload(
            id=new_id(),
            task="benchmarks.tasks.noop",
            kwargs={"a": 1},
            enqueued_at=datetime.now(UTC),
        )
    )


def _post(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
) -> Callable[[], None]:
    def post() -> None:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        response.read()
        assert response.status == 200, response.status

    return post


@contextmanager
def _keys(issuer: TokenIssuer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(issuer.certificates()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def _server(keys_host: str) -> Iterator[http.client.HTTPConnection]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--threads", "1", "--keep-alive", "60"]
    command += ["--log-level", "error", "benchmarks.server:application"]
    environment = {**os.environ, "BENCHMARK_KEYS_HOST": keys_host}
    with subprocess.Popen(command, env=environment) as process:
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
