"""A task that ends by something that does not derive from Exception."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from cloudtask import CloudTaskRequest, RetryPolicy, task
from cloudtask.signals import task_failed
from tests.backends.samples import recorded
from tests.backends.tasks import with_options
from tests.results.samples import SECRET, queue, row
from tests.security.sending import FORM

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

ONE, TWO = RetryPolicy(max_attempts=1), RetryPolicy(max_attempts=2)


class Timeout(BaseException):
    """As gevent has it."""


ERRORS = {
    "timeout": Timeout,
    "cancelled": asyncio.CancelledError,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
}


def stop(request: CloudTaskRequest, how: str) -> None:
    raise ERRORS[how](how)


async def astop(request: CloudTaskRequest, how: str) -> None:
    raise ERRORS[how](how)


def django_stop(context: Any, how: str) -> None:
    raise ERRORS[how](how)


KINDS = {
    "sync": lambda retry: task(retry=retry, path="shop.stop")(stop),
    "async": lambda retry: task(retry=retry, path="shop.astop")(astop),
    "django": lambda retry: with_options(retry=retry, takes_context=True)(django_stop),
}


def post(how: str) -> int | None:
    """Dispatch what is in the queue; None where the server would end."""
    [sent] = queue().tasks
    headers = {**FORM, **sent.sent.route.headers, "X-Task-Secret": SECRET}
    given = {"headers": headers, "content_type": "application/json"}
    try:
        if how == "WSGI":
            return Client().post("/_tasks/", sent.sent.body, **given).status_code
        # Where synchronous code comes back to this thread, and its connection.
        send = async_to_sync(AsyncClient().post)
        return send("/_tasks/", sent.sent.body, **given).status_code
    except (SystemExit, KeyboardInterrupt, asyncio.CancelledError):
        return None


@pytest.fixture
def failed() -> Iterator[list[BaseException]]:
    """What task_failed told."""
    errors: list[BaseException] = []

    def hear(error: BaseException, **kwargs: Any) -> None:
        errors.append(error)

    task_failed.connect(hear)
    yield errors
    task_failed.disconnect(hear)


@pytest.mark.parametrize("server", ["WSGI", "ASGI"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("retry", [TWO, ONE], ids=["tried again", "final"])
def test_it_is_recorded_as_a_failure(
    server: str,
    kind: str,
    how: str,
    retry: RetryPolicy,
    failed: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defined: Any = KINDS[kind](retry)
    monkeypatch.setitem(globals(), "django_stop", defined)
    enqueued = defined.enqueue(how) if kind == "django" else defined(how).delay()
    is_final = retry is ONE

    with recorded() as told:
        status = post(server)

    # What ends the process, or a task of the loop, passes through.
    assert status == ((200 if is_final else 500) if how == "timeout" else None)
    found = row(enqueued.id)
    assert (found.status, found.lease) == ("FAILED" if is_final else "READY", "")
    [error] = found.errors.all()
    assert error.type.rpartition(".")[2] == ERRORS[how].__name__
    assert error.message == how
    assert [type(each) for each in failed] == ([ERRORS[how]] if is_final else [])
    signals = [each.signal for each in told]
    assert ("finished" in signals) is (is_final and kind == "django")
