"""gcloud-aio-taskqueue, which speaks v2beta3 over REST."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import grpc
import pytest
from gcloud.aio.taskqueue import PushQueue
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from tests.clients.conftest import LOCATION, Service, until
from tests.emulator.conftest import Target

URL = "http://127.0.0.1:9/run"

Scenario = Callable[[PushQueue], Awaitable[Any]]


@pytest.fixture
def queue(service: Service, location: str) -> str:
    """A queue, which this client cannot make."""
    path = f"{location}/queues/emails"
    with grpc.insecure_channel(service.grpc_address) as channel:
        transport = CloudTasksGrpcTransport(channel=channel)
        client = tasks_v2.CloudTasksClient(transport=transport)
        client.create_queue(parent=location, queue=tasks_v2.Queue(name=path))
    return path


@pytest.fixture
def follow(
    monkeypatch: pytest.MonkeyPatch, service: Service, project: str, queue: str
) -> Callable[[Scenario], Any]:
    """Return a function that runs a scenario with a client of the queue."""
    monkeypatch.setenv("CLOUDTASKS_EMULATOR_HOST", service.http_address)

    async def run(scenario: Scenario) -> Any:
        async with PushQueue(project, "emails", LOCATION) as push_queue:
            return await scenario(push_queue)

    return lambda scenario: asyncio.run(run(scenario))


def later(**fields: Any) -> dict[str, Any]:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    request = {"url": URL, "body": base64.b64encode(b"hello").decode()}
    return {"httpRequest": request, "scheduleTime": tomorrow.isoformat(), **fields}


def test_task_is_created_and_deleted(
    follow: Callable[[Scenario], Any], queue: str
) -> None:
    name = f"{queue}/tasks/invoice-1"

    async def scenario(client: PushQueue) -> None:
        assert client.task_name("invoice-1") == name
        created = await client.create(later(name=name))
        assert created["name"] == name
        assert created["view"] == "FULL"
        assert base64.b64decode(created["httpRequest"]["body"]) == b"hello"

        basic = await client.get(name)
        assert "body" not in basic["httpRequest"]
        assert await client.get(name, full=True) == created
        assert await client.delete(name) == {}
        with pytest.raises(aiohttp.ClientResponseError) as raised:
            await client.get(name)
        assert raised.value.status == 404
        assert "a task with this name existed recently" in raised.value.message

    follow(scenario)


def test_tasks_are_listed_in_pages(
    follow: Callable[[Scenario], Any], queue: str
) -> None:
    names = [f"{queue}/tasks/{letter}" for letter in "abc"]

    async def scenario(client: PushQueue) -> None:
        assert await client.list() == {}
        for name in names:
            await client.create(later(name=name))
        first = await client.list(page_size=2)
        token = first["nextPageToken"]
        second = await client.list(full=True, page_size=2, page_token=token)
        assert "nextPageToken" not in second
        listed = [*first["tasks"], *second["tasks"]]
        assert sorted(task["name"] for task in listed) == names
        assert [len(first["tasks"]), len(second["tasks"])] == [2, 1]

    follow(scenario)


def test_refusals_are_raised(follow: Callable[[Scenario], Any], queue: str) -> None:
    async def scenario(client: PushQueue) -> None:
        task = later(name=client.task_name("once"))
        await client.create(task)
        with pytest.raises(aiohttp.ClientResponseError) as raised:
            await client.create(task)
        assert raised.value.status == 409
        assert '"status": "ALREADY_EXISTS"' in raised.value.message
        assert "Requested entity already exists" in raised.value.message

        with pytest.raises(aiohttp.ClientResponseError) as raised:
            await client.create({"httpRequest": {"url": ""}})
        assert raised.value.status == 400
        assert "HttpRequest.url is required." in raised.value.message

    follow(scenario)


def test_task_runs_when_asked(
    follow: Callable[[Scenario], Any], queue: str, target: Target
) -> None:
    async def scenario(client: PushQueue) -> None:
        request = {"url": target.url, "headers": {"X-Kind": "invoice"}}
        created = await client.create(later(httpRequest=request))
        run = await client.run(created["name"])
        assert run["dispatchCount"] == 1

    follow(scenario)
    assert target.reached.wait(10)
    assert target.received[0].header("X-Kind") == "invoice"


def test_failed_task_is_sent_again(
    follow: Callable[[Scenario], Any], target: Target
) -> None:
    target.answers = [500]
    follow(lambda client: client.create({"httpRequest": {"url": target.url}}))
    until(lambda: len(target.received) == 2)
    assert target.received[1].header("X-CloudTasks-TaskRetryCount") == "1"


def test_named_create_is_safe_to_repeat(
    follow: Callable[[Scenario], Any], queue: str
) -> None:
    """The client repeats nothing itself, so its users do."""

    async def scenario(client: PushQueue) -> None:
        task = later(name=client.task_name("once"))
        outcomes = await asyncio.gather(
            *(client.create(task) for _ in range(5)), return_exceptions=True
        )
        refused = [each for each in outcomes if isinstance(each, Exception)]
        assert [each.status for each in refused] == [409] * 4
        assert len((await client.list())["tasks"]) == 1

    follow(scenario)
