"""The test project and the emulator, live in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import grpc
from django.conf import settings as django_settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.test import override_settings
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.emulator import Emulator
from cloudtask.transports import get_transport

#: Fails fast and often enough for a test.
FAST_QUEUE = "default:min_backoff=0.01,max_backoff=0.05,max_attempts=10"
SERVICE_ACCOUNT = "tasks@project.iam.gserviceaccount.com"


class _Server(ThreadingMixIn, WSGIServer):
    """One thread for each request, all of them joined when it closes."""

    request_queue_size = 128
    #: The connection that all threads use, if the database is in memory.
    shared: Any = None

    def process_request_thread(self, *args: Any) -> None:
        if self.shared is not None:
            connections["default"] = self.shared
        super().process_request_thread(*args)


class _Handler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serve(application: Any = None, *, shared: Any = None) -> Iterator[str]:
    """
    Serve the project over WSGI. Gives the origin, without a slash.

    Args:
        application: What answers, in place of the project.
        shared: The connection that all threads use, if the database is in
            memory.
    """
    application = application or WSGIHandler()
    with make_server("127.0.0.1", 0, application, _Server, _Handler) as server:
        server.shared = shared
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Live:
    """A project that enqueues to an emulator, which dispatches to it."""

    emulator: Emulator
    origin: str

    def finish(self) -> None:
        """Wait until every task that was enqueued is done or given up."""
        self.emulator.wait_for(lambda: self.emulator.idle)

    @contextmanager
    def client(self) -> Iterator[CloudTasksClient]:
        """Google's own client, to look into the queue."""
        with grpc.insecure_channel(self.emulator.host) as channel:
            transport = CloudTasksGrpcTransport(channel=channel)
            yield CloudTasksClient(transport=transport)


@contextmanager
def live(*queues: str, **settings: Any) -> Iterator[Live]:
    """
    Run the project, an emulator, and tasks between them.

    Args:
        queues: Declarations of the emulator's queues.
        settings: Keys of CLOUDTASK in place of the test settings'.
    """
    with ExitStack() as stack:
        origin = stack.enter_context(serve())
        wanted = {**django_settings.CLOUDTASK, **settings}
        emulator = stack.enter_context(
            Emulator(
                queues or (FAST_QUEUE,),
                project=wanted["PROJECT"],
                location=wanted["LOCATION"],
            )
        )
        # Closes the client, before what it is connected to stops.
        stack.callback(lambda: get_transport(get_settings()))
        configured = {
            **wanted,
            "TRANSPORT": GOOGLE_TRANSPORT,
            "URL": f"{origin}/_tasks/",
            "EMULATOR_HOST": emulator.host,
            "EMULATOR_HTTP_HOST": emulator.http_url.removeprefix("http://"),
            **settings,
        }
        stack.enter_context(override_settings(CLOUDTASK=configured))
        yield Live(emulator, origin)
