"""The API through Google's own client."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcAsyncIOTransport,
)
from google.rpc import error_details_pb2

from cloudtask.emulator import Emulator
from tests.emulator.conftest import Target

Client = tasks_v2.CloudTasksClient
FULL = tasks_v2.Task.View.FULL
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def later(**http: object) -> dict[str, object]:
    return {
        "http_request": {"url": "http://127.0.0.1:9/"} | http,
        "schedule_time": TOMORROW,
    }


def test_queues_are_created_read_and_listed(emulator: Emulator, client: Client) -> None:
    path = emulator.queue_path("emails")

    created = client.create_queue(
        parent=emulator.parent,
        queue={"name": path, "retry_config": {"max_attempts": 3}},
    )

    assert created == client.get_queue(name=path)
    assert created.state == tasks_v2.Queue.State.RUNNING
    assert created.retry_config.max_attempts == 3
    assert created.retry_config.max_backoff == timedelta(hours=1)
    request = tasks_v2.ListQueuesRequest(parent=emulator.parent, page_size=1)
    assert [queue.name for queue in client.list_queues(request)] == [
        emulator.queue_path("default"),
        path,
    ]


def test_a_task_is_created_read_and_deleted(emulator: Emulator, client: Client) -> None:
    task = client.create_task(
        parent=emulator.queue_path("default"),
        task=later(body=b"hi", headers={"X-a": "1"}),
    )

    task_id = task.name.rpartition("/")[2]
    assert task_id.isdigit()
    assert 17 <= len(task_id) <= 20
    assert task.schedule_time == TOMORROW
    assert task.create_time.microsecond == 0
    assert task.http_request.body == b""
    assert client.get_task(name=task.name) == task
    full = client.get_task(request={"name": task.name, "response_view": FULL})
    assert (full.http_request.body, full.view) == (b"hi", FULL)
    assert emulator.pending == 1
    client.delete_task(name=task.name)
    assert emulator.idle
    with pytest.raises(exceptions.NotFound, match="The task no longer exists"):
        client.get_task(name=task.name)


def test_a_full_view_can_be_asked_for_at_once(
    emulator: Emulator, client: Client
) -> None:
    task = client.create_task(
        request={
            "parent": emulator.queue_path("default"),
            "task": later(body=b"hi"),
            "response_view": FULL,
        }
    )

    assert task.http_request.body == b"hi"


def test_a_created_task_is_shown_as_not_yet_sent(
    emulator: Emulator, client: Client, target: Target
) -> None:
    task = client.create_task(
        parent=emulator.queue_path("default"),
        task={"http_request": {"url": target.url}},
    )

    assert task.dispatch_count == 0
    emulator.wait_for(lambda: emulator.idle)


def test_errors_arrive_with_their_details(emulator: Emulator, client: Client) -> None:
    parent = emulator.queue_path("default")

    with pytest.raises(exceptions.InvalidArgument) as caught:
        client.create_task(parent=parent, task={"name": f"{parent}/tasks/a b"})

    [helping] = caught.value.details
    assert isinstance(helping, error_details_pb2.Help)
    assert helping.links[0].description == "Definition of task ID"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda client, parent: client.create_task(
                parent=f"{parent}/queues/nope", task=later()
            ),
            exceptions.NotFound,
            "Queue does not exist. If you just created the queue, "
            "wait at least a minute for the queue to initialize.",
        ),
        (
            lambda client, parent: client.list_queues(
                request={"parent": parent, "filter": "state: PAUSED"}
            ),
            exceptions.MethodNotImplemented,
            "ListQueuesRequest.filter is not supported by this emulator.",
        ),
        (
            lambda client, parent: client.purge_queue(name=f"{parent}/queues/default"),
            exceptions.MethodNotImplemented,
            "Method not found!",
        ),
    ],
)
def test_errors_arrive_as_the_clients_exceptions(
    emulator: Emulator,
    client: Client,
    call: Callable[[Client, str], object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error) as caught:
        call(client, emulator.parent)

    assert caught.value.message == message


def test_the_asynchronous_client_works_as_well(
    emulator: Emulator, target: Target
) -> None:
    async def create() -> str:
        async with grpc.aio.insecure_channel(emulator.host) as channel:
            client = tasks_v2.CloudTasksAsyncClient(
                transport=CloudTasksGrpcAsyncIOTransport(channel=channel)
            )
            task = await client.create_task(
                parent=emulator.queue_path("default"),
                task={"http_request": {"url": target.url}},
            )
            return task.name

    name = asyncio.run(create())

    emulator.wait_for(lambda: emulator.idle)
    assert [attempt.name for attempt in emulator.attempts] == [name]
