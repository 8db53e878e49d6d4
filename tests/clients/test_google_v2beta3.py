"""Google's client for v2beta3, as its samples for HTTP queues use it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import tasks_v2beta3
from google.cloud.tasks_v2beta3.services.cloud_tasks.transports import (
    CloudTasksGrpcAsyncIOTransport,
    CloudTasksGrpcTransport,
)
from google.protobuf.field_mask_pb2 import FieldMask

from tests.clients.conftest import Service, until
from tests.emulator.conftest import Target

ACCOUNT = "tasks@project.iam.gserviceaccount.com"
Queue = tasks_v2beta3.Queue


@pytest.fixture
def client(service: Service) -> Iterator[tasks_v2beta3.CloudTasksClient]:
    with grpc.insecure_channel(service.grpc_address) as channel:
        transport = CloudTasksGrpcTransport(channel=channel)
        yield tasks_v2beta3.CloudTasksClient(transport=transport)


def http_target(url: str, **fields: Any) -> dict[str, Any]:
    parts = urlsplit(url)
    override = {
        "scheme": tasks_v2beta3.UriOverride.Scheme.HTTP,
        "host": parts.hostname,
        "port": parts.port,
        "path_override": {"path": parts.path},
        "uri_override_enforce_mode": (
            tasks_v2beta3.UriOverride.UriOverrideEnforceMode.ALWAYS
        ),
    }
    return {"uri_override": override, **fields}


@pytest.fixture
def queue(client: tasks_v2beta3.CloudTasksClient, location: str, target: Target) -> str:
    """An HTTP queue, as the samples create it."""
    path = f"{location}/queues/emails"
    created = client.create_queue(
        tasks_v2beta3.CreateQueueRequest(
            parent=location,
            queue={
                "name": path,
                "http_target": http_target(
                    target.url,
                    header_overrides=[{"header": {"key": "X-Kind", "value": "mail"}}],
                    oidc_token={
                        "service_account_email": ACCOUNT,
                        "audience": "https://shop.example/",
                    },
                ),
            },
        )
    )
    assert created.name == path
    return path


def test_an_http_queue(
    client: tasks_v2beta3.CloudTasksClient, location: str, queue: str
) -> None:
    found = client.get_queue(name=queue)
    assert found.http_target.header_overrides[0].header.value == "mail"
    assert found.http_target.oidc_token.service_account_email == ACCOUNT
    assert found.rate_limits.max_dispatches_per_second == 500
    assert found.retry_config.max_attempts == 100
    assert found.state == Queue.State.RUNNING
    assert found.type_ == Queue.Type.PUSH
    assert found.task_ttl == timedelta(days=31)
    assert "stats" not in found

    updated = client.update_queue(
        queue=Queue(name=queue, retry_config={"max_attempts": 7}),
        update_mask=FieldMask(paths=["retry_config.max_attempts", "http_target"]),
    )
    assert updated.retry_config.max_attempts == 7
    assert "http_target" not in updated
    [listed] = client.list_queues(parent=location)
    assert listed == updated
    assert client.pause_queue(name=queue).state == Queue.State.PAUSED
    assert client.resume_queue(name=queue).state == Queue.State.RUNNING
    client.purge_queue(name=queue)
    client.delete_queue(name=queue)
    with pytest.raises(exceptions.NotFound, match="Queue does not exist"):
        client.get_queue(name=queue)


def test_the_routing_of_app_engine_is_said_otherwise(
    client: tasks_v2beta3.CloudTasksClient, queue: str
) -> None:
    routing = {"app_engine_routing_override": {"service": "worker"}}
    for mask in ("app_engine_http_queue.app_engine_routing_override", "task_ttl"):
        updated = client.update_queue(
            queue=Queue(name=queue, app_engine_http_queue=routing),
            update_mask=FieldMask(paths=[mask]),
        )
        override = updated.app_engine_http_queue.app_engine_routing_override
        assert override.service == "worker"
        assert "http_target" in updated


def test_a_pull_queue_is_refused(
    client: tasks_v2beta3.CloudTasksClient, location: str
) -> None:
    pull = Queue(name=f"{location}/queues/pull", type_=Queue.Type.PULL)
    with pytest.raises(exceptions.InvalidArgument, match="pull queues are not served"):
        client.create_queue(parent=location, queue=pull)


def test_a_task_without_a_url_goes_where_its_queue_says(
    client: tasks_v2beta3.CloudTasksClient, queue: str, target: Target
) -> None:
    created = client.create_task(
        tasks_v2beta3.CreateTaskRequest(
            parent=queue,
            task={"http_request": {"url": target.url + "/own", "body": b"hello"}},
        )
    )
    assert created.http_request.headers["User-Agent"] == "Google-Cloud-Tasks"
    assert target.reached.wait(10)
    [received] = target.received
    assert received.body == b"hello"
    assert received.header("X-Kind") == "mail"
    assert received.header("Authorization").startswith("Bearer ")


def test_a_buffered_task(service: Service, queue: str, target: Target) -> None:
    request = urllib.request.Request(  # noqa: S310
        f"{service.http_url}/v2beta3/{queue}/tasks:buffer",
        data=b"buffered",
        headers={"Content-Type": "text/plain", "Authorization": "Bearer token"},
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        assert json.load(response)["task"]["name"].startswith(f"{queue}/tasks/")
    assert target.reached.wait(10)
    assert target.received[0].body == b"buffered"


def test_tasks(client: tasks_v2beta3.CloudTasksClient, queue: str) -> None:
    client.pause_queue(name=queue)
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    name = f"{queue}/tasks/first"
    task = tasks_v2beta3.Task(
        name=name,
        schedule_time=later,
        dispatch_deadline=timedelta(minutes=5),
        retry_config={"max_attempts": 3},
        http_request={
            "url": "http://127.0.0.1:9/",
            "headers": {"app_engine_http_queue": "a header"},
        },
    )
    client.create_task(parent=queue, task=task)
    found = client.get_task(name=name)
    assert (found.schedule_time, found.dispatch_deadline) == (
        later,
        timedelta(minutes=5),
    )
    assert found.retry_config.max_attempts == 3
    assert found.http_request.headers["app_engine_http_queue"] == "a header"
    operation = client.batch_create_tasks(
        tasks_v2beta3.BatchCreateTasksRequest(
            parent=queue,
            requests=[{"parent": queue, "task": task} for _ in range(2)]
            + [
                {
                    "parent": queue,
                    "task": {"http_request": {"url": "http://a.example/"}},
                }
            ],
        )
    )
    assert len(operation.result().tasks) == 1
    assert set(operation.metadata.failed_requests) == {0, 1}
    [also] = operation.result().tasks
    assert {each.name for each in client.list_tasks(parent=queue)} == {name, also.name}

    stats = client.get_queue(
        tasks_v2beta3.GetQueueRequest(name=queue, read_mask="name,stats")
    )
    assert (stats.name, stats.stats.tasks_count) == (queue, 2)
    assert stats.stats.effective_execution_rate == 500
    assert stats.stats.oldest_estimated_arrival_time < later
    assert "retry_config" not in stats
    [every] = client.list_queues(
        tasks_v2beta3.ListQueuesRequest(
            parent=queue.partition("/queues/")[0], read_mask="*"
        )
    )
    assert every.stats.tasks_count == 2
    assert every.retry_config.max_attempts == 100

    client.delete_task(name=name)
    with pytest.raises(exceptions.NotFound):
        client.get_task(name=name)
    client.purge_queue(name=queue)
    until(lambda: not list(client.list_tasks(parent=queue)))
    empty = client.get_queue(
        tasks_v2beta3.GetQueueRequest(name=queue, read_mask="stats")
    )
    assert empty.stats.tasks_count == 0
    assert "oldest_estimated_arrival_time" not in empty.stats
    bare = client.get_queue(tasks_v2beta3.GetQueueRequest(name=queue, read_mask="name"))
    assert bare == Queue(name=queue)


def test_a_task_that_is_pulled_is_refused(
    client: tasks_v2beta3.CloudTasksClient, queue: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        client.create_task(
            parent=queue, task=tasks_v2beta3.Task(pull_message={"payload": b"x"})
        )


def test_policies(client: tasks_v2beta3.CloudTasksClient, queue: str) -> None:
    assert not client.get_iam_policy(request={"resource": queue}).bindings
    granted = client.test_iam_permissions(
        request={"resource": queue, "permissions": ["cloudtasks.tasks.create"]}
    )
    assert granted.permissions == ["cloudtasks.tasks.create"]


def test_the_client_for_asyncio(service: Service, queue: str, target: Target) -> None:
    async def create() -> str:
        async with grpc.aio.insecure_channel(service.grpc_address) as channel:
            transport = CloudTasksGrpcAsyncIOTransport(channel=channel)
            client = tasks_v2beta3.CloudTasksAsyncClient(transport=transport)
            request = {"url": target.url}
            task = tasks_v2beta3.Task(http_request=request)
            return (await client.create_task(parent=queue, task=task)).name

    assert asyncio.run(create()).startswith(f"{queue}/tasks/")
    assert target.reached.wait(10)
