"""A key server that counts, and that can be told to misbehave."""

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.security.tokens import public_pem, rsa_key


class KeyServer:
    """
    Publishes keys at `url`; `behave` says how.

    `fetched` are the paths that were asked for, in order.
    """

    def __init__(self, scheme: str, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.url = f"{scheme}://{self.address}/certs"
        self.gate = threading.Event()
        self._changed = threading.Condition()
        self.reset()

    def reset(self) -> None:
        """Publish the current key, quickly and to everyone."""
        self.gate.clear()
        self.fetched: list[str] = []
        self.behave: Callable[[KeyServer, Any], None] = publish
        self.cache_control: str | None = None
        self.publish("current")

    def publish(self, *names: str) -> None:
        self.keys = {name: public_pem(rsa_key(name)) for name in names}

    def note(self, path: str) -> None:
        with self._changed:
            self.fetched.append(path)
            self._changed.notify_all()

    def wait_for_fetches(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.fetched) >= number, 10)


def publish(server: KeyServer, handler: Any) -> None:
    send(server, handler, json.dumps(server.keys).encode())


def send(server: KeyServer, handler: Any, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    if server.cache_control is not None:
        handler.send_header("Cache-Control", server.cache_control)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def fail(server: KeyServer, handler: Any) -> None:
    """503, with keys in the body that nobody may use."""
    send(server, handler, json.dumps(server.keys).encode(), 503)


def hang(server: KeyServer, handler: Any) -> None:
    """Take the request, and answer it when the gate opens."""
    server.gate.wait(10)
    publish(server, handler)


def drip_the_body(server: KeyServer, handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    _drip(server, handler)


def drip_the_head(server: KeyServer, handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Filler: ")
    _drip(server, handler)


def _drip(server: KeyServer, handler: Any) -> None:
    """A byte now and then: never an end, and never a silence to time out."""
    while not server.gate.wait(0.005):
        handler.wfile.write(b"x")


def redirect(server: KeyServer, handler: Any) -> None:
    """Point to where the keys are."""
    if handler.path != "/certs":
        return publish(server, handler)
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return None


def close(server: KeyServer, handler: Any) -> None:
    """Hang up without a word."""


def ramble(server: KeyServer, handler: Any) -> None:
    """The keys, and 10 MB of nothing."""
    send(server, handler, json.dumps(server.keys).encode() + b" " * 10_000_000)


def answer(body: bytes) -> Callable[[KeyServer, Any], None]:
    """Send this, whatever it is."""
    return lambda server, handler: send(server, handler, body)


@contextmanager
def serve(certificate: Path | None = None) -> Iterator[KeyServer]:
    """Run a key server, over TLS if there is a certificate (with its key)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.note(self.path)
            with contextlib.suppress(OSError):  # Nobody waits any more.
                keys.behave(keys, self)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # Closing it waits for all of them.
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        keys = KeyServer("https" if certificate else "http", server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield keys
        finally:
            keys.gate.set()
            server.shutdown()
            thread.join()
