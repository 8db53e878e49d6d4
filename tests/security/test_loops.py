"""On which loop and thread a task runs, under ASGI and under WSGI."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from django.urls import resolve

from cloudtask.views import adispatch, dispatch
from tests import tasks
from tests.security import keyserver, samples
from tests.security.keyserver import KeyServer
from tests.security.sending import (
    AUTHENTIC,
    FORBIDDEN,
    Answer,
    asend,
    payload,
    send_wsgi,
)
from tests.security.tokens import Token, bearer, header

SAMPLES = samples.__name__
MIDDLEWARES = "tests.security.middlewares"


@pytest.fixture(autouse=True)
def _gates() -> Iterator[None]:
    samples.entered.clear()
    samples.gate.clear()
    yield
    samples.gate.set()


@pytest.mark.parametrize(
    "middleware",
    [
        [],
        ["sync_reader"],  # In a thread, between the loop and the view.
        ["async_reader"],
        ["sync_reader", "async_reader", "sync_reader"],
    ],
    ids="-".join,
)
def test_an_async_task_runs_on_the_servers_own_loop(
    secret: str, settings: Any, middleware: list[str]
) -> None:
    settings.MIDDLEWARE = [f"{MIDDLEWARES}.{name}" for name in middleware]

    async def serve() -> asyncio.AbstractEventLoop:
        answer = await asend(AUTHENTIC, payload(f"{SAMPLES}.loop"))
        assert answer.status == 200
        return asyncio.get_running_loop()

    served = asyncio.run(serve())

    assert tasks.ran == [served]


def test_a_sync_task_does_not_block_the_servers_loop(secret: str) -> None:
    async def serve() -> Answer:
        sent = asyncio.create_task(asend(AUTHENTIC, payload(f"{SAMPLES}.block")))
        # Only a loop that turns gets past this, and lets the task end.
        await asyncio.to_thread(samples.entered.wait, 10)
        samples.gate.set()
        return await sent

    assert asyncio.run(serve()).status == 200
    assert tasks.ran == ["block"]


def test_a_sync_task_runs_in_the_thread_for_synchronous_code(secret: str) -> None:
    async def serve() -> int:
        await asend(AUTHENTIC, payload(f"{SAMPLES}.thread"))
        return threading.get_ident()

    loop_thread = asyncio.run(serve())

    [thread] = tasks.ran
    assert isinstance(thread, threading.Thread)
    assert thread.ident != loop_thread


def test_several_async_tasks_run_at_once(secret: str) -> None:
    async def serve() -> list[Answer]:
        body = payload("tests.tasks.aadd")
        return await asyncio.gather(*[asend(AUTHENTIC, body) for _ in range(10)])

    answers = asyncio.run(serve())

    assert [answer.status for answer in answers] == [200] * 10
    assert tasks.ran == [("aadd", 5, 4)] * 10


def test_a_key_server_that_hangs_does_not_block_the_servers_loop(
    google: KeyServer, settings: Any
) -> None:
    google.behave = keyserver.hang

    async def serve() -> tuple[Answer, Answer]:
        waiting = asyncio.create_task(asend(bearer(Token())))
        await asyncio.to_thread(google.wait_for_fetches, 1)
        refused = await asend(bearer(Token(header=header(alg="none"))))
        assert not waiting.done()
        google.gate.set()
        return refused, await waiting

    refused, answer = asyncio.run(serve())

    assert refused == FORBIDDEN
    assert answer.status == 200


@pytest.mark.parametrize("task", ["tests.tasks.add", "tests.tasks.aadd"])
def test_both_kinds_of_tasks_run_under_wsgi(secret: str, task: str) -> None:
    answer = send_wsgi(AUTHENTIC, payload(task, args=[1, 2]))

    assert answer.status == 200
    assert tasks.ran == [(task.rpartition(".")[2], 1, 2)]


def test_a_sync_task_runs_in_the_workers_own_thread_under_wsgi(secret: str) -> None:
    send_wsgi(AUTHENTIC, payload(f"{SAMPLES}.thread"))

    assert tasks.ran == [threading.current_thread()]


def test_each_handler_gets_the_view_that_fits_it() -> None:
    async def on_a_loop() -> object:
        return resolve("/_tasks/").func

    assert resolve("/_tasks/").func is dispatch
    assert asyncio.run(on_a_loop()) is adispatch
    assert resolve("/_tasks/").func is dispatch


@pytest.mark.parametrize("view", [dispatch, adispatch])
def test_both_views_are_exempt_from_csrf_and_nothing_else(
    view: Callable[..., Any] | Callable[..., Awaitable[Any]],
) -> None:
    assert getattr(view, "csrf_exempt", None) is True
    assert getattr(view, "_non_atomic_requests", None) == {"default", "other"}
