"""What delay() and enqueue() raise for leaves nothing that is sent later."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError

from cloudtask.conf import GOOGLE_TRANSPORT
from cloudtask.exceptions import ConfigurationError
from cloudtask.results.models import TaskRecord
from cloudtask.results.store import DatabaseStore
from cloudtask.transports.base import Transport
from cloudtask.wire.outgoing import OutgoingTask
from tests.backends import tasks as django_tasks
from tests.leaks import values_in
from tests.results.samples import add

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


class Raising(Transport):
    """Raises what a test wants, once the task is kept."""

    error: BaseException = ValueError("not sent")

    def send(self, task: OutgoingTask) -> str:
        assert TaskRecord.objects.count() == 1
        raise self.error

    async def asend(self, task: OutgoingTask) -> str:
        assert await TaskRecord.objects.acount() == 1
        raise self.error


def caught_in_the_transaction() -> None:
    error: Exception | None = None
    with transaction.atomic():
        try:
            add(1).delay()
        except ConfigurationError as raised:
            error = raised
    assert error is not None
    raise error


ENQUEUE: dict[str, Callable[[], Any]] = {
    "delay": lambda: add(1).delay(),
    "adelay": lambda: async_to_sync(add(1).adelay)(),
    "enqueue": lambda: django_tasks.add.enqueue(1),
    "aenqueue": lambda: async_to_sync(django_tasks.add.aenqueue)(1),
}
all_ways = pytest.mark.parametrize("enqueue", ENQUEUE.values(), ids=ENQUEUE)


@pytest.mark.parametrize(
    "enqueue",
    [*ENQUEUE.values(), caught_in_the_transaction],
    ids=[*ENQUEUE, "in a transaction"],
)
def test_no_client_can_be_made(settings: Any, enqueue: Callable[[], Any]) -> None:
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "TRANSPORT": GOOGLE_TRANSPORT,
        "EMULATOR_HOST": None,
        "CREDENTIALS": "/nowhere/key.json",
    }
    with pytest.raises(ConfigurationError, match="no client can be made"):
        enqueue()

    assert not TaskRecord.objects.exists()


@pytest.fixture
def raising(settings: Any, monkeypatch: pytest.MonkeyPatch) -> type[Raising]:
    path = f"{__name__}.Raising"
    settings.CLOUDTASK = {**settings.CLOUDTASK, "TRANSPORT": path}
    monkeypatch.setattr(Raising, "error", Raising.error)
    return Raising


@all_ways
@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)], ids=repr
)
def test_sending_it_raises_anything(
    raising: type[Raising], enqueue: Callable[[], Any], error: BaseException
) -> None:
    raising.error = error
    with pytest.raises(type(error)):
        enqueue()

    assert not TaskRecord.objects.exists()


@pytest.mark.parametrize("task", [add(1).adelay, django_tasks.add.aenqueue])
def test_the_wait_for_an_answer_is_cancelled(
    raising: type[Raising], monkeypatch: pytest.MonkeyPatch, task: Callable[[], Any]
) -> None:
    async def cancel(self: object, sent: OutgoingTask) -> str:
        assert await TaskRecord.objects.acount() == 1
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Raising, "asend", cancel)

    async def enqueue() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(task())

    async_to_sync(enqueue)()
    assert not TaskRecord.objects.exists()


def test_it_is_cancelled_while_it_is_put_into_a_transaction(
    raising: type[Raising], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = DatabaseStore.add

    async def enqueue() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(add(1).adelay())

        def keep_too_late(*args: Any) -> None:
            cancelled = threading.Event()
            # By one call: the loop may be closed right after it.
            loop.call_soon_threadsafe(lambda: [task.cancel(), cancelled.set()])
            assert cancelled.wait(10)
            keep(*args)

        monkeypatch.setattr(DatabaseStore, "add", keep_too_late)
        with pytest.raises(asyncio.CancelledError):
            await task

    # Its transport would raise.
    with transaction.atomic():
        async_to_sync(enqueue)()
    assert not TaskRecord.objects.exists()


def test_a_transaction_that_is_managed_by_hand(raising: type[Raising]) -> None:
    transaction.set_autocommit(False)
    try:
        with pytest.raises(TransactionManagementError):
            add(1).delay()
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert not TaskRecord.objects.exists()


def failing(verb: str) -> Any:
    """The database fails statements of a kind."""

    def execute(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(verb):
            raise OperationalError("the database is away")
        return run(sql, params, many, context)

    return connection.execute_wrapper(execute)


def test_the_database_that_keeps_it_is_away(raising: type[Raising]) -> None:
    card = "-".join(["4111", "1111"])
    with failing("INSERT"), pytest.raises(OperationalError) as caught:
        add(card).delay()

    assert card not in "".join(values_in(caught.value))


def test_a_row_that_cannot_be_dropped_is_told(
    raising: type[Raising], caplog: pytest.LogCaptureFixture
) -> None:
    with failing("DELETE"), pytest.raises(ValueError, match="not sent"):
        add(1).delay()

    [record] = [each for each in caplog.records if each.name == "cloudtask"]
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith(
        "may be kept, and sent later: OperationalError('the database is away')"
    )
