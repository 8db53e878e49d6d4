"""The API over gRPC, through Google's own client."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcAsyncIOTransport,
)
from google.iam.v1 import iam_policy_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

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


@pytest.fixture
def queue(emulator: Emulator) -> str:
    return emulator.queue_path("default")


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


def test_a_task_is_created_read_and_deleted(
    emulator: Emulator, client: Client, queue: str
) -> None:
    task = client.create_task(
        parent=queue, task=later(body=b"hi", headers={"X-a": "1"})
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


def test_large_tasks_are_listed_in_pages_that_a_client_takes(
    client: Client, queue: str
) -> None:
    names = {
        client.create_task(parent=queue, task=later(body=b"x" * 1_000_000)).name
        for _ in range(5)
    }

    request = {"parent": queue, "response_view": FULL}
    pages = list(client.list_tasks(request=request).pages)

    assert [len(page.tasks) for page in pages] == [3, 2]
    assert {task.name for page in pages for task in page.tasks} == names


def test_the_largest_batch_is_taken(client: Client, queue: str) -> None:
    request = {"parent": queue, "task": later(body=b"x" * 1_000_000)}

    operation = client.batch_create_tasks(
        request={"parent": queue, "requests": [request] * 100}
    )

    assert len(operation.result(timeout=10).tasks) == 100


def test_errors_arrive_with_their_details(client: Client, queue: str) -> None:
    with pytest.raises(exceptions.InvalidArgument) as caught:
        client.create_task(parent=queue, task={"name": f"{queue}/tasks/a b"})

    [helping] = caught.value.details
    assert isinstance(helping, error_details_pb2.Help)
    assert helping.links[0].description == "Definition of task ID"


def test_errors_without_details_arrive_without(client: Client, queue: str) -> None:
    with pytest.raises(exceptions.NotFound) as caught:
        client.get_task(name=f"{queue}/tasks/t1")

    assert caught.value.details == []
    assert caught.value.message == "Requested entity was not found."


def test_what_is_no_method_is_said_so(emulator: Emulator) -> None:
    with grpc.insecure_channel(emulator.host) as channel:
        call: Any = channel.unary_unary("/google.cloud.tasks.v2.CloudTasks/Nothing")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=10)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_other_services_are_there(client: Client, queue: str) -> None:
    project = queue.split("/locations/")[0]

    found = client.list_locations(request={"name": project})
    policy = client.get_iam_policy(
        request=iam_policy_pb2.GetIamPolicyRequest(resource=queue)
    )

    assert [each.location_id for each in found.locations] == ["local"]
    assert list(policy.bindings) == []


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


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2, about the connection."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + payload


def test_clients_may_ping_an_idle_connection_as_often_as_they_like(
    emulator: Emulator,
) -> None:
    settings, ping, goaway = 4, 6, 7
    host, _, port = emulator.host.rpartition(":")
    pings = [number.to_bytes(8, "big") for number in range(20)]
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings))
        answers = client.makefile("rb")
        answered: list[bytes] = []
        client.sendall(frame(ping, pings[0]))
        # One after the other, as each is answered.
        while len(answered) < len(pings):
            head = answers.read(9)
            payload = answers.read(int.from_bytes(head[:3], "big"))
            assert head[3] != goaway, payload
            if head[3] == ping:
                answered.append(payload)
                client.sendall(frame(ping, pings[len(answered) % len(pings)]))
    assert answered == pings


@pytest.mark.parametrize(
    "service",
    [
        "",
        "google.cloud.tasks.v2.CloudTasks",
        "google.cloud.tasks.v2beta3.CloudTasks",
        "google.longrunning.Operations",
    ],
)
def test_a_probe_is_told_that_it_serves(emulator: Emulator, service: str) -> None:
    with grpc.insecure_channel(emulator.host) as channel:
        probe = health_pb2_grpc.HealthStub(channel)
        answer = probe.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            probe.Check(health_pb2.HealthCheckRequest(service="another"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
