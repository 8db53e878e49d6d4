"""When a task is sent: at once, at the commit, or never."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.db.utils import ConnectionDoesNotExist
from django.test import TestCase, override_settings

from cloudtask import Task, stores
from cloudtask.conf import Settings, get_settings
from cloudtask.enqueue import outbox
from cloudtask.enqueue.decorators import task
from cloudtask.enqueue.delivery import Delivery
from cloudtask.enqueue.handover import Handover
from cloudtask.exceptions import (
    EnqueueError,
    PermissionDenied,
    QueueNotFound,
    ServiceUnavailable,
    TaskAlreadyExists,
)
from cloudtask.stores import NO_STORE, ResultStore
from cloudtask.testing import memory_queue
from cloudtask.transports.base import Transport
from cloudtask.transports.memory import MemoryTransport
from cloudtask.transports.patience import Patience
from cloudtask.wire.outgoing import OutgoingTask
from cloudtask.wire.payload import Payload, encode
from tests import tasks
from tests.outgoing import outgoing_task
from tests.tasks import add
from tests.unit.keeping import FakeStore

pytestmark = [
    pytest.mark.django_db_backend,
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
]


_ZERO = timedelta(0)


class _Undo(Exception):
    """Ends a transaction without a commit."""


@contextmanager
def rolled_back(using: str | None = None) -> Iterator[None]:
    """A transaction that ends with a rollback."""
    with suppress(_Undo), transaction.atomic(using=using):
        yield
        raise _Undo


@task(on_commit=False)
def eager(request: object, a: int) -> None: ...


@task(on_commit=True)
def patient(request: object, a: int) -> None: ...


def sent(queue: MemoryTransport) -> list[Any]:
    """The first argument of each task that was sent, in order."""
    return [stored.payload.args[0] for stored in queue.tasks]


def test_nothing_is_sent_before_the_commit(queue: MemoryTransport) -> None:
    with transaction.atomic():
        add(1).delay()
        add(2).push()
        add(3).schedule(after=_ZERO)
        assert sent(queue) == []
    assert sent(queue) == [1, 2, 3]


def test_nothing_is_sent_after_a_rollback(queue: MemoryTransport) -> None:
    with rolled_back():
        add(1).delay()
    with transaction.atomic():
        add(2).delay()
        transaction.set_rollback(True)
    assert sent(queue) == []


def test_the_name_is_known_after_the_commit(queue: MemoryTransport) -> None:
    with transaction.atomic():
        enqueued = add(1).delay()
        assert enqueued.name is None
        assert enqueued.queue == "default"
    assert enqueued.name == queue.tasks[0].name
    assert enqueued.id == queue.tasks[0].payload.id


def test_a_task_that_was_rolled_back_never_gets_a_name(
    queue: MemoryTransport,
) -> None:
    with rolled_back():
        enqueued = add(1).delay()
    assert enqueued.name is None


def test_an_inner_rollback_takes_only_its_own_tasks_back(
    queue: MemoryTransport,
) -> None:
    with transaction.atomic():
        add(1).delay()
        with rolled_back():
            add(2).delay()
            with transaction.atomic():
                add(3).delay()
        with transaction.atomic():
            add(4).delay()
            assert sent(queue) == []
    assert sent(queue) == [1, 4]


def test_an_outer_rollback_takes_all_tasks_back(queue: MemoryTransport) -> None:
    with rolled_back():
        add(1).delay()
        with transaction.atomic():
            add(2).delay()
    assert sent(queue) == []


def test_the_transaction_of_another_database_counts_where_it_is_named(
    queue: MemoryTransport,
) -> None:
    with transaction.atomic(using="other"):
        add(1).delay(using="other")
        add(2).delay()  # The default database has no transaction.
        assert sent(queue) == [2]
    assert sent(queue) == [2, 1]


def test_another_database_may_commit_before(queue: MemoryTransport) -> None:
    with transaction.atomic():
        with transaction.atomic(using="other"):
            add(1).delay(using="other")
            add(2).delay()
        assert sent(queue) == [1]
    assert sent(queue) == [1, 2]


def test_another_database_may_roll_back_alone(queue: MemoryTransport) -> None:
    with transaction.atomic():
        add(1).delay()
        with rolled_back(using="other"):
            add(2).schedule(after=_ZERO, using="other")
    assert sent(queue) == [1]


def test_a_database_that_does_not_exist_is_djangos_error(
    queue: MemoryTransport,
) -> None:
    with pytest.raises(ConnectionDoesNotExist):
        add(1).delay(using="missing")
    assert queue.tasks == []


@pytest.mark.parametrize(
    ("enqueue", "setting", "waits"),
    [
        # The setting decides,
        (lambda: add(1).delay(), True, True),
        (lambda: add(1).delay(), False, False),
        # unless the task does,
        (lambda: eager(1).delay(), True, False),
        (lambda: patient(1).delay(), False, True),
        # unless the call does.
        (lambda: add(1).delay(on_commit=False), True, False),
        (lambda: add(1).delay(on_commit=True), False, True),
        (lambda: patient(1).delay(on_commit=False), True, False),
        (lambda: eager(1).delay(on_commit=True), False, True),
        (lambda: add(1).schedule(after=_ZERO, on_commit=False), True, False),
        (lambda: async_to_sync(eager(1).adelay)(), True, False),
        (lambda: async_to_sync(add(1).adelay)(on_commit=False), True, False),
        (lambda: async_to_sync(add(1).apush)(on_commit=True), False, True),
    ],
)
def test_the_call_the_task_and_the_setting_say_whether_to_wait(
    enqueue: Callable[[], object], setting: bool, waits: bool
) -> None:
    raw = {**django_settings.CLOUDTASK, "ON_COMMIT": setting}
    with override_settings(CLOUDTASK=raw), memory_queue() as queue:
        with transaction.atomic():
            enqueue()
            assert sent(queue) == ([] if waits else [1])
        assert sent(queue) == [1]


def test_a_task_sent_at_once_survives_the_rollback(queue: MemoryTransport) -> None:
    with rolled_back():
        add(1).delay(on_commit=False)
    assert sent(queue) == [1]


def test_outside_a_transaction_a_task_is_sent_at_once(queue: MemoryTransport) -> None:
    assert add(1).delay().name == queue.tasks[0].name


def test_an_error_of_the_sending_surfaces_at_the_commit(
    queue: MemoryTransport,
) -> None:
    tasks.clean().delay()

    commit = transaction.atomic()
    commit.__enter__()
    enqueued = tasks.clean().delay()
    add(1).delay()
    with pytest.raises(TaskAlreadyExists):
        commit.__exit__(None, None, None)
    assert enqueued.name is None
    assert [stored.payload.task for stored in queue.tasks] == ["tests.tasks.clean"]


def test_what_is_wrong_with_a_task_is_told_before_the_commit(
    queue: MemoryTransport,
) -> None:
    with transaction.atomic():
        with pytest.raises(Exception, match="which no payload carries"):
            add(object()).delay()
        add(1).delay()
    assert sent(queue) == [1]


def test_a_task_is_sent_as_it_was_when_it_was_enqueued(queue: MemoryTransport) -> None:
    cart = [1]
    with transaction.atomic():
        add(cart).delay()
        cart.append(2)
    assert sent(queue) == [[1]]


def test_the_transport_of_the_call_sends_at_the_commit() -> None:
    with transaction.atomic():
        with memory_queue() as queue:
            add(1).delay()
        assert sent(queue) == []
    assert sent(queue) == [1]


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda: add(1).adelay(),
        lambda: add(1).apush(),
        lambda: add(1).aschedule(after=_ZERO),
    ],
)
def test_async_code_inside_a_transaction_of_sync_code_waits_for_the_commit(
    queue: MemoryTransport, enqueue: Callable[[], Any]
) -> None:
    async def view() -> Any:
        return await enqueue()

    with transaction.atomic():
        enqueued = async_to_sync(view)()
        assert sent(queue) == []
        assert enqueued.name is None
    assert sent(queue) == [1]
    assert enqueued.name == queue.tasks[0].name

    with rolled_back():
        async_to_sync(view)()
    assert sent(queue) == [1]


def test_async_code_without_a_transaction_sends_at_once(
    queue: MemoryTransport,
) -> None:
    async def view() -> None:
        enqueued = await add(1).adelay()
        assert enqueued.name == queue.tasks[0].name

    asyncio.run(view())
    assert sent(queue) == [1]


@pytest.mark.parametrize("enqueue", [Task.delay, async_to_sync(Task.adelay)])
def test_transactions_managed_by_hand_are_refused_with_djangos_error(
    queue: MemoryTransport, enqueue: Callable[..., object]
) -> None:
    transaction.set_autocommit(False)
    try:
        with pytest.raises(
            TransactionManagementError,
            match=r"^on_commit\(\) cannot be used in manual transaction management$",
        ):
            enqueue(add(1))
        enqueue(add(2), on_commit=False)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert sent(queue) == [2]


# What whoever enqueues builds on

QUEUE_PATH = "projects/project/locations/europe-west1/queues/default"
NAME = f"{QUEUE_PATH}/tasks/first"


PAYLOAD = Payload(
    id="0" * 32, task=add.path, args=(1,), kwargs={}, enqueued_at=datetime.now(UTC)
)


def outgoing(task_id: str = "first") -> OutgoingTask:
    return outgoing_task(queue_path=QUEUE_PATH, body=encode(PAYLOAD), task_id=task_id)


def handover(
    transport: Transport,
    on_sent: Callable[[str], object],
    task_id: str = "first",
    *,
    using: str | None = None,
    store: ResultStore = NO_STORE,
    aon_sent: Callable[[str], Awaitable[None]] | None = None,
) -> Handover:
    return Handover(
        transport,
        outgoing(task_id),
        PAYLOAD,
        store=store,
        using=using,
        on_sent=on_sent,
        aon_sent=aon_sent,
    )


@pytest.mark.parametrize(
    ("waits", "using", "inside"),
    [
        (True, None, False),  # Nothing to wait for.
        (False, None, False),
        (False, None, True),  # Not asked to wait.
        (True, "other", True),  # Another database's transaction does not count.
    ],
)
def test_what_need_not_wait_is_handed_over_at_once(
    queue: MemoryTransport, waits: bool, using: str | None, inside: bool
) -> None:
    names: list[str] = []

    with transaction.atomic() if inside else nullcontext():
        handover(queue, names.append, using=using).make(waits=waits)
        assert names == [NAME]

    assert names == [stored.name for stored in queue.tasks]


@pytest.mark.parametrize("using", [None, "default", "other"])
def test_what_waits_is_handed_over_at_the_commit(
    queue: MemoryTransport, using: str | None
) -> None:
    names: list[str] = []

    with transaction.atomic(using=using):
        handover(queue, names.append, using=using).make(waits=True)
        assert (names, queue.tasks) == ([], [])
    assert names == [stored.name for stored in queue.tasks] == [NAME]

    with rolled_back(using=using):
        handover(queue, names.append, "2", using=using).make(waits=True)
    assert names == [stored.name for stored in queue.tasks] == [NAME]


def test_nobody_is_called_for_what_was_not_accepted(queue: MemoryTransport) -> None:
    names: list[str] = []
    handover(queue, names.append).make(waits=True)

    with pytest.raises(TaskAlreadyExists):
        handover(queue, names.append).make(waits=True)
    with pytest.raises(TaskAlreadyExists), transaction.atomic():
        handover(queue, names.append).make(waits=True)

    assert names == [NAME]


@pytest.mark.parametrize(
    ("waits", "using", "inside"),
    [
        (True, None, False),
        (False, None, False),
        (False, None, True),
        (True, "other", True),
    ],
)
def test_async_code_is_told_the_name_of_what_is_handed_over_at_once(
    queue: MemoryTransport, waits: bool, using: str | None, inside: bool
) -> None:
    names: list[str] = []

    async def enqueue() -> None:
        await handover(queue, names.append, using=using).amake(waits=waits)

    with transaction.atomic() if inside else nullcontext():
        async_to_sync(enqueue)()
        assert names == [stored.name for stored in queue.tasks] == [NAME]

    assert names == [NAME]


@pytest.mark.parametrize("using", [None, "default", "other"])
def test_async_code_is_told_the_name_after_the_commit(
    queue: MemoryTransport, using: str | None
) -> None:
    names: list[str] = []

    async def enqueue(task_id: str) -> None:
        await handover(queue, names.append, task_id, using=using).amake(waits=True)

    with transaction.atomic(using=using):
        async_to_sync(enqueue)("first")
        assert (names, queue.tasks) == ([], [])
    assert names == [stored.name for stored in queue.tasks] == [NAME]

    with rolled_back(using=using):
        async_to_sync(enqueue)("2")
    assert names == [NAME]


@pytest.mark.parametrize("store", [NO_STORE, FakeStore()], ids=["", "kept"])
def test_async_code_may_be_told_by_a_coroutine(
    queue: MemoryTransport, store: ResultStore
) -> None:
    told: list[str] = []

    async def tell(name: str) -> None:
        await asyncio.sleep(0)
        told.append(name)

    def fail(name: str) -> None:
        raise AssertionError

    asked = handover(queue, fail, store=store, aon_sent=tell)
    async_to_sync(asked.amake)(waits=False)
    assert told == [NAME]

    names: list[str] = []
    with transaction.atomic():
        # There is no loop at the commit.
        asked = handover(queue, names.append, "2", store=store, aon_sent=tell)
        async_to_sync(asked.amake)(waits=True)
    assert (names, told) == ([queue.tasks[1].name], [NAME])


def test_a_task_whose_caller_is_cancelled_is_not_sent_at_the_commit(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Delivery.send_at_commit

    async def enqueue() -> None:
        asked = handover(queue, print).amake(waits=True)
        loop, enqueueing = asyncio.get_running_loop(), asyncio.ensure_future(asked)

        def put_too_late(delivery: Delivery, connection: Any) -> None:
            cancelled = threading.Event()
            # By one call: the loop may be closed right after it.
            loop.call_soon_threadsafe(lambda: [enqueueing.cancel(), cancelled.set()])
            assert cancelled.wait(10)
            put(delivery, connection)

        monkeypatch.setattr(Delivery, "send_at_commit", put_too_late)
        with pytest.raises(asyncio.CancelledError):
            await enqueueing

    with transaction.atomic():
        async_to_sync(enqueue)()
        assert len(transaction.get_connection().run_on_commit) == 1
    assert queue.tasks == []


def test_what_was_sent_is_forgotten_if_its_caller_is_not_told(
    queue: MemoryTransport,
) -> None:
    store = FakeStore()

    async def tell(name: str) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        async_to_sync(handover(queue, print, store=store, aon_sent=tell).amake)(
            waits=False
        )
    assert store.words == ["add", "note_sent", "drop"]


def test_async_code_gets_the_error_of_what_is_not_accepted(
    queue: MemoryTransport,
) -> None:
    names: list[str] = []
    handover(queue, names.append).make(waits=False)

    with pytest.raises(TaskAlreadyExists):
        asyncio.run(handover(queue, names.append).amake(waits=False))

    assert names == [NAME]


# With a store that keeps tasks


class Refusing(MemoryTransport):
    """Refuses every task with one error."""

    error: Exception

    def send(self, task: OutgoingTask) -> str:
        raise self.error


@pytest.fixture
def refusing() -> Callable[[Exception], Transport]:
    """Return a function that makes a transport that raises one error."""

    def make(error: Exception) -> Transport:
        transport = Refusing(get_settings())
        transport.error = error
        return transport

    return make


AWAY = ServiceUnavailable("try later", queue_path=QUEUE_PATH)
REFUSED = [
    EnqueueError("invalid", queue_path=QUEUE_PATH),
    QueueNotFound("no queue", queue_path=QUEUE_PATH),
    PermissionDenied("not you", queue_path=QUEUE_PATH),
    TaskAlreadyExists("twice", queue_path=QUEUE_PATH, name=NAME),
]

KEPT_FOR_LATER = (
    f"task=tests.tasks.add id={'0' * 32} is kept, and sent later: try later"
)


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Callable[..., list[str]]:
    """Make a handover by one way, then the other. Gives all names told of."""

    def make(transport: Transport, *, waits: bool = True, **fields: Any) -> list[str]:
        names: list[str] = []
        asked = handover(transport, names.append, **fields)
        if request.param == "sync":
            asked.make(waits=waits)
        else:
            async_to_sync(asked.amake)(waits=waits)
        return names

    return make


@pytest.mark.parametrize("using", [None, "default", "other"])
def test_a_task_is_kept_in_the_transaction_that_enqueues_it(
    queue: MemoryTransport, make: Callable[..., list[str]], using: str | None
) -> None:
    store = FakeStore(using or "default")

    with transaction.atomic(using=using):
        names = make(queue, using=using, store=store)
        # Before anything is sent, and where a rollback takes it back.
        assert store.calls == [("add", PAYLOAD, NAME, True)]
        assert (names, queue.tasks) == ([], [])

    assert store.calls[1:] == [("note_sent", {PAYLOAD.id: NAME})]
    assert names == [stored.name for stored in queue.tasks] == [NAME]


def test_a_store_in_another_database_is_told_after_the_commit(
    queue: MemoryTransport, make: Callable[..., list[str]]
) -> None:
    # Its row would outlive a rollback.
    store = FakeStore("other")

    with transaction.atomic():
        names = make(queue, store=store)
        assert (names, store.calls) == ([], [])
    assert store.calls == [
        ("add", PAYLOAD, NAME, False),
        ("note_sent", {PAYLOAD.id: NAME}),
    ]
    assert names == [NAME]

    with rolled_back():
        make(queue, task_id="2", store=store)
    assert store.words == ["add", "note_sent"]


def test_a_store_in_another_database_keeps_what_cannot_be_sent_at_the_commit(
    refusing: Callable[[Exception], Transport],
    make: Callable[..., list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FakeStore("other")

    with transaction.atomic():
        make(refusing(AWAY), store=store)

    assert store.words == ["add"]
    assert caplog.messages == [KEPT_FOR_LATER]


def test_a_name_that_is_used_already_is_forgotten_at_the_commit(
    refusing: Callable[[Exception], Transport],
    make: Callable[..., list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # To be sent later, it would be refused again.
    store = FakeStore()

    with transaction.atomic():
        names = make(refusing(REFUSED[-1]), store=store)

    assert names == []
    assert store.words == ["add", "drop"]
    assert caplog.record_tuples == [
        ("cloudtask", logging.WARNING, f"task=tests.tasks.add id={'0' * 32}: twice")
    ]


def test_what_was_rolled_back_is_never_said_to_be_sent(
    queue: MemoryTransport, make: Callable[..., list[str]]
) -> None:
    store = FakeStore()

    with rolled_back():
        names = make(queue, store=store)

    assert store.words == ["add"]
    assert (names, queue.tasks) == ([], [])


@pytest.mark.parametrize("waits", [True, False])
def test_a_task_that_waits_for_nothing_is_kept_and_then_sent(
    queue: MemoryTransport, make: Callable[..., list[str]], waits: bool
) -> None:
    store = FakeStore()

    assert make(queue, waits=waits, store=store) == [NAME]

    assert store.calls == [
        ("add", PAYLOAD, NAME, False),
        ("note_sent", {PAYLOAD.id: NAME}),
    ]
    assert [stored.name for stored in queue.tasks] == [NAME]


def test_a_task_that_is_not_to_wait_is_sent_inside_the_transaction(
    queue: MemoryTransport, make: Callable[..., list[str]]
) -> None:
    store = FakeStore()

    with transaction.atomic():
        assert make(queue, waits=False, store=store) == [NAME]
        assert store.words == ["add", "note_sent"]


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("waits", [True, False])
def test_a_task_that_was_refused_for_good_is_forgotten_and_the_error_raised(
    refusing: Callable[[Exception], Transport],
    make: Callable[..., list[str]],
    caplog: pytest.LogCaptureFixture,
    error: EnqueueError,
    waits: bool,
) -> None:
    store = FakeStore()

    with pytest.raises(EnqueueError) as caught:
        make(refusing(error), waits=waits, using="other", store=store)

    assert caught.value is error
    assert store.words == ["add", "drop"]
    assert store.calls[1] == ("drop", PAYLOAD)
    assert caplog.messages == []


@pytest.mark.parametrize("waits", [True, False])
def test_a_task_that_cannot_be_sent_now_is_kept_and_logged(
    refusing: Callable[[Exception], Transport],
    make: Callable[..., list[str]],
    caplog: pytest.LogCaptureFixture,
    waits: bool,
) -> None:
    store = FakeStore()

    # Nobody is told a name: there is none yet.
    assert make(refusing(AWAY), waits=waits, store=store) == []

    assert store.words == ["add"]
    assert caplog.record_tuples == [("cloudtask", logging.WARNING, KEPT_FOR_LATER)]


@pytest.mark.parametrize(
    "error", [AWAY, *REFUSED[:-1]], ids=lambda error: type(error).__name__
)
def test_the_commit_never_raises_for_a_task_that_is_kept(
    refusing: Callable[[Exception], Transport],
    make: Callable[..., list[str]],
    queue: MemoryTransport,
    caplog: pytest.LogCaptureFixture,
    error: EnqueueError,
) -> None:
    store = FakeStore()

    with transaction.atomic():
        names = make(refusing(error), store=store)
        others = make(queue, task_id="second")

    assert names == []
    assert store.words == ["add"]
    # What was to be sent after it is.
    assert len(others) == 1
    assert caplog.record_tuples == [
        (
            "cloudtask",
            logging.WARNING,
            f"task=tests.tasks.add id={'0' * 32} is kept, and sent later: {error}",
        )
    ]


@pytest.mark.parametrize("error", [AWAY, *REFUSED], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("inside", [True, False])
def test_without_a_store_every_error_is_raised(
    refusing: Callable[[Exception], Transport],
    make: Callable[..., list[str]],
    caplog: pytest.LogCaptureFixture,
    error: EnqueueError,
    inside: bool,
) -> None:
    with (
        pytest.raises(EnqueueError) as caught,
        transaction.atomic() if inside else nullcontext(),
    ):
        make(refusing(error))

    assert caught.value is error
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("inside", "words"), [(True, ["add"]), (False, ["add", "drop"])]
)
def test_any_other_error_surfaces_and_a_task_that_is_not_committed_is_dropped(
    refusing: Callable[[Exception], Transport],
    make: Callable[..., list[str]],
    inside: bool,
    words: list[str],
) -> None:
    # As from a task that runs in place.
    store, error = FakeStore(), ValueError("broken")

    with (
        pytest.raises(ValueError, match=r"^broken$"),
        transaction.atomic() if inside else nullcontext(),
    ):
        make(refusing(error), store=store)

    assert store.words == words


@pytest.mark.parametrize("enqueue", [Task.delay, async_to_sync(Task.adelay)])
def test_a_bound_task_is_kept_by_the_store_of_the_settings(
    queue: MemoryTransport, enqueue: Callable[..., Any]
) -> None:
    store = FakeStore()
    stores.register(lambda settings: store)

    enqueued = enqueue(add(1), using="other")

    [(_, payload, _, inside), sent] = store.calls
    assert store.words == ["add", "note_sent"]
    assert payload == queue.tasks[0].payload
    assert payload.id == enqueued.id
    assert inside is False
    assert sent == ("note_sent", {payload.id: enqueued.name})


# Several of one transaction


class Batching(MemoryTransport):
    """Takes three tasks by one call, and refuses those that it is told to."""

    batch_size = 3

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.calls: list[str] = []
        self.patiences: list[Patience | None] = []
        self.refused: dict[str, EnqueueError] = {}

    def send(self, task: OutgoingTask) -> str:
        if task.id in self.refused:
            raise self.refused[task.id]
        return super().send(task)

    def send_many(
        self, tasks: Sequence[OutgoingTask], patience: Patience | None = None
    ) -> list[str | EnqueueError]:
        self.calls.append("".join(task.id for task in tasks))
        self.patiences.append(patience)
        return super().send_many(tasks, patience)


class Enqueuer:
    """Enqueues tasks whose ids are letters, and notes which were sent."""

    def __init__(self, store: ResultStore, transport: Transport | None = None) -> None:
        self.store = store
        self.transport = transport or Batching(get_settings())
        self.names: dict[str, str] = {}

    def __call__(self, ids: str, using: str | None = None) -> None:
        for each in ids:
            payload = replace(PAYLOAD, id=each)
            Handover(
                self.transport,
                outgoing_task(
                    id=each, queue_path=QUEUE_PATH, body=encode(PAYLOAD), task_id=each
                ),
                payload,
                store=self.store,
                using=using,
                on_sent=partial(self._sent, each),
            ).make(waits=True)

    def _sent(self, id: str, name: str) -> None:  # noqa: A002
        assert id not in self.names
        self.names[id] = name

    @property
    def calls(self) -> list[str]:
        """The ids of each call."""
        assert isinstance(self.transport, Batching)
        return self.transport.calls


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def enqueue(store: FakeStore) -> Enqueuer:
    return Enqueuer(store)


def told(store: FakeStore, word: str) -> list[str]:
    """The ids of each call of the store."""
    return [
        "".join(call[-1] if len(call) == 2 else call[1:])
        for call in store.calls
        if call[0] == word
    ]


def test_all_tasks_of_a_transaction_are_sent_together(
    store: FakeStore, enqueue: Enqueuer
) -> None:
    with transaction.atomic():
        enqueue("abcdefg")
        assert enqueue.calls == []

    assert enqueue.calls == ["abc", "def", "g"]
    assert "".join(enqueue.names) == "abcdefg"
    # Each call is noted before the next is made.
    assert store.words[7:] == ["select_unsent", "note_sent"] * 3
    assert told(store, "note_sent") == ["abc", "def", "g"]
    # And all are made with the same patience.
    assert isinstance(enqueue.transport, Batching)
    assert len(set(enqueue.transport.patiences)) == 1


def test_tasks_of_another_database_share_their_patience() -> None:
    enqueue = Enqueuer(FakeStore("default"))
    with transaction.atomic(using="other"):
        enqueue("ab", using="other")

    assert enqueue.calls == ["a", "b"]
    assert isinstance(enqueue.transport, Batching)
    assert len(set(enqueue.transport.patiences)) == 1


def test_nothing_is_asked_about_a_task_that_is_alone(
    store: FakeStore, enqueue: Enqueuer
) -> None:
    with transaction.atomic():
        enqueue("a")

    assert enqueue.calls == ["a"]
    assert store.words == ["add", "note_sent"]


def test_tasks_that_the_store_does_not_have_are_not_sent(
    store: FakeStore, enqueue: Enqueuer
) -> None:
    store.rolled_back = set("bdef")
    with transaction.atomic():
        enqueue("abcdefgh")

    assert enqueue.calls == ["ac", "", "gh"]
    assert "".join(enqueue.names) == "acgh"


def test_what_was_rolled_back_before_is_not_even_asked_about(
    store: FakeStore, enqueue: Enqueuer
) -> None:
    with transaction.atomic():
        with rolled_back():
            enqueue("ab")
        enqueue("cd")

    assert enqueue.calls == ["cd"]
    assert told(store, "select_unsent") == ["cd"]


def test_what_was_rolled_back_after_is_not_sent(
    store: FakeStore, enqueue: Enqueuer
) -> None:
    with transaction.atomic():
        enqueue("a")
        with rolled_back():
            enqueue("b")
        with transaction.atomic():
            enqueue("c")
        store.rolled_back = {"b"}

    assert enqueue.calls == ["ac"]


def test_each_transaction_is_sent_for_itself(enqueue: Enqueuer) -> None:
    with rolled_back():
        enqueue("ab")
    with transaction.atomic():
        enqueue("cd")
    with transaction.atomic():
        enqueue("ef")

    assert enqueue.calls == ["cd", "ef"]
    # Nothing of them is left.
    assert enqueue.transport not in {key[1] for key in outbox._batches}


def test_each_transport_sends_its_own_tasks(
    store: FakeStore, enqueue: Enqueuer
) -> None:
    other = Enqueuer(store)
    with transaction.atomic():
        enqueue("ab")
        other("cd")
        enqueue("e")

    assert (enqueue.calls, other.calls) == (["abe"], ["cd"])


def test_a_store_in_another_database_is_told_of_each(enqueue: Enqueuer) -> None:
    enqueue.store = store = FakeStore("other")
    with transaction.atomic():
        enqueue("ab")

    assert enqueue.calls == ["a", "b"]
    assert store.words == ["add", "note_sent", "add", "note_sent"]


def test_each_task_of_many_is_told_what_came_of_it(
    store: FakeStore, enqueue: Enqueuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(enqueue.transport, Batching)
    enqueue.transport.refused = {"a": AWAY, "c": REFUSED[-1]}
    with transaction.atomic():
        enqueue("abc")
    enqueue.transport.refused = {"d": AWAY, "e": AWAY}
    with transaction.atomic():
        enqueue("de")

    assert list(enqueue.names) == ["b"]
    assert told(store, "note_sent") == ["b"]
    assert [call[1].id for call in store.calls if call[0] == "drop"] == ["c"]
    assert caplog.messages == [
        "task=tests.tasks.add id=a is kept, and sent later: try later",
        "task=tests.tasks.add id=c: twice",
        "task=tests.tasks.add id=d is kept, and sent later: try later",
        "task=tests.tasks.add id=e is kept, and sent later: try later",
    ]


def test_what_others_do_at_the_commit_keeps_no_task_from_being_sent(
    enqueue: Enqueuer,
) -> None:
    def fail() -> None:
        raise ValueError("broken")

    commit = transaction.atomic()
    commit.__enter__()
    enqueue("a")
    transaction.on_commit(fail)
    enqueue("b")
    with pytest.raises(ValueError, match="broken"):
        commit.__exit__(None, None, None)

    assert enqueue.calls == ["ab"]


class TestInsideATestCase(TestCase):
    """Django's TestCase never commits; its helper runs what would."""

    def test_tasks_are_seen_by_capture_on_commit_callbacks(self) -> None:
        with memory_queue() as queue:
            with self.captureOnCommitCallbacks() as callbacks:
                add(1).delay()
            assert len(callbacks) == 1
            assert sent(queue) == []

            with self.captureOnCommitCallbacks(execute=True):
                enqueued = add(2).delay()
            assert sent(queue) == [2]
            assert enqueued.name == queue.tasks[0].name

    def test_each_capture_sends_its_own_tasks(self) -> None:
        enqueue = Enqueuer(FakeStore())
        enqueue("a")  # Its transaction is never committed.
        with self.captureOnCommitCallbacks() as callbacks:
            enqueue("b")
        assert len(callbacks) == 1
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            enqueue("cd")
        assert len(callbacks) == 2
        assert enqueue.calls == ["cd"]
        with self.captureOnCommitCallbacks(execute=True):
            enqueue("e")
        assert enqueue.calls == ["cd", "e"]
