"""What users may count on, whichever transport the settings name."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from cloudtask import CloudTaskRequest, EnqueuedTask, Task
from cloudtask.conf import get_settings
from cloudtask.enqueue.decorators import task
from cloudtask.exceptions import EncodeError, PayloadTooLarge, TaskAlreadyExists
from cloudtask.transports import get_transport
from cloudtask.transports.base import QueueTransport
from cloudtask.transports.immediate import ImmediateTransport
from cloudtask.wire.outgoing import OutgoingTask
from cloudtask.wire.payload import Payload, encode, new_id
from tests import tasks
from tests.contract.conftest import Deliver
from tests.tasks import aadd, add, ran

Delay = Callable[[Task[Any]], EnqueuedTask]

QUEUES = "projects/project/locations/europe-west1/queues"


def from_sync_code(bound: Task[Any]) -> EnqueuedTask:
    return bound.delay()


def from_a_loop(bound: Task[Any]) -> EnqueuedTask:
    return asyncio.run(bound.adelay())


both_ways = pytest.mark.parametrize("delay", [from_sync_code, from_a_loop])


@task(headers={"X-Shop": "berlin"}, deadline=timedelta(minutes=5))
def keep(request: CloudTaskRequest, *args: object, **kwargs: object) -> None:
    ran.append((request, args, kwargs))


@task(queue="emails")
def mail(request: CloudTaskRequest) -> None:
    ran.append(("mail", request.queue))


@task
def order(request: CloudTaskRequest, item: str) -> None:
    ran.append(("order", item))
    mail().delay()


@task(named=lambda user: f"user-{user}")
def welcome(request: CloudTaskRequest, user: int) -> None:
    ran.append(("welcome", user))


@both_ways
@pytest.mark.parametrize("definition", [add, aadd], ids=["def", "async def"])
def test_a_task_runs_once_with_its_arguments(
    deliver: Deliver, delay: Delay, definition: Any
) -> None:
    delay(definition(1, b=2))
    deliver()

    assert ran == [(definition.__name__, 1, 2)]


VALUES = [
    *(None, True, 0, -(2**70), 1.5, "", "größe ✓ \\ \" '", [], [[1], {}]),
    *({"a": {"b": 1}}, {"__type__": "date"}, (1, (2,)), {1, 2}, set(), b"\0\xff"),
    date(2026, 1, 31),
    time(12, 30, 0, 1),
    datetime(2026, 1, 31, 12, 0, 0, 1, UTC),
    datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    timedelta(days=-1, microseconds=1),
    Decimal("1.10"),
    UUID(int=1),
]


@both_ways
def test_values_arrive_as_they_were_sent(deliver: Deliver, delay: Delay) -> None:
    delay(keep(*VALUES, values=VALUES))
    deliver()

    [(_, args, kwargs)] = ran
    assert list(args) == kwargs["values"] == VALUES
    assert [type(value) for value in args] == [type(value) for value in VALUES]


@both_ways
def test_the_name_is_the_full_one_and_no_other_tasks(
    deliver: Deliver, delay: Delay
) -> None:
    names = [delay(add(1, 2)).name for _ in range(5)]

    for name in names:
        assert re.fullmatch(rf"{QUEUES}/default/tasks/[0-9]+", str(name))
    assert len(set(names)) == 5


@both_ways
def test_the_request_tells_of_the_task(deliver: Deliver, delay: Delay) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    enqueued = delay(keep())
    deliver()

    [(request, _, _)] = ran
    assert request.id == enqueued.id
    assert request.queue == enqueued.queue == "default"
    assert f"{QUEUES}/default/tasks/{request.task_name}" == enqueued.name
    assert request.attempt == 1
    # What runs in place is not tried again.
    in_place = isinstance(get_transport(get_settings()), ImmediateTransport)
    assert request.is_last_attempt is in_place
    assert request.previous_response is None
    assert before <= request.eta <= datetime.now(UTC)
    assert timedelta(minutes=4) < request.remaining() <= timedelta(minutes=5)
    assert request.headers["x-shop"] == "berlin"
    assert request.headers["Content-Type"] == "application/json"


@both_ways
def test_a_task_goes_to_its_queue(deliver: Deliver, delay: Delay) -> None:
    enqueued = delay(mail())
    deliver()

    assert ran == [("mail", "emails")]
    assert str(enqueued.name).startswith(f"{QUEUES}/emails/tasks/")


def test_a_scheduled_task_says_when_it_is_due(deliver: Deliver) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    enqueued = add(1, 2).schedule(at=at)
    deliver()

    assert enqueued.schedule_time == at
    assert ran == [("add", 1, 2)]


def test_what_a_task_enqueues_runs_as_well(deliver: Deliver) -> None:
    order("tea").delay()
    deliver()

    assert sorted(ran) == [("mail", "emails"), ("order", "tea")]


def test_a_rejected_task_is_over(deliver: Deliver) -> None:
    tasks.reject().delay()
    deliver()
    deliver()

    assert ran == [("reject",)]


@both_ways
def test_a_second_task_of_a_name_is_refused(deliver: Deliver, delay: Delay) -> None:
    first = delay(welcome(7))
    delay(welcome(8))

    with pytest.raises(TaskAlreadyExists) as caught:
        delay(welcome(7))
    assert caught.value.name == first.name
    assert caught.value.queue_path == f"{QUEUES}/default"
    deliver()
    assert sorted(ran) == [("welcome", 7), ("welcome", 8)]


def test_a_name_stays_used_after_its_task_ran(deliver: Deliver) -> None:
    tasks.clean().delay()
    deliver()

    with pytest.raises(TaskAlreadyExists):
        tasks.clean().delay()
    assert ran == [("clean",)]


def test_the_named_tasks_request_has_the_name(deliver: Deliver) -> None:
    definition = task(named="nightly", path="shop.nightly")(keep.func)
    enqueued = definition().delay()
    deliver()

    [(request, _, _)] = ran
    assert re.fullmatch(r"[0-9a-f]{16}-nightly", request.task_name)
    assert f"{QUEUES}/default/tasks/{request.task_name}" == enqueued.name


@both_ways
def test_what_no_payload_carries_is_refused_at_once(
    deliver: Deliver, delay: Delay
) -> None:
    with pytest.raises(EncodeError):
        delay(keep(object()))
    with pytest.raises(PayloadTooLarge):
        delay(keep("x" * 1_048_569))
    deliver()
    assert ran == []


def test_a_large_task_arrives(deliver: Deliver) -> None:
    text = "x" * 1_000_000
    keep(text).delay()
    deliver()

    [(_, args, _)] = ran
    assert args == (text,)


def test_threads_may_enqueue_at_the_same_time(deliver: Deliver) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda n: add(n, 0).delay().name, range(40)))
    deliver()

    assert len(names) == 40
    assert sorted(ran) == [("add", number, 0) for number in range(40)]


def test_closing_a_transport_twice_does_no_harm(deliver: Deliver) -> None:
    add(1, 2).delay()
    deliver()
    transport = get_transport(get_settings())
    transport.close()
    transport.close()
    add(3, 4).delay()
    deliver()

    assert ran == [("add", 1, 2), ("add", 3, 4)]


# Many at once


def outgoing(definition: Any, *args: object, **fields: Any) -> OutgoingTask:
    """A task as its transport gets it."""
    settings = get_settings()
    payload = Payload(
        id=new_id(),
        task=definition.path,
        args=args,
        kwargs={},
        enqueued_at=datetime.now(UTC),
    )
    return OutgoingTask(
        id=payload.id,
        path=payload.task,
        route=definition.route(settings, get_transport(settings)),
        body=encode(payload),
        **fields,
    )


def test_many_tasks_go_to_their_queues_and_run_once(deliver: Deliver) -> None:
    tasks = [outgoing(add, number, 0) for number in range(120)]
    tasks[60:60] = [outgoing(mail) for _ in range(5)]

    names = get_transport(get_settings()).send_many(tasks)
    deliver()

    for sent, name in zip(tasks, names, strict=True):
        assert re.fullmatch(rf"{sent.route.queue_path}/tasks/[0-9]+", str(name))
    assert len(set(names)) == 125
    assert sorted(ran) == sorted(
        [("add", number, 0) for number in range(120)] + [("mail", "emails")] * 5
    )


def test_what_is_refused_of_many_tasks_is_told_in_its_place(deliver: Deliver) -> None:
    tasks = [
        outgoing(welcome, user, task_id=f"user-{user}") for user in (1, 2, 1, 3, 2)
    ]

    answers = get_transport(get_settings()).send_many(tasks)
    deliver()

    for sent, answer in zip(tasks, answers, strict=True):
        name = answer.name if isinstance(answer, TaskAlreadyExists) else answer
        assert name == sent.name
    assert [isinstance(answer, TaskAlreadyExists) for answer in answers] == [
        *(False, False, True, False, True)
    ]
    assert sorted(ran) == [("welcome", 1), ("welcome", 2), ("welcome", 3)]


def test_nothing_is_sent_or_deleted_of_nothing(deliver: Deliver) -> None:
    transport = get_transport(get_settings())

    assert transport.send_many([]) == []
    if isinstance(transport, QueueTransport):
        assert transport.delete_many([]) == {}


LATER = datetime.now(UTC) + timedelta(days=1)


def test_what_is_deleted_does_not_run(deliver: Deliver) -> None:
    transport = get_transport(get_settings())
    tasks = [outgoing(add, number, 0, schedule_time=LATER) for number in range(5)]
    tasks.append(outgoing(mail, schedule_time=LATER))
    names = [str(name) for name in transport.send_many(tasks)]
    if not isinstance(transport, QueueTransport):
        assert len(ran) == 6
        return

    gone = [names[0], names[1], names[-1], f"{QUEUES}/default/tasks/never-there"]
    assert transport.delete_many(gone) == {}
    assert transport.delete_many(gone) == {}
    assert transport.delete_many(gone[:1]) == {}

    assert [transport.has(name) for name in names] == [
        name not in gone for name in names
    ]
    assert ran == []


def test_a_task_runs_now_if_it_is_told_to(deliver: Deliver) -> None:
    transport = get_transport(get_settings())
    name = transport.send(outgoing(add, 1, 2, schedule_time=LATER))

    if isinstance(transport, QueueTransport):
        assert transport.run(name) is True
    deliver()

    assert ran == [("add", 1, 2)]
    if isinstance(transport, QueueTransport):
        assert transport.run(name) is False
    assert ran == [("add", 1, 2)]
