"""Google's client for Python, over each of its three transports."""

import asyncio
import inspect
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.api_core.operation_async import AsyncOperation
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import Request
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcAsyncIOTransport,
    CloudTasksGrpcTransport,
)
from google.oauth2 import id_token
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from tests.clients.conftest import Service, until
from tests.emulator.conftest import Target

URL = "http://127.0.0.1:9/run"
ACCOUNT = "tasks@project.iam.gserviceaccount.com"
MISSING_QUEUE = (
    "Queue does not exist. If you just created the queue, "
    "wait at least a minute for the queue to initialize."
)
FINISHED = (
    "The task no longer exists, though a task with this name existed recently. "
    "The task either successfully completed or was deleted."
)

#: What the client raises depends on its transport.
GRPC_ERRORS = {
    "ALREADY_EXISTS": exceptions.AlreadyExists,
    "FAILED_PRECONDITION": exceptions.FailedPrecondition,
    "INVALID_ARGUMENT": exceptions.InvalidArgument,
    "NOT_FOUND": exceptions.NotFound,
    "PERMISSION_DENIED": exceptions.PermissionDenied,
}
REST_ERRORS = {
    "ALREADY_EXISTS": exceptions.Conflict,
    "FAILED_PRECONDITION": exceptions.BadRequest,
    "INVALID_ARGUMENT": exceptions.BadRequest,
    "NOT_FOUND": exceptions.NotFound,
    "PERMISSION_DENIED": exceptions.Forbidden,
}


@dataclass(frozen=True)
class Google:
    """A client and the errors that it raises."""

    client: Any
    errors: dict[str, type[exceptions.GoogleAPICallError]]

    @contextmanager
    def refused(
        self, status: str, message: str
    ) -> Iterator[pytest.ExceptionInfo[exceptions.GoogleAPICallError]]:
        with pytest.raises(self.errors[status]) as raised:
            yield raised
        assert type(raised.value) is self.errors[status]
        # REST puts the call in front.
        assert raised.value.message.endswith(message)

    def missing(self, task: str) -> bool:
        try:
            self.client.get_task(name=task)
        except exceptions.NotFound:
            return True
        return False


