"""What enqueue() and aenqueue() send, give and tell."""

from __future__ import annotations

import asyncio
import copy
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils.safestring import mark_safe
from freezegun import freeze_time

from cloudtask.backends import CloudTasksBackend
from cloudtask.backends.results import CloudTaskResult
from cloudtask.exceptions import ConfigurationError, EncodeError, PayloadTooLarge
from cloudtask.framework import (
    InvalidTask,
    Task,
    TaskResultDoesNotExist,
    TaskResultStatus,
    default_task_backend,
    task_enqueued,
)
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.payload import Using
from tests.backends import tasks
from tests.backends.samples import (
    BACKEND,
    FRAMEWORK,
    Told,
    body_of,
    with_options,
)
from tests.tasks import ran

NO_RESULTS = "This backend does not support retrieving or refreshing results."

Enqueue = Callable[..., CloudTaskResult]


def sync_enqueue(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return task.enqueue(*args, **kwargs)


def async_enqueue(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return async_to_sync(task.aenqueue)(*args, **kwargs)


@pytest.fixture(params=["enqueue", "aenqueue"])
def enqueue(request: pytest.FixtureRequest) -> Enqueue:
    """Enqueue a task by one method, then by the other."""
    return {"enqueue": sync_enqueue, "aenqueue": async_enqueue}[request.param]


# What it gives


def test_the_result_says_what_was_enqueued(
    queue: MemoryTransport, enqueue: Enqueue
) -> None:
    before = datetime.now(UTC)
    result = enqueue(tasks.add, 1, b=2)

    [stored] = queue.tasks
    assert type(result) is CloudTaskResult
    assert result.task is tasks.add
    assert result.status is TaskResultStatus.READY
    assert not result.is_finished
    assert re.fullmatch(r"[0-9a-f]{32}", result.id)
    assert (result.args, result.kwargs) == ([1], {"b": 2})
    assert result.enqueued_at is not None
    assert before <= result.enqueued_at <= datetime.now(UTC)
    assert result.started_at is result.finished_at is result.last_attempted_at is None
    assert (result.backend, result.errors, result.worker_ids) == ("default", [], [])
    assert (result.attempts, result.attempt) == (0, 0)
    assert result.name == stored.name
    with pytest.raises(ValueError, match=r"^Task has not finished yet$"):
        _ = result.return_value
    assert ran == []


def test_each_result_has_an_id_of_its_own(
    queue: MemoryTransport, enqueue: Enqueue
) -> None:
    ids = {enqueue(tasks.add).id for _ in range(20)}

    assert ids == {stored.payload.id for stored in queue.tasks}
    assert len(ids) == 20


def test_the_backend_itself_enqueues_as_well(queue: MemoryTransport) -> None:
    first = default_task_backend.enqueue(tasks.add, (1,), {})
    second = default_task_backend.enqueue(tasks.add, [1], {})

    assert first.args == second.args == [1]
    assert len(queue.tasks) == 2


def test_a_result_can_be_copied(queue: MemoryTransport) -> None:
    result = tasks.look.using(queue_name="emails").enqueue([1], a={"b": 2})
    twin = copy.deepcopy(result)

    assert twin == result
    assert type(twin) is CloudTaskResult
    assert twin.name == result.name
    assert twin.args == result.args
    assert twin.args[0] is not result.args[0]
    assert copy.copy(result) == result


@pytest.mark.usefixtures("queue")
def test_no_result_can_be_had_again(backend: CloudTasksBackend) -> None:
    result = tasks.add.enqueue()

    async def ask(method: Callable[..., Any], *args: str) -> None:
        await method(*args)

    for method, *args in (
        (backend.get_result, result.id),
        (backend.get_result, "unknown"),
        (tasks.add.get_result, result.id),
        (result.refresh,),
    ):
        with pytest.raises(TaskResultDoesNotExist) as caught:
            method(*args)
        assert isinstance(caught.value, NotImplementedError)
        assert str(caught.value) == NO_RESULTS
    for method, *args in (
        (backend.aget_result, result.id),
        (tasks.add.aget_result, result.id),
        (result.arefresh,),
    ):
        with pytest.raises(NotImplementedError) as asked:
            asyncio.run(ask(method, *args))
        assert isinstance(asked.value, TaskResultDoesNotExist)
        assert str(asked.value) == NO_RESULTS
    assert result.status is TaskResultStatus.READY


# What it sends


def test_the_payload_names_the_backend(
    queue: MemoryTransport, enqueue: Enqueue
) -> None:
    result = enqueue(tasks.add, 1, b=2)

    [stored] = queue.tasks
    document = body_of(stored)
    enqueued_at = datetime.fromisoformat(document.pop("enqueued_at"))
    assert document == {
        "v": 1,
        "id": result.id,
        "task": "tests.backends.tasks.add",
        "kind": "django",
        "args": [1],
        "kwargs": {"b": 2},
        "backend": "default",
        "using": {"queue_name": "default", "priority": 0},
    }
    assert enqueued_at.utcoffset() == timedelta(0)
    assert stored.sent.task_id is None  # Cloud Tasks chooses the name.
    assert dict(stored.sent.route.headers) == {
        "Content-Type": "application/json",
        "X-Task-Backend": "default",
    }


def test_the_payload_says_how_the_task_was_used(
    queue: MemoryTransport, enqueue: Enqueue
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    enqueue(tasks.add.using(queue_name="emails", run_after=soon))

    [stored] = queue.tasks
    assert stored.payload.using == Using("emails", 0, soon)
    assert stored.sent.schedule_time == stored.due == soon
    assert stored.sent.route.queue == "emails"


def test_a_time_to_run_keeps_its_zone(queue: MemoryTransport) -> None:
    moment = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    zones = [ZoneInfo("Europe/Berlin"), UTC, ZoneInfo("Asia/Tokyo")]
    for zone in zones:
        tasks.add.using(run_after=moment.astimezone(zone)).enqueue()

    usings = [stored.payload.using for stored in queue.tasks]
    offsets = [using.run_after.utcoffset() for using in usings if using is not None]
    assert offsets == [moment.astimezone(zone).utcoffset() for zone in zones]


@pytest.mark.parametrize("priority", [11, 12.0])
def test_a_priority_that_django_takes_can_be_read_again(
    settings: Any, priority: Any
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "PRIORITY_QUEUES": {1: "urgent"}}
    with memory_queue() as queue:
        tasks.add.using(priority=priority).enqueue(1, 2)
        queue.drain()

    assert ran == [("add", 1, 2)]


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ((1, (2, "x")), [1, [2, "x"]]),
        (b"bytes", "bytes"),
        ("größe".encode(), "größe"),
        ({"a": (b"b", None)}, {"a": ["b", None]}),
        (range(3), [0, 1, 2]),
        ([], []),
        (1.5, 1.5),
        (True, True),
        (None, None),
        ("\U0001f600", "\U0001f600"),
        (TaskResultStatus.READY, "READY"),
        (mark_safe("<b>"), "<b>"),
        # As our own format would write a date.
        (
            {"__type__": "date", "value": "2026-01-31"},
            {"__type__": "date", "value": "2026-01-31"},
        ),
        ({"__type__": 5}, {"__type__": 5}),
    ],
)
def test_arguments_arrive_as_json(
    queue: MemoryTransport, enqueue: Enqueue, given: Any, arrives: Any
) -> None:
    result = enqueue(tasks.keep, given, by_name=given)

    assert (result.args, result.kwargs) == ([arrives], {"by_name": arrives})
    queue.drain()
    assert ran == [((arrives,), {"by_name": arrives})]
    [(args, _)] = ran  # type: ignore[misc]
    assert type(args[0]) is type(arrives)


@pytest.mark.parametrize(
    "given",
    [
        object(),
        {1, 2},
        datetime.now(UTC),
        date(2026, 1, 31),
        Decimal("1.5"),
        UUID(int=1),
        tasks.plain,
    ],
    ids=lambda given: type(given).__name__,
)
def test_arguments_must_be_json(
    queue: MemoryTransport, enqueue: Enqueue, told: list[Told], given: Any
) -> None:
    words = f"Unsupported type: {type(given)}"
    for args, kwargs in (((given,), {}), ((), {"a": [given]}), (({"a": given},), {})):
        with pytest.raises(TypeError) as caught:
            enqueue(tasks.keep, *args, **kwargs)
        assert str(caught.value) == words
    assert queue.tasks == told == []


def test_bytes_must_be_text(queue: MemoryTransport, enqueue: Enqueue) -> None:
    with pytest.raises(ValueError, match=r"^Unsupported value: <class 'bytes'>$"):
        enqueue(tasks.keep, b"\xff")
    assert queue.tasks == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (float("nan"), "args[0] is nan, which JSON cannot say."),
        (
            {1: 2},
            "args[0] has the key 1; JSON's keys are strings. Pass a list of pairs.",
        ),
        ("a\0b", "args[0] has a NUL character."),
        ("\ud800", "args[0] has half a surrogate pair."),
    ],
)
def test_what_would_not_arrive_is_refused(
    queue: MemoryTransport, enqueue: Enqueue, given: Any, problem: str
) -> None:
    with pytest.raises(EncodeError) as caught:
        enqueue(tasks.keep, given)
    assert str(caught.value) == f"tests.backends.tasks.keep: {problem}"
    assert queue.tasks == []


