"""A metadata server on this machine, as Google Cloud's answers or fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PREFIX = "/computeMetadata/v1/"


@dataclass(frozen=True)
class Answer:
    """What is sent for one request."""

    text: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"Metadata-Flavor": "Google"}
    )
    # In place of all the rest, as a server that talks no HTTP.
    raw: bytes | None = None
    # Say nothing until the server is stopped.
    hang: bool = False


class MetadataServer:
    """
    Answers from a table of keys, or what `answer` says to any of them.

    Attributes:
        address: For GCE_METADATA_HOST.
        asked: The keys that were asked for, in order.
    """

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        self.keys = dict(keys or {})
        self.answer: Callable[[str], Answer] = self._look_up
        self.asked: list[str] = []
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False  # Joined when it is closed.
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop answering. Calling it twice does no harm."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _look_up(self, key: str) -> Answer:
        if key in self.keys:
            return Answer(self.keys[key])
        return Answer("<title>404 Not Found</title>", status=404)

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.headers["Metadata-Flavor"] == "Google"
                key = self.path.removeprefix(_PREFIX)
                outer.asked.append(key)
                answer = outer.answer(key)
                if answer.hang:
                    outer._stopped.wait(30)
                elif answer.raw is not None:
                    self.wfile.write(answer.raw)
                else:
                    self._send(answer)

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                text = answer.text
                self.wfile.write(text if isinstance(text, bytes) else text.encode())

            def log_message(self, *args: object) -> None:
                pass

        return Handler
