"""A dispatch is cut off under ASGI: the client goes, or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any

import pytest
import uvicorn
from asgiref.sync import async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connection
from django.db.backends.signals import connection_created
from django.http import HttpRequest
from django.test import override_settings
from django.utils.decorators import async_only_middleware

from cloudtask import CloudTaskRequest, Reject, task
from cloudtask import framework as django_tasks
from cloudtask.results.models import TaskRecord
from cloudtask.signals import task_failed
from tests.backends.samples import TASKS
from tests.results.conftest import _results, heart  # noqa: F401 - fixtures
from tests.results.samples import SECRET, queue

pytestmark = [
    pytest.mark.django_db_backend,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor == "sqlite",
        reason="threads lock each other out of SQLite in memory; run on a server",
    ),
    # Of what is collected while a test runs.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Seconds for anything to happen. Nothing takes as long.
PATIENCE = 20

entered, gate, cut_off = threading.Event(), threading.Event(), threading.Event()


def work(how: str) -> str:
    """Be at work until the test has cut the dispatch off."""
    entered.set()
    assert gate.wait(PATIENCE)
    if how == "reject":
        raise Reject("never")
    if how == "fail":
        raise ValueError("broken")
    return "done"


async def awork(how: str) -> str:
    """Be at work until cancelled, and end in another way all the same."""
    entered.set()
    try:
        await asyncio.sleep(PATIENCE)
    except asyncio.CancelledError:
        if how == "stop":
            raise
        gate.set()
    return await sync_to_async(work)(how)


@task
def hold(request: CloudTaskRequest, how: str) -> str:
    return work(how)


@task
def hold_on_the_loop(request: CloudTaskRequest, how: str) -> str:
    """It is sync, and what it calls is not."""

    async def wait() -> str:
        while not gate.is_set():
            entered.set()
            await asyncio.sleep(0.01)
        return work(how)

    return async_to_sync(wait)()


@task
async def ahold(request: CloudTaskRequest, how: str) -> str:
    return await awork(how)


with override_settings(TASKS=TASKS):

    @django_tasks.task
    def hold_for_django(how: str) -> str:
        return work(how)

    @django_tasks.task
    async def ahold_for_django(how: str) -> str:
        return await awork(how)


def enqueue(which: str, how: str) -> str:
    return {
        "sync": lambda: hold(how).delay().id,
        "sync, on the loop": lambda: hold_on_the_loop(how).delay().id,
        "async": lambda: ahold(how).delay().id,
        "Django": lambda: hold_for_django.enqueue(how).id,
        "Django, async": lambda: ahold_for_django.enqueue(how).id,
    }[which]()


@async_only_middleware
def watch(get_response: Callable[[HttpRequest], Any]) -> Any:
    """Tell when Django cancels a request."""

    async def look(request: asyncio.Task[Any]) -> None:
        try:
            while not request.cancelling():
                await asyncio.sleep(0.005)
        finally:
            # It may be cancelled with all others, as the loop closes.
            cut_off.set()

    async def respond(request: HttpRequest) -> Any:
        current = asyncio.current_task()
        assert current is not None
        looking = asyncio.ensure_future(look(current))
        try:
            return await get_response(request)
        finally:
            looking.cancel()

    return respond


def pass_on(get_response: Callable[[HttpRequest], Any]) -> Any:
    """Sync, so that the view is called from a thread."""
    return lambda request: get_response(request)


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    """These are about what is kept."""


@pytest.fixture(autouse=True)
def _one_attempt(_results: None, settings: Any) -> None:  # noqa: F811
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RETRY": {"max_attempts": 1}}


@pytest.fixture(autouse=True)
def _events() -> Iterator[None]:
    for event in (entered, gate, cut_off):
        event.clear()
    yield
    gate.set()


@pytest.fixture(autouse=True)
def _connections() -> Iterator[None]:
    """Close what a request leaves open that its server has cut off."""
    opened: list[Any] = []

    def note(connection: Any, **kwargs: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            opened.append(connection.connection)

    connection_created.connect(note)
    yield
    connection_created.disconnect(note)
    for each in opened:
        # It may be closed already.
        with contextlib.suppress(Exception):
            each.close()
    with warnings.catch_warnings():
        # Django 5.2 leaves the body's file open, too.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def serve(**options: Any) -> Iterator[tuple[uvicorn.Server, int]]:
    config = uvicorn.Config(ASGIHandler(), lifespan="off", log_config=None, **options)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield server, listening.getsockname()[1]
        finally:
            gate.set()
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def dispatch(port: int) -> socket.socket:
    """Post the task in the queue, and return while it works."""
    [stored] = queue().tasks
    headers = {
        "Host": "shop.example",
        "X-Task-Secret": SECRET,
        "Content-Length": str(len(stored.sent.body)),
    }
    if stored.payload.backend:
        headers["X-Task-Backend"] = stored.payload.backend
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["POST /_tasks/ HTTP/1.1", *lines, "", ""])
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.sendall(head.encode() + stored.sent.body)
    assert entered.wait(PATIENCE)
    return client


def ended(id: str, status: str) -> TaskRecord:  # noqa: A002
    """The row of a task, once its attempt has ended so."""
    deadline = monotonic() + PATIENCE
    pause = threading.Event()
    while monotonic() < deadline:
        found = TaskRecord.objects.filter(pk=id, status=status, lease="").first()
        if found is not None and found.attempt:
            return found
        pause.wait(0.02)
    raise AssertionError(list(TaskRecord.objects.values()))


@pytest.fixture(params=[(), ("pass_on",)], ids=["", "sync middleware"])
def _middleware(request: pytest.FixtureRequest, settings: Any) -> None:
    names = ("watch", *request.param)
    settings.MIDDLEWARE = [f"{__name__}.{name}" for name in names]


@pytest.mark.usefixtures("_middleware")
@pytest.mark.parametrize(
    ("how", "status", "errors"),
    [("return", "SUCCESSFUL", 0), ("reject", "FAILED", 1), ("fail", "FAILED", 1)],
)
@pytest.mark.parametrize(
    "which", ["sync", "sync, on the loop", "async", "Django", "Django, async"]
)
def test_what_has_finished_is_recorded(
    which: str, how: str, status: str, errors: int, settings: Any
) -> None:
    id = enqueue(which, how)  # noqa: A001
    with serve() as (_, port):
        dispatch(port).close()
        assert cut_off.wait(PATIENCE)
        gate.set()
        found = ended(id, status)

    assert (found.errors.count(), found.interruptions) == (errors, 0)


@pytest.mark.usefixtures("_middleware")
@pytest.mark.parametrize(("attempts", "status"), [(1, "FAILED"), (5, "READY")])
def test_an_async_task_that_is_cancelled_has_failed(
    attempts: int, status: str, settings: Any
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RETRY": {"max_attempts": attempts}}
    id = enqueue("async", "stop")  # noqa: A001
    with serve() as (_, port):
        dispatch(port).close()
        found = ended(id, status)

    [error] = found.errors.all()
    assert error.type == "asyncio.exceptions.CancelledError"


@pytest.mark.usefixtures("_middleware")
@pytest.mark.parametrize(("results", "rows"), [("errors", 1), ("none", 0)])
def test_a_failure_is_told_of_whatever_is_kept(
    results: str, rows: int, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CLOUDTASK |= {"RESULTS": results}
    told = threading.Event()

    def tell(**kwargs: Any) -> None:
        told.set()

    with ExitStack() as stack:
        task_failed.connect(tell)
        stack.callback(task_failed.disconnect, tell)
        enqueue("sync", "fail")
        _, port = stack.enter_context(serve())
        dispatch(port).close()
        assert cut_off.wait(PATIENCE)
        gate.set()
        assert told.wait(PATIENCE)

    assert TaskRecord.objects.filter(status="FAILED").count() == rows
    assert "status=failed" in caplog.text


@pytest.mark.usefixtures("_middleware")
def test_a_server_that_stops_waits_for_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    id = enqueue("sync", "return")  # noqa: A001
    with serve(timeout_graceful_shutdown=0) as (server, port), dispatch(port):
        server.should_exit = True
        assert cut_off.wait(PATIENCE)

    assert TaskRecord.objects.get(pk=id).status == "SUCCESSFUL"