def test_a_task_that_is_too_large_is_refused(
    queue: MemoryTransport, enqueue: Enqueue, told: list[Told]
) -> None:
    with pytest.raises(PayloadTooLarge, match=r"^tests\.backends\.tasks\.keep takes "):
        enqueue(tasks.keep, "x" * 1_048_569)
    assert queue.tasks == told == []


def test_what_tasks_share_is_prepared_once(queue: MemoryTransport) -> None:
    for _ in range(3):
        tasks.add.enqueue()
    tasks.add.using(queue_name="emails").enqueue()
    tasks.patient.enqueue()

    first, *rest, emails, patient = (stored.sent.route for stored in queue.tasks)
    assert all(route is first for route in rest)
    assert emails is not first
    assert (patient.deadline, patient.retry) == (
        timedelta(minutes=20),
        tasks.patient.retry,
    )


def test_what_is_known_of_tasks_does_not_grow_without_bounds(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch, backend: CloudTasksBackend
) -> None:
    monkeypatch.setattr("cloudtask.backends.backend._MAX_PLANS", 3)
    times = [datetime.now(UTC) + timedelta(minutes=number) for number in range(10)]
    for each in times:
        later = tasks.add.using(run_after=each)
        backend.enqueue(later, (), {})
        backend.enqueue(later, (), {})

    assert [stored.due for stored in queue.tasks] == [t for t in times for _ in "12"]
    assert len(backend._plans) <= 3