class Blocking:
    """Google's asyncio client with the calls of the synchronous one."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._runner.run(
            self._finish(value(*args, **kwargs))
        )

    async def _finish(self, result: Any) -> Any:
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, AsyncOperation):
            return Blocking(result, self._runner)
        if hasattr(result, "pages"):
            return SimpleNamespace(pages=[page async for page in result.pages])
        return result


def over_grpc(service: Service, stack: ExitStack) -> Google:
    channel = stack.enter_context(grpc.insecure_channel(service.grpc_address))
    transport = CloudTasksGrpcTransport(channel=channel)
    return Google(tasks_v2.CloudTasksClient(transport=transport), GRPC_ERRORS)


def over_asyncio(service: Service, stack: ExitStack) -> Google:
    async def connect() -> tasks_v2.CloudTasksAsyncClient:
        channel = grpc.aio.insecure_channel(service.grpc_address)
        transport = CloudTasksGrpcAsyncIOTransport(channel=channel)
        return tasks_v2.CloudTasksAsyncClient(transport=transport)

    runner = stack.enter_context(asyncio.Runner())
    client = runner.run(connect())
    stack.callback(lambda: runner.run(client.transport.close()))
    return Google(Blocking(client, runner), GRPC_ERRORS)


def over_rest(service: Service, stack: ExitStack) -> Google:
    client = tasks_v2.CloudTasksClient(
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": service.http_url},
        transport="rest",
    )
    return Google(stack.enter_context(client), REST_ERRORS)


@pytest.fixture(
    params=[over_grpc, over_asyncio, over_rest], ids=["grpc", "asyncio", "rest"]
)
def google(request: pytest.FixtureRequest, service: Service) -> Iterator[Google]:
    connect: Callable[[Service, ExitStack], Google] = request.param
    with ExitStack() as stack:
        yield connect(service, stack)


@pytest.fixture
def queue(google: Google, location: str) -> str:
    path = f"{location}/queues/emails"
    google.client.create_queue(parent=location, queue=tasks_v2.Queue(name=path))
    return path


def later(**fields: Any) -> tasks_v2.Task:
    """Return a task for tomorrow."""
    request = fields.pop("http_request", {"url": URL})
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return tasks_v2.Task({"http_request": request, "schedule_time": tomorrow, **fields})


def task_names(google: Google, queue: str) -> list[str]:
    pages = google.client.list_tasks(parent=queue).pages
    return sorted(task.name for page in pages for task in page.tasks)


def test_queue_is_created_with_defaults(google: Google, location: str) -> None:
    path = f"{location}/queues/emails"
    wanted = tasks_v2.Queue(name=path, rate_limits={"max_dispatches_per_second": 5})
    created = google.client.create_queue(parent=location, queue=wanted)
    assert created.state == tasks_v2.Queue.State.RUNNING
    assert created.rate_limits.max_dispatches_per_second == 5
    assert created.rate_limits.max_concurrent_dispatches == 1000
    assert created.rate_limits.max_burst_size == 10
    assert created.retry_config.max_attempts == 100
    assert created.retry_config.min_backoff == timedelta(milliseconds=100)
    assert created.retry_config.max_backoff == timedelta(hours=1)
    assert created.retry_config.max_doublings == 16
    assert google.client.get_queue(name=path) == created


def test_queue_is_created_once(google: Google, location: str, queue: str) -> None:
    with google.refused("ALREADY_EXISTS", "Queue already exists"):
        google.client.create_queue(parent=location, queue=tasks_v2.Queue(name=queue))


def test_queue_is_updated_where_the_mask_says(google: Google, queue: str) -> None:
    wanted = tasks_v2.Queue(
        name=queue,
        rate_limits={"max_dispatches_per_second": 9, "max_concurrent_dispatches": 3},
        retry_config={"max_attempts": 7},
    )
    mask = FieldMask(
        paths=["rate_limits.max_concurrent_dispatches", "retry_config.max_attempts"]
    )
    updated = google.client.update_queue(queue=wanted, update_mask=mask)
    assert updated.rate_limits.max_concurrent_dispatches == 3
    assert updated.rate_limits.max_dispatches_per_second == 500
    assert updated.retry_config.max_attempts == 7
    assert updated.retry_config.max_doublings == 16


def test_update_creates_what_is_missing(google: Google, location: str) -> None:
    path = f"{location}/queues/emails"
    google.client.update_queue(queue=tasks_v2.Queue(name=path))
    assert google.client.get_queue(name=path).retry_config.max_attempts == 100


def test_queues_are_listed_in_pages(google: Google, location: str) -> None:
    paths = [f"{location}/queues/{letter}" for letter in "abcde"]
    for path in paths:
        google.client.create_queue(parent=location, queue=tasks_v2.Queue(name=path))
    google.client.pause_queue(name=paths[3])
    request = {"parent": location, "page_size": 2}
    pages = list(google.client.list_queues(request=request).pages)
    assert [[queue.name for queue in page.queues] for page in pages] == [
        paths[:2],
        paths[2:4],
        paths[4:],
    ]
    request = {"parent": location, "filter": "state: PAUSED"}
    [page] = google.client.list_queues(request=request).pages
    assert [queue.name for queue in page.queues] == [paths[3]]


def test_deleted_queue_blocks_its_name(
    google: Google, location: str, queue: str
) -> None:
    google.client.delete_queue(name=queue)
    with google.refused("NOT_FOUND", MISSING_QUEUE):
        google.client.get_queue(name=queue)
    with google.refused("NOT_FOUND", MISSING_QUEUE):
        google.client.create_task(parent=queue, task=later())
    with google.refused(
        "FAILED_PRECONDITION",
        "The queue cannot be created because a queue with this name existed too "
        "recently.",
    ):
        google.client.create_queue(parent=location, queue=tasks_v2.Queue(name=queue))


def test_bad_queue_name_is_refused_with_help(google: Google, location: str) -> None:
    wanted = tasks_v2.Queue(name="nope")
    with google.refused(
        "INVALID_ARGUMENT",
        'Queue name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>'
        '/queues/<QUEUE_ID>".',
    ) as raised:
        google.client.create_queue(parent=location, queue=wanted)
    # gRPC gives messages, REST gives what was in the JSON.
    [help_] = raised.value.details
    assert "tasks/docs/reference/rest/v2" in str(help_)


def test_bad_queue_id_is_quoted(google: Google, location: str) -> None:
    wanted = tasks_v2.Queue(name=f"{location}/queues/under_score")
    with google.refused(
        "INVALID_ARGUMENT",
        'Queue ID "under_score" can contain only letters ([A-Za-z]), numbers ([0-9]), '
        "or hyphens (-). Queue ID must be between 1 and 100 characters.",
    ):
        google.client.create_queue(parent=location, queue=wanted)


def test_task_keeps_what_it_was_given(google: Google, queue: str) -> None:
    when = datetime.now(UTC).replace(microsecond=123456) + timedelta(hours=1)
    wanted = tasks_v2.Task(
        name=f"{queue}/tasks/invoice-1",
        schedule_time=when,
        dispatch_deadline=timedelta(seconds=900),
        http_request={
            "url": f"{URL}?a=1",
            "http_method": tasks_v2.HttpMethod.PUT,
            "headers": {"X-Kind": "invoice"},
            "body": b"\x00\xffhello",
            "oidc_token": {"service_account_email": ACCOUNT, "audience": "shop"},
        },
        retry_config={"max_attempts": 3, "min_backoff": timedelta(seconds=2)},
    )
    before = datetime.now(UTC).replace(microsecond=0)
    created = google.client.create_task(parent=queue, task=wanted)
    assert created.view == tasks_v2.Task.View.BASIC
    assert created.http_request.body == b""
    assert created.create_time >= before
    assert created.create_time.nanosecond == 0

    assert google.client.get_task(name=wanted.name) == created
    full = google.client.get_task(
        request={"name": wanted.name, "response_view": tasks_v2.Task.View.FULL}
    )
    assert full.view == tasks_v2.Task.View.FULL
    assert full.schedule_time == when
    assert full.dispatch_deadline == timedelta(seconds=900)
    assert full.retry_config.max_attempts == 3
    assert full.retry_config.min_backoff == timedelta(seconds=2)
    assert full.http_request.url == f"{URL}?a=1"
    assert full.http_request.http_method == tasks_v2.HttpMethod.PUT
    assert full.http_request.body == b"\x00\xffhello"
    assert full.http_request.oidc_token.service_account_email == ACCOUNT
    assert full.http_request.oidc_token.audience == "shop"
    assert dict(full.http_request.headers) == {
        "X-Kind": "invoice",
        "User-Agent": "Google-Cloud-Tasks",
    }


def test_task_gets_an_id_and_defaults(google: Google, queue: str) -> None:
    task = later(http_request={"url": URL})
    created = google.client.create_task(
        request={
            "parent": queue,
            "task": task,
            "response_view": tasks_v2.Task.View.FULL,
        }
    )
    prefix, task_id = created.name.rsplit("/", 1)
    assert prefix == f"{queue}/tasks"
    assert task_id.isdigit()
    assert created.http_request.http_method == tasks_v2.HttpMethod.POST
    assert created.dispatch_deadline == timedelta(minutes=10)
    assert created.view == tasks_v2.Task.View.FULL


def test_name_is_used_once(google: Google, queue: str) -> None:
    task = later(name=f"{queue}/tasks/once")
    google.client.create_task(parent=queue, task=task)
    with google.refused("ALREADY_EXISTS", "Requested entity already exists"):
        google.client.create_task(parent=queue, task=task)
    google.client.delete_task(name=task.name)
    with google.refused("NOT_FOUND", FINISHED):
        google.client.get_task(name=task.name)
    with google.refused("ALREADY_EXISTS", "Requested entity already exists"):
        google.client.create_task(parent=queue, task=task)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"http_request": {"url": ""}}, "HttpRequest.url is required."),
        (
            {"http_request": {"url": "ftp://shop.example/"}},
            "HttpTarget.url must start with 'http://' or 'https://'.",
        ),
        (
            {"dispatch_deadline": Duration(seconds=14)},
            "Task.dispatchDeadline must be between [15s, 30m].",
        ),
        (
            {"http_request": {"url": URL, "body": b"x" * 1_048_569}},
            "Task size too large",
        ),
    ],
    ids=["no url", "ftp", "short deadline", "too large"],
)
def test_bad_task_is_refused(
    google: Google, queue: str, fields: dict[str, Any], message: str
) -> None:
    with google.refused("INVALID_ARGUMENT", message):
        google.client.create_task(parent=queue, task=later(**fields))


def test_task_for_a_missing_queue_is_refused(google: Google, location: str) -> None:
    with google.refused("NOT_FOUND", MISSING_QUEUE):
        google.client.create_task(parent=f"{location}/queues/none", task=later())


def test_unknown_task_is_not_found(google: Google, queue: str) -> None:
    for call in (
        google.client.get_task,
        google.client.delete_task,
        google.client.run_task,
    ):
        with google.refused("NOT_FOUND", "Requested entity was not found."):
            call(name=f"{queue}/tasks/never-was")


def test_tasks_are_listed_in_pages(google: Google, queue: str) -> None:
    names = [f"{queue}/tasks/{letter}" for letter in "abcde"]
    for name in names:
        task = later(name=name, http_request={"url": URL, "body": b"x"})
        google.client.create_task(parent=queue, task=task)
    request = {
        "parent": queue,
        "page_size": 2,
        "response_view": tasks_v2.Task.View.FULL,
    }
    pages = list(google.client.list_tasks(request=request).pages)
    tasks = [task for page in pages for task in page.tasks]
    assert [len(page.tasks) for page in pages] == [2, 2, 1]
    assert sorted(task.name for task in tasks) == names
    assert {task.http_request.body for task in tasks} == {b"x"}
    assert task_names(google, queue) == names


def test_task_runs_when_asked(
    google: Google, service: Service, queue: str, target: Target
) -> None:
    task = later(
        name=f"{queue}/tasks/now",
        http_request={
            "url": target.url,
            "headers": {"Content-Type": "text/plain"},
            "body": b"hello",
            "oidc_token": {"service_account_email": ACCOUNT, "audience": "shop"},
        },
    )
    google.client.create_task(parent=queue, task=task)
    run = google.client.run_task(name=task.name)
    assert run.dispatch_count == 1
    assert target.reached.wait(10)
    until(lambda: google.missing(task.name))

    [received] = target.received
    assert received.method == "POST"
    assert received.body == b"hello"
    assert received.header("Content-Type") == "text/plain"
    assert received.header("User-Agent") == "Google-Cloud-Tasks"
    assert received.header("X-CloudTasks-QueueName") == "emails"
    assert received.header("X-CloudTasks-TaskName") == "now"
    assert received.header("X-CloudTasks-TaskRetryCount") == "0"
    claims = id_token.verify_token(
        (received.header("Authorization") or "").removeprefix("Bearer "),
        Request(),
        audience="shop",
        certs_url=f"{service.http_url}/certs",
        clock_skew_in_seconds=10,
    )
    assert claims["email"] == ACCOUNT


def test_failed_task_is_sent_again(google: Google, queue: str, target: Target) -> None:
    target.answers = [500, 503]
    request = {"url": target.url}
    task = {"http_request": request, "name": f"{queue}/tasks/again"}
    google.client.create_task(parent=queue, task=task)
    until(lambda: google.missing(f"{queue}/tasks/again"))
    counts = [each.header("X-CloudTasks-TaskRetryCount") for each in target.received]
    responses = [
        each.header("X-CloudTasks-TaskPreviousResponse") for each in target.received
    ]
    assert counts == ["0", "1", "2"]
    assert responses == [None, "500", "503"]


def test_paused_queue_waits(
    google: Google, location: str, queue: str, target: Target
) -> None:
    other = f"{location}/queues/other"
    google.client.create_queue(parent=location, queue=tasks_v2.Queue(name=other))
    paused = google.client.pause_queue(name=queue)
    assert paused.state == tasks_v2.Queue.State.PAUSED
    waiting = {"http_request": {"url": f"{target.url}/waiting"}}
    google.client.create_task(parent=queue, task=waiting)
    passing = {"http_request": {"url": f"{target.url}/passing"}}
    google.client.create_task(parent=other, task=passing)
    assert target.reached.wait(10)
    until(lambda: task_names(google, other) == [])
    assert [each.path for each in target.received] == ["/run/passing"]
    assert len(task_names(google, queue)) == 1

    resumed = google.client.resume_queue(name=queue)
    assert resumed.state == tasks_v2.Queue.State.RUNNING
    until(lambda: task_names(google, queue) == [])
    assert [each.path for each in target.received] == ["/run/passing", "/run/waiting"]


def test_purged_queue_is_empty(google: Google, queue: str) -> None:
    before = datetime.now(UTC)
    for _ in range(3):
        google.client.create_task(parent=queue, task=later())
    purged = google.client.purge_queue(name=queue)
    assert before <= purged.purge_time <= datetime.now(UTC)
    assert task_names(google, queue) == []


def test_batch_creates_tasks(google: Google, queue: str) -> None:
    names = [f"{queue}/tasks/{letter}" for letter in "abc"]
    requests = [{"parent": queue, "task": later(name=name)} for name in names]
    operation = google.client.batch_create_tasks(
        request={"parent": queue, "requests": requests}
    )
    assert [task.name for task in operation.result().tasks] == names
    metadata = operation.metadata
    assert metadata.state == tasks_v2.BatchCreateTasksMetadata.State.SUCCEEDED
    assert metadata.start_time <= metadata.end_time
    assert task_names(google, queue) == names

    asked = google.client.get_operation({"name": operation.operation.name})
    assert asked.done
    assert asked.response == operation.operation.response


def test_batch_creates_what_it_can(google: Google, queue: str) -> None:
    names = [f"{queue}/tasks/{letter}" for letter in "abc"]
    google.client.create_task(parent=queue, task=later(name=names[1]))
    requests = [{"parent": queue, "task": later(name=name)} for name in names]
    operation = google.client.batch_create_tasks(
        request={"parent": queue, "requests": requests}
    )
    assert [task.name for task in operation.result().tasks] == [names[0], names[2]]
    metadata = operation.metadata
    states = tasks_v2.BatchCreateTasksMetadata.State
    assert metadata.state == states.PARTIALLY_SUCCEEDED
    assert list(metadata.failed_requests) == [1]
    failed = metadata.failed_requests[1]
    assert failed.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    assert failed.message == "Requested entity already exists"


def test_batch_of_failures_fails(google: Google, queue: str) -> None:
    requests = [{"parent": queue, "task": {"http_request": {"url": ""}}}] * 2
    operation = google.client.batch_create_tasks(
        request={"parent": queue, "requests": requests}
    )
    with pytest.raises(
        exceptions.GoogleAPICallError,
        match=r"None of the requests succeeded, refer to "
        r"BatchCreateTasksMetadata\.failed_requests for individual error details",
    ):
        operation.result()
    assert operation.operation.error.code == grpc.StatusCode.ABORTED.value[0]
    assert sorted(operation.metadata.failed_requests) == [0, 1]


def test_batch_is_carried_out_once(google: Google, queue: str) -> None:
    request = {
        "parent": queue,
        "requests": [{"parent": queue, "task": later()}] * 2,
        "request_id": str(uuid.uuid4()),
    }
    first = google.client.batch_create_tasks(request=request)
    second = google.client.batch_create_tasks(request=request)
    assert first.operation.name == second.operation.name
    assert first.result() == second.result()
    assert len(task_names(google, queue)) == 2


def test_batch_of_another_queue_is_refused(
    google: Google, location: str, queue: str
) -> None:
    requests = [{"parent": f"{location}/queues/other", "task": later()}]
    with pytest.raises(google.errors["INVALID_ARGUMENT"]):
        google.client.batch_create_tasks(
            request={"parent": queue, "requests": requests}
        )
    assert task_names(google, queue) == []


def test_batch_deletes_tasks(google: Google, queue: str) -> None:
    names = [f"{queue}/tasks/{letter}" for letter in "abc"]
    for name in names:
        google.client.create_task(parent=queue, task=later(name=name))
    unknown = f"{queue}/tasks/never-was"
    operation = google.client.batch_delete_tasks(
        request={"parent": queue, "names": [names[0], unknown, names[2]]}
    )
    operation.result()
    metadata = operation.metadata
    states = tasks_v2.BatchDeleteTasksMetadata.State
    assert metadata.state == states.PARTIALLY_SUCCEEDED
    assert list(metadata.failed_requests) == [1]
    assert metadata.failed_requests[1].message == "Requested entity was not found."
    assert task_names(google, queue) == [names[1]]

    operation = google.client.batch_delete_tasks(
        request={"parent": queue, "names": [unknown]}
    )
    with pytest.raises(
        exceptions.GoogleAPICallError,
        match=r"None of the requests succeeded, refer to "
        r"BatchDeleteTasksMetadata\.failed_requests for individual error details",
    ):
        operation.result()


def test_policy_of_a_queue(google: Google, location: str, queue: str) -> None:
    assert not google.client.get_iam_policy({"resource": queue}).bindings
    binding = {"role": "roles/cloudtasks.enqueuer", "members": ["user:a@shop.example"]}
    google.client.set_iam_policy({"resource": queue, "policy": {"bindings": [binding]}})
    [kept] = google.client.get_iam_policy({"resource": queue}).bindings
    assert kept.role == "roles/cloudtasks.enqueuer"
    assert list(kept.members) == ["user:a@shop.example"]

    wanted = ["cloudtasks.tasks.create", "cloudtasks.queues.get"]
    answer = google.client.test_iam_permissions(
        {"resource": queue, "permissions": wanted}
    )
    assert list(answer.permissions) == wanted
    answer = google.client.test_iam_permissions(
        {"resource": f"{location}/queues/none", "permissions": wanted}
    )
    assert list(answer.permissions) == []


def test_locations(google: Google, project: str, location: str, queue: str) -> None:
    found = google.client.get_location({"name": location})
    assert found.name == location
    assert found.location_id == "europe-west1"
    listed = google.client.list_locations({"name": f"projects/{project}"}).locations
    assert location in [each.name for each in listed]


def test_key_of_a_location(google: Google, project: str, location: str) -> None:
    name = f"{location}/cmekConfig"
    key = f"projects/{project}/locations/global/keyRings/r/cryptoKeys/k"
    assert google.client.get_cmek_config(name=name).kms_key == ""
    google.client.update_cmek_config(
        cmek_config=tasks_v2.CmekConfig(name=name, kms_key=key)
    )
    assert google.client.get_cmek_config(name=name).kms_key == key
