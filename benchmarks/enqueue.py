"""
`.delay()` and a Django task's `.enqueue()` beside a bare call of the stub.

And beside other packages' `.enqueue()`, where they are installed:
`pip install django-tasks-gcp django-tasks-cloud-tasks django-tasks-google`.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks import peers
from benchmarks.measure import Result, seconds_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SERVICE = "google.cloud.tasks.v2.CloudTasks"
_METHOD = f"/{_SERVICE}/CreateTask"


def run() -> Iterator[Result]:
    with _null_server() as address:
        _configure(address)
        from benchmarks import django_tasks, tasks

        delay = partial(_call_delay, tasks.noop)
        enqueue = partial(django_tasks.noop.enqueue, a=1)
        yield _beside_bare(address, "delay()", delay, perf_counter, 1.15)
        yield _beside_bare(address, "enqueue()", enqueue, perf_counter, 1.25)
        yield _beside_bare(address, "enqueue(), CPU", enqueue, process_time, 1.25)
        with peers.clients_at(address):
            for name, limit in peers.installed():
                theirs = django_tasks.noop.using(backend=name)
                yield _beside_peer(name, enqueue, partial(theirs.enqueue, a=1), limit)


def _call_delay(noop: Any) -> object:
    return noop(a=1).delay()


def _beside_bare(
    address: str,
    name: str,
    ours: Callable[[], object],
    clock: Callable[[], float],
    limit: float,
) -> Result:
    with _bare_call(address, _message_of(ours)) as bare:
        times = seconds_each(
            {"bare": bare, "ours": ours}, rounds=40, calls=150, clock=clock
        )
    return _ratio(f"{name} / bare call", times["ours"], times["bare"], limit)


def _beside_peer(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], limit: float
) -> Result:
    times = seconds_each({"ours": ours, "theirs": theirs}, calls=10, warm_up=30)
    return _ratio(f"enqueue() / {name}", times["ours"], times["theirs"], limit)


def _ratio(name: str, ours: float, theirs: float, limit: float) -> Result:
    detail = f"{ours * 1e6:.0f} us / {theirs * 1e6:.0f} us"
    return Result(name, ours / theirs, limit, True, detail)


def _message_of(call: Callable[[], object]) -> Any:
    """What a call sends."""
    from cloudtask.transports.google import messages, transport

    with mock.patch.object(transport, "to_message", wraps=messages.to_message) as made:
        call()
    [task] = made.call_args.args
    return messages.to_message(task)


@contextmanager
def _bare_call(address: str, message: Any) -> Iterator[Callable[[], object]]:
    """A CreateTask by hand: a request for each task, its route, a deadline."""
    import grpc
    from google.api_core.gapic_v1.routing_header import to_grpc_metadata
    from google.cloud.tasks_v2.types import CreateTaskRequest, Task

    request_class, task_class = CreateTaskRequest.pb(), Task.pb()
    queue_path, http = message.parent, message.task.http_request
    headers = dict(http.headers)
    with grpc.insecure_channel(address) as channel:
        stub = channel.unary_unary(
            _METHOD,
            request_serializer=request_class.SerializeToString,
            response_deserializer=task_class.FromString,
        )

        def call() -> object:
            request = request_class(
                parent=queue_path,
                task=task_class(
                    http_request={
                        "url": http.url,
                        "http_method": http.http_method,
                        "headers": headers,
                        "body": http.body,
                        "oidc_token": http.oidc_token,
                    }
                ),
            )
            metadata = (to_grpc_metadata({"parent": queue_path}),)
            return stub(request, timeout=10, metadata=metadata)

        yield call


def _configure(address: str) -> None:
    from django.conf import settings

    ours = {"BACKEND": "cloudtask.backends.CloudTasksBackend"}
    settings.configure(
        SECRET_KEY="of this benchmark alone, 32 bytes.",  # noqa: S106
        INSTALLED_APPS=["cloudtask", *peers.apps()],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        },
        TASKS={"default": ours, **peers.backends()},
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
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


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
    """Answer every call at once, in a process of its own."""
    from concurrent.futures import ThreadPoolExecutor
    from itertools import count

    import grpc
    from google.cloud.tasks_v2.types import Queue, Task

    name = "projects/project/locations/europe-west1/queues/default"
    numbers = count(1)

    def create_task(request: bytes, context: object) -> bytes:
        answer: bytes = Task.pb()(
            name=f"{name}/tasks/{next(numbers)}"
        ).SerializeToString()
        return answer

    def get_queue(request: bytes, context: object) -> bytes:
        answer: bytes = Queue.pb()(name=name).SerializeToString()
        return answer

    handlers = {
        "CreateTask": grpc.unary_unary_rpc_method_handler(create_task),
        "GetQueue": grpc.unary_unary_rpc_method_handler(get_queue),
    }
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve()
