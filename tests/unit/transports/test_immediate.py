"""Tasks that run where they are enqueued."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask import CloudTaskRequest, Retry, Task
from cloudtask.enqueue.decorators import task
from cloudtask.exceptions import EncodeError, TaskAlreadyExists
from tests import tasks
from tests.tasks import aadd, add, ran

TRANSPORT = "cloudtask.transports.immediate.ImmediateTransport"

both_ways = pytest.mark.parametrize(
    "delay", [Task.delay, async_to_sync(Task.adelay)], ids=["delay", "adelay"]
)


@pytest.fixture(autouse=True)
def _immediate() -> Iterator[None]:
    raw = {**django_settings.CLOUDTASK, "TRANSPORT": TRANSPORT}
    with override_settings(CLOUDTASK=raw):
        yield


@task
def keep(request: CloudTaskRequest, value: object) -> None:
    ran.append(value)


@task
async def which_thread(request: CloudTaskRequest) -> None:
    ran.append((threading.current_thread(), asyncio.get_running_loop()))


@both_ways
@pytest.mark.parametrize("definition", [add, aadd], ids=["def", "async def"])
def test_a_task_has_run_when_it_is_enqueued(
    delay: Callable[..., Any], definition: Any
) -> None:
    enqueued = delay(definition(1, b=2))

    assert ran == [(definition.__name__, 1, 2)]
    assert enqueued.name.startswith(
        "projects/project/locations/europe-west1/queues/default/tasks/"
    )


def test_a_scheduled_task_runs_at_once_too() -> None:
    at = datetime.now(UTC) + timedelta(days=2)

    assert add(1, 2).schedule(at=at).schedule_time == at
    assert ran == [("add", 1, 2)]


def test_arguments_go_through_the_wire_format() -> None:
    value = {"when": datetime(2026, 1, 31, tzinfo=UTC), "pair": (1, 2)}
    keep(value).delay()

    assert ran == [value]
    assert ran[0] is not value
    with pytest.raises(EncodeError):
        keep(object()).delay()


def test_the_request_is_that_of_the_first_and_last_attempt() -> None:
    enqueued = tasks.inspect().delay()

    [request] = ran
    assert isinstance(request, CloudTaskRequest)
    assert request.id == enqueued.id
    assert f"/tasks/{request.task_name}" in str(enqueued.name)
    assert (request.queue, request.attempt) == ("default", 1)
    assert request.is_last_attempt
    assert request.request is None


@both_ways
@pytest.mark.parametrize(
    ("bound", "error"),
    [
        (lambda: tasks.fail("broken"), ValueError),
        # Nobody would try again.
        (tasks.try_again, Retry),
    ],
)
def test_what_a_task_raises_is_the_callers(
    delay: Callable[..., Any], bound: Callable[[], Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        delay(bound())


@both_ways
def test_a_rejection_is_the_tasks_own_business(delay: Callable[..., Any]) -> None:
    delay(tasks.reject())

    assert ran == [("reject",)]


@both_ways
def test_a_name_stays_used_although_the_task_failed(
    delay: Callable[..., Any],
) -> None:
    failing = task(named="once", path="shop.failing")(tasks.fail.func)

    with pytest.raises(ValueError, match="broken"):
        delay(failing())
    with pytest.raises(TaskAlreadyExists):
        delay(failing())
    assert ran == [("fail", "broken")]


def test_an_async_task_runs_on_the_loop_of_its_caller() -> None:
    async def main() -> None:
        await which_thread().adelay()
        assert ran == [(threading.current_thread(), asyncio.get_running_loop())]

    asyncio.run(main())