def test_a_task_that_became_invalid_is_refused(settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"]}}
    mail = tasks.add.using(queue_name="mail")
    with memory_queue() as queue:
        mail.enqueue()
        settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["default"]}}
        with pytest.raises(InvalidTask, match="Queue 'mail' is not valid for backend"):
            mail.enqueue()

    assert len(queue.tasks) == 1


def test_all_threads_share_one_backend() -> None:
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(tasks.add.get_backend).result()

    assert elsewhere is tasks.add.get_backend()


def test_other_packages_backends_are_made_as_django_makes_them() -> None:
    sent_there = tasks.add.using(backend="dummy")

    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(sent_there.get_backend).result()

    assert elsewhere is not sent_there.get_backend()
    assert sent_there.get_backend() is sent_there.get_backend()


def test_other_settings_make_other_routes(settings: Any) -> None:
    for name in ("first", "second"):
        settings.CLOUDTASK = {**settings.CLOUDTASK, "QUEUE_ALIASES": {"default": name}}
        with memory_queue() as queue:
            tasks.add.enqueue()
        assert [stored.sent.route.queue for stored in queue.tasks] == [name]


@pytest.mark.parametrize(
    ("options", "deadline", "attempts"),
    [
        ({}, None, None),
        ({"DEADLINE": timedelta(minutes=3)}, timedelta(minutes=3), None),
        ({"RETRY": {"max_attempts": 4}}, None, 4),
        ({"RUN_ONCE": True}, None, 1),
    ],
)
def test_the_options_are_for_tasks_without_their_own(
    settings: Any, options: Any, deadline: Any, attempts: Any
) -> None:
    settings.TASKS = with_options(**options)
    with memory_queue() as queue:
        tasks.add.enqueue()
        tasks.patient.enqueue()
        added, patient = [stored.sent.route for stored in queue.tasks]

    assert added.deadline == deadline
    assert (added.retry and added.retry.max_attempts) == attempts
    assert patient.deadline == timedelta(minutes=20)
    assert patient.retry is tasks.patient.retry


