"""Many tasks are due at once at the desk of a developer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread

import grpc
import pytest
from google.cloud.tasks_v2 import CloudTasksClient, Task
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from cloudtask.emulator import Emulator

PATIENCE = 20


class Site:
    """A server that notes how many requests it has at a time."""

    def __init__(self, limit: int) -> None:
        self._lock = Lock()
        self._limit = limit
        self.now = 0
        self.most = 0
        self.is_full = Event()
        self.go_on = Event()

    def work(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == self._limit:
                self.is_full.set()
        self.go_on.wait(PATIENCE)
        with self._lock:
            self.now -= 1


@contextmanager
def serve(site: Site) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            site.work()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def enqueue(emulator: Emulator, queue: str, url: str, count: int) -> None:
    with grpc.insecure_channel(emulator.host) as channel:
        client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))
        for _ in range(count):
            task = Task(http_request={"url": url})
            client.create_task(parent=emulator.queue_path(queue), task=task)


def limits(emulator: Emulator) -> dict[str, int]:
    with grpc.insecure_channel(emulator.host) as channel:
        client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))
        return {
            queue.name.rpartition("/")[2]: queue.rate_limits.max_concurrent_dispatches
            for queue in client.list_queues(parent=emulator.parent)
        }


@pytest.mark.parametrize("queue", ["default", "made"])
def test_a_desk_gets_as_many_as_it_bears(queue: str) -> None:
    site = Site(3)
    options = {"concurrency": 3, "create_queues": True}
    with Emulator(["default"], **options) as emulator:  # type: ignore[arg-type]
        with serve(site) as url:
            enqueue(emulator, queue, url, 20)
            assert site.is_full.wait(PATIENCE)
            site.go_on.set()
            emulator.wait_for(lambda: emulator.idle, PATIENCE)
        assert site.most == 3


def test_what_a_queue_says_itself_counts(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Emulator(["a", "b:max_attempts=2", "c:concurrency=7"], concurrency=3) as each:
        assert limits(each) == {"a": 3, "b": 3, "c": 7}
    with Emulator(["a", "b"], store=store) as each:
        assert limits(each) == {"a": 1000, "b": 1000}
    # A queue that is there is only changed by what is declared of it.
    with Emulator(["a", "b:max_attempts=2"], store=store, concurrency=3) as each:
        assert limits(each) == {"a": 1000, "b": 3}
