"""One `.delay()` beside a bare gRPC call with the same message."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.measure import Result, seconds_each

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVICE = "google.cloud.tasks.v2.CloudTasks"
_METHOD = f"/{_SERVICE}/CreateTask"


def run() -> Iterator[Result]:
    with _null_server() as address:
        _configure(address)
        yield _compare(address)


def _compare(address: str) -> Result:
    import grpc
    from google.cloud.tasks_v2.types import CreateTaskRequest, Task

    from benchmarks.tasks import noop
    from cloudtask.conf import get_settings
    from cloudtask.transports import get_transport
    from cloudtask.transports.google import to_message

    noop(a=1).delay()
    settings = get_settings()
    transport = get_transport(settings)
    message = to_message(noop(a=1)._outgoing(settings, transport, None))
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            _METHOD,
            request_serializer=CreateTaskRequest.pb().SerializeToString,
            response_deserializer=Task.pb().FromString,
        )
        times = seconds_each(
            {"bare": lambda: call(message), "delay": lambda: noop(a=1).delay()}
        )
    return Result(
        "delay() / bare unary_unary call",
        times["delay"] / times["bare"],
        1.15,
        True,
        f"{times['delay'] * 1e6:.0f} us / {times['bare'] * 1e6:.0f} us",
    )


def _configure(address: str) -> None:
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["cloudtask"],
        CLOUDTASK={
            "PROJECT": "project",
            "LOCATION": "europe-west1",
            "QUEUE": "default",
            "URL": "https://shop.example/_tasks/",
            "SAE": "tasks@project.iam.gserviceaccount.com",
            "SECRET": "a secret of the benchmark, 32 by",
            "EMULATOR_HOST": address,
        },
    )
    import django

    django.setup()


@contextmanager
def _null_server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.enqueue"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def serve() -> None:
    """Answer every call with the same task, in a process of its own."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from google.cloud.tasks_v2.types import Task

    name = "projects/project/locations/europe-west1/queues/default/tasks/1"
    answer: bytes = Task.pb()(name=name).SerializeToString()

    null = grpc.unary_unary_rpc_method_handler(lambda request, context: answer)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"CreateTask": null}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve()