def test_options_win_over_the_setting(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RUN_ONCE": True}
    settings.TASKS = with_options(RETRY={"max_attempts": 4})
    with memory_queue() as queue:
        tasks.add.enqueue()

    [stored] = queue.tasks
    assert stored.sent.route.retry is not None
    assert stored.sent.route.retry.max_attempts == 4


# What it tells


def test_a_signal_tells_of_a_task(
    queue: MemoryTransport, enqueue: Enqueue, told: list[Told]
) -> None:
    result = enqueue(tasks.add)

    assert told == [Told("enqueued", CloudTasksBackend, result, "READY")]
    assert told[0].result is result


def test_the_sender_is_the_class_of_the_backend(
    settings: Any, queue: MemoryTransport, enqueue: Enqueue, told: list[Told]
) -> None:
    settings.TASKS = {
        "default": {"BACKEND": f"{__name__}.OwnBackend", "QUEUES": ["default"]}
    }
    enqueue(tasks.add)
    queue.drain()

    assert [each.sender for each in told] == [OwnBackend] * 3


class OwnBackend(CloudTasksBackend):
    """A project's own."""


def test_a_receiver_that_fails_breaks_nothing(
    queue: MemoryTransport, enqueue: Enqueue, caplog: pytest.LogCaptureFixture
) -> None:
    names: list[Any] = []

    def fail(task_result: Any, **kwargs: Any) -> None:
        names.append((task_result.name, task_result.enqueued_at))
        raise ValueError("a receiver's")

    task_enqueued.connect(fail)
    try:
        result = enqueue(tasks.add)
    finally:
        task_enqueued.disconnect(fail)

    assert len(queue.tasks) == 1
    assert names == [(result.name, result.enqueued_at)]
    assert None not in names[0]
    [record] = [r for r in caplog.records if r.name == "django.dispatch"]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a receiver's"


def test_a_receiver_may_be_async(queue: MemoryTransport, enqueue: Enqueue) -> None:
    received = []

    async def receive(task_result: Any, **kwargs: Any) -> None:
        received.append(task_result.id)

    task_enqueued.connect(receive)
    try:
        result = enqueue(tasks.add)
    finally:
        task_enqueued.disconnect(receive)

    assert received == [result.id]


def test_the_frameworks_log_tells_of_a_task(
    queue: MemoryTransport, enqueue: Enqueue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=FRAMEWORK)
    result = enqueue(tasks.add)

    [record] = [r for r in caplog.records if r.name == FRAMEWORK]
    assert record.levelno == logging.DEBUG
    assert record.getMessage() == (
        f"Task id={result.id} path=tests.backends.tasks.add enqueued backend=default"
    )


# What is missing


@pytest.mark.parametrize("key", ["PROJECT", "LOCATION", "URL", "SIGN"])
def test_a_setting_that_is_missing_is_named(
    settings: Any, enqueue: Enqueue, told: list[Told], key: str
) -> None:
    settings.CLOUDTASK = {
        "PROJECT": "shop",
        "LOCATION": "europe-west1",
        "URL": "https://shop.example/_tasks/",
        key: False if key == "SIGN" else None,
    }

    with pytest.raises(ConfigurationError) as caught:
        enqueue(tasks.add)
    assert str(caught.value).startswith(f"CLOUDTASK[{key!r}]: ")
    assert told == []


def test_a_setting_that_is_missing_is_named_as_an_option(
    settings: Any, enqueue: Enqueue
) -> None:
    settings.CLOUDTASK = {"SECRET": "a secret for tests of 32 bytes.."}
    settings.TASKS = with_options(LOCATION="europe-west1")

    with pytest.raises(ConfigurationError) as caught:
        enqueue(tasks.add)
    assert str(caught.value).startswith("TASKS['default']['OPTIONS']['PROJECT']: ")


def test_no_queue_has_to_be_set(settings: Any, enqueue: Enqueue) -> None:
    raw = {key: value for key, value in settings.CLOUDTASK.items() if key != "QUEUE"}
    settings.CLOUDTASK = raw

    assert enqueue(tasks.add).name.startswith(
        "projects/project/locations/europe-west1/queues/default/tasks/"
    )


# Transactions


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_before_the_commit(
    queue: MemoryTransport, enqueue: Enqueue, told: list[Told]
) -> None:
    with transaction.atomic():
        result = enqueue(tasks.add, 1, b=2)
        assert result.enqueued_at is result.name is None
        assert result.status is TaskResultStatus.READY
        assert queue.tasks == told == []

    [stored] = queue.tasks
    assert result.name == stored.name
    assert result.enqueued_at is not None
    assert told == [Told("enqueued", CloudTasksBackend, result, "READY")]


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_after_a_rollback(
    queue: MemoryTransport, enqueue: Enqueue, told: list[Told]
) -> None:
    with transaction.atomic():
        result = enqueue(tasks.add)
        transaction.set_rollback(True)

    assert queue.tasks == told == []
    assert result.enqueued_at is result.name is None


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", ["OPTIONS", "CLOUDTASK"])
def test_tasks_need_not_wait(settings: Any, enqueue: Enqueue, place: str) -> None:
    if place == "OPTIONS":
        settings.TASKS = with_options(ON_COMMIT=False)
    else:
        settings.CLOUDTASK = {**settings.CLOUDTASK, "ON_COMMIT": False}
    with memory_queue() as queue:
        with transaction.atomic():
            result = enqueue(tasks.add)
            sent = len(queue.tasks)
            transaction.set_rollback(True)
        assert (sent, len(queue.tasks)) == (1, 1)
    assert result.name is not None
    assert result.enqueued_at is not None


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
def test_the_payload_tells_when_it_was_enqueued_not_sent(
    queue: MemoryTransport,
) -> None:
    with transaction.atomic():
        result = tasks.add.enqueue()
        asked_at = datetime.now(UTC)

    [stored] = queue.tasks
    assert stored.payload.enqueued_at <= asked_at
    assert result.enqueued_at is not None
    assert result.enqueued_at >= asked_at


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=14)), UTC], ids=str)
def test_a_time_long_past_is_now(queue: MemoryTransport, zone: timezone) -> None:
    past = datetime.min.replace(tzinfo=zone)
    tasks.add.using(run_after=past).enqueue()

    assert len(queue.drain()) == 1
    assert ran == [("add", 5, 4)]


def test_time_may_be_frozen(queue: MemoryTransport) -> None:
    with freeze_time("2026-01-31T12:00:00+00:00"):
        later = datetime.now(UTC) + timedelta(hours=1)
        tasks.look.using(run_after=later).enqueue()
        queue.drain(later)

    [context] = ran
    assert context.task_result.task.run_after == later
