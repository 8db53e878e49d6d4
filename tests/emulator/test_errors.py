"""Table 1.2 of the reference, row by row, through Google's own client."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)
from google.rpc import error_details_pb2, status_pb2

from cloudtask.emulator import Emulator
from cloudtask.emulator.tasks.limits import MAX_TASK_SIZE
from cloudtask.emulator.values.errors import ApiError, invalid_argument

Client = tasks_v2.CloudTasksClient
Call = Callable[[Client, str], object]

URL = "http://127.0.0.1:9/"
TOKEN = {"service_account_email": "me@demo.example"}
TOMORROW = datetime.now(UTC) + timedelta(days=1)
REFERENCE = (
    "https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues"
)
NO_QUEUE = (
    "Queue does not exist. If you just created the queue, "
    "wait at least a minute for the queue to initialize."
)
BAD_QUEUE = (
    "Queue name must be formatted: "
    '"projects/<PROJECT_ID>/locations/<LOCATION_ID>/queues/<QUEUE_ID>".'
)
BAD_TASK = (
    'Task name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>'
    '/queues/<QUEUE_ID>/tasks/<TASK_ID>"'
)
NOT_FOUND = "Requested entity was not found."
GONE = (
    "The task no longer exists, though a task with this name existed recently. "
    "The task either successfully completed or was deleted."
)
TAKEN = "Requested entity already exists"
TOO_RECENT = (
    "The queue cannot be created because a queue with this name existed too recently."
)
SMALLER = "RetryConfig.minBackoff must be less than or equal to RetryConfig.maxBackoff."


def helping(description: str, url: str) -> Any:
    link = error_details_pb2.Help.Link(description=description, url=url)
    return error_details_pb2.Help(links=[link])


QUEUE_HELP = helping("Definition of queue name", f"{REFERENCE}#Queue.FIELDS.name")
TASK_HELP = helping("Definition of task ID", f"{REFERENCE}.tasks#Task.FIELDS.name")


def denied(project: str) -> tuple[str, str, list[Any]]:
    message = f"Permission denied on resource project {project}."
    info = error_details_pb2.ErrorInfo(
        reason="CONSUMER_INVALID",
        domain="googleapis.com",
        metadata={
            "consumer": f"projects/{project}",
            "containerInfo": project,
            "service": "cloudtasks.googleapis.com",
        },
    )
    localized = error_details_pb2.LocalizedMessage(locale="en-US", message=message)
    console = "https://console.developers.google.com"
    help_ = helping("Google developers console", console)
    return "PERMISSION_DENIED", message, [info, localized, help_]


def bad_id(task_id: str) -> str:
    return (
        f'Task ID "{task_id}" can contain only letters ([A-Za-z]), numbers ([0-9]), '
        "hyphens (-), or underscores (_). "
        "Task ID must between 1 and 500 characters."
    )


def bad_queue_id(queue_id: str) -> str:
    return (
        f'Queue ID "{queue_id}" can contain only letters ([A-Za-z]), numbers ([0-9]), '
        "or hyphens (-). Queue ID must be between 1 and 100 characters."
    )


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator([]) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Iterator[Client]:
    with grpc.insecure_channel(emulator.host) as channel:
        yield Client(transport=CloudTasksGrpcTransport(channel=channel))


numbers = count(1)


@pytest.fixture
def queue(emulator: Emulator) -> str:
    """Return the path of a queue that no other test uses."""
    return emulator.create_queue(f"q{next(numbers)}")


# What is called. `queue` is the path of a queue that is there.


def create_queue(name: str = "{queue}-2", **fields: Any) -> Call:
    def call(client: Client, queue: str) -> object:
        parent = queue.partition("/queues/")[0]
        message = {"name": name.format(queue=queue), **fields}
        return client.create_queue(parent=parent, queue=message)

    return call


def create_task(
    task_id: str | None = None, http: dict[str, Any] | None = None, **fields: Any
) -> Call:
    def call(client: Client, queue: str) -> object:
        task = {"http_request": {"url": URL, **(http or {})}, "schedule_time": TOMORROW}
        task |= fields
        if task_id is not None:
            task["name"] = f"{queue}/tasks/{task_id}"
        return client.create_task(parent=queue, task=task)

    return call


def app_engine(**fields: Any) -> Call:
    def call(client: Client, queue: str) -> object:
        task = {"app_engine_http_request": {"relative_uri": "/"}, **fields}
        return client.create_task(parent=queue, task=task)

    return call


def after(first: Call, then: Call) -> Call:
    def call(client: Client, queue: str) -> object:
        first(client, queue)
        return then(client, queue)

    return call


def on_queue(method: str, path: str = "{queue}") -> Call:
    return lambda client, queue: getattr(client, method)(name=path.format(queue=queue))


def on_task(method: str, name: str = "{queue}/tasks/t1") -> Call:
    return on_queue(method, name)


def delete_task(client: Client, queue: str) -> None:
    create_task("t1")(client, queue)
    client.delete_task(name=f"{queue}/tasks/t1")


def create_in(parent: str) -> Call:
    task = {"http_request": {"url": URL}, "schedule_time": TOMORROW}
    return lambda client, queue: client.create_task(
        parent=parent.format(queue=queue), task=task
    )


def create_under_another_queue(client: Client, queue: str) -> object:
    task = {"name": f"{queue}-2/tasks/t1", "http_request": {"url": URL}}
    return client.create_task(parent=queue, task=task)


INVALID = "INVALID_ARGUMENT"

#: (id, call, code, message, details); {queue} is the path of the queue.
ROWS: list[tuple[str, Call, str, str, list[Any]]] = [
    (
        "queue exists",
        create_queue(name="{queue}"),
        *("ALREADY_EXISTS", "Queue already exists", []),
    ),
    (
        "queue existed",
        after(
            on_queue("delete_queue"),
            create_queue(name="{queue}"),
        ),
        *("FAILED_PRECONDITION", TOO_RECENT, []),
    ),
    (
        "queue name",
        create_queue(name="nope"),
        *(INVALID, BAD_QUEUE, [QUEUE_HELP]),
    ),
    (
        "queue name of a queue that is there",
        on_queue("get_queue", "projects/demo/queues/q"),
        *(INVALID, BAD_QUEUE, [QUEUE_HELP]),
    ),
    *(
        (
            f"queue id {queue_id[:12]!r}, {where}",
            call(f"projects/demo/locations/local/queues/{queue_id}"),
            *(INVALID, bad_queue_id(queue_id), []),
        )
        for queue_id in ("under_score", "a" * 101, "", "ä", "q.1")
        for where, call in (
            ("CreateQueue", create_queue),
            ("GetQueue", lambda path: on_queue("get_queue", path)),
            ("CreateTask", lambda path: create_in(path)),
        )
    ),
    (
        "queue id of a million characters",
        create_queue(name=f"projects/demo/locations/local/queues/{'a' * 1_000_000}"),
        *(INVALID, bad_queue_id("a" * 1000), []),
    ),
    *(
        (f"{method}, no project", on_queue(method, name), *denied(project))
        for method in (
            *("get_task", "delete_task", "run_task", "get_queue", "delete_queue"),
            *("pause_queue", "resume_queue", "purge_queue"),
        )
        for name, project in (
            ("0a3e4a66-36d1-4a5b-9d60-0242ac120002",) * 2,
            ("projects/a b/locations/local/queues/q/tasks/t", "a b"),
        )
    ),
    (
        "update_queue, no project",
        lambda client, queue: client.update_queue(queue={"name": "nope"}),
        *denied("nope"),
    ),
    (
        "list_tasks, no project",
        lambda client, queue: client.list_tasks(parent="nope"),
        *denied("nope"),
    ),
    (
        "parent",
        lambda client, queue: client.list_queues(parent="not-a-valid-parent"),
        *denied("not-a-valid-parent"),
    ),
    (
        "parent of a new queue",
        lambda client, queue: client.create_queue(parent="x", queue={"name": queue}),
        *denied("x"),
    ),
    ("parent of a task", create_in("x"), *denied("x")),
    (
        "rate < 0",
        create_queue(rate_limits={"max_dispatches_per_second": -1}),
        *(INVALID, "RateLimits.maxDispatchesPerSecond cannot be negative.", []),
    ),
    (
        "rate > 500",
        create_queue(rate_limits={"max_dispatches_per_second": 500.5}),
        INVALID,
        "RateLimits.maxDispatchesPerSecond must be less than or equal to 500.",
        [],
    ),
    (
        "concurrency < 0",
        create_queue(rate_limits={"max_concurrent_dispatches": -1}),
        *(INVALID, "RateLimits.maxConcurrentDispatches cannot be negative.", []),
    ),
    (
        "concurrency > 5000",
        create_queue(rate_limits={"max_concurrent_dispatches": 5001}),
        INVALID,
        "RateLimits.maxConcurrentDispatches must be less than or equal to 5000.",
        [],
    ),
    (
        "attempts",
        create_queue(retry_config={"max_attempts": -2}),
        *(INVALID, "RetryConfig.maxAttempts must be greater or equal to -1.", []),
    ),
    (
        "doublings",
        create_queue(retry_config={"max_doublings": -1}),
        *(INVALID, "RetryConfig.maxDoublings cannot be negative.", []),
    ),
    (
        "min backoff < 0",
        create_queue(retry_config={"min_backoff": timedelta(seconds=-1)}),
        *(INVALID, "RetryConfig.minBackoff cannot be negative.", []),
    ),
    (
        "min > max backoff",
        create_queue(
            retry_config={
                "min_backoff": timedelta(seconds=2),
                "max_backoff": timedelta(seconds=1),
            }
        ),
        *(INVALID, SMALLER, []),
    ),
    *(
        (
            f"{method}, {state}",
            after(on_queue("delete_queue"), on_queue(method))
            if state == "deleted"
            else on_queue(method, "{queue}-no"),
            *("NOT_FOUND", NO_QUEUE, []),
        )
        for method in ("get_queue", "pause_queue", "resume_queue", "purge_queue")
        for state in ("missing", "deleted")
    ),
    (
        "create_task, queue missing",
        create_in("{queue}-no"),
        *("NOT_FOUND", NO_QUEUE, []),
    ),
    (
        "create_task, queue deleted",
        after(on_queue("delete_queue"), create_task()),
        *("NOT_FOUND", NO_QUEUE, []),
    ),
    (
        "delete_queue missing",
        on_queue("delete_queue", "{queue}-no"),
        *("NOT_FOUND", NOT_FOUND, []),
    ),
    (
        "task name in use",
        after(create_task("t1"), create_task("t1")),
        *("ALREADY_EXISTS", TAKEN, []),
    ),
    (
        "task name used before",
        after(delete_task, create_task("t1")),
        *("ALREADY_EXISTS", TAKEN, []),
    ),
    ("task id", create_task("a b"), INVALID, bad_id("a b"), [TASK_HELP]),
    ("empty task id", create_task(""), INVALID, bad_id(""), [TASK_HELP]),
    (
        "long task id",
        create_task("x" * 501),
        *(INVALID, bad_id("x" * 501), [TASK_HELP]),
    ),
    (
        "task under another queue",
        create_under_another_queue,
        INVALID,
        "The queue name from request ('{queue}') must be the same as "
        "the queue name in the named task ('{queue}-2').",
        [],
    ),
    (  # Unconfirmed wording.
        "task name",
        create_task(name="t1"),
        *(INVALID, BAD_TASK, []),
    ),
    (
        "no target",
        lambda client, queue: client.create_task(parent=queue, task={}),
        *(INVALID, "Task.payload_type is not set.", []),
    ),
    (
        "no URL",
        create_task(http={"url": ""}),
        *(INVALID, "HttpRequest.url is required.", []),
    ),
    (
        "URL's scheme",
        create_task(http={"url": "ftp://127.0.0.1/"}),
        *(INVALID, "HttpTarget.url must start with 'http://' or 'https://'.", []),
    ),
    *(
        (
            f"{kind} for {url}",
            create_task(http={"url": url, kind: TOKEN}),
            INVALID,
            "HttpRequest.url must start with 'https://' for request with "
            "HttpRequest.authorization_header",
            [],
        )
        for kind in ("oidc_token", "oauth_token")
        for url in (
            "http://shop.example/run",
            "HTTP://8.8.8.8/",
            "http://localhost@shop.example/",
            "http://[2001:4860:4860::8888]:80/",
            "http://2130706433/",
        )
    ),
    (
        "short deadline",
        create_task(dispatch_deadline=timedelta(seconds=14.999)),
        *(INVALID, "Task.dispatchDeadline must be between [15s, 30m].", []),
    ),
    (
        "long deadline",
        create_task(dispatch_deadline=timedelta(minutes=30, seconds=1)),
        *(INVALID, "Task.dispatchDeadline must be between [15s, 30m].", []),
    ),
    (
        "App Engine's deadline",
        app_engine(dispatch_deadline=timedelta(hours=24, seconds=16)),
        *(INVALID, "Task.dispatchDeadline must be between [15s, 24h15s].", []),
    ),
    (
        "size",
        create_task(http={"body": b"x" * MAX_TASK_SIZE}),
        *(INVALID, "Task size too large", []),
    ),
    (  # Unconfirmed wording.
        "body with GET",
        create_task(http={"http_method": "GET", "body": b"x"}),
        *(INVALID, "HttpRequest.body is not allowed with GET.", []),
    ),
    *(
        (
            f"{method}, never existed",
            on_task(method),
            *("NOT_FOUND", NOT_FOUND, []),
        )
        for method in ("get_task", "delete_task", "run_task")
    ),
    (
        "get_task, deleted",
        after(delete_task, on_task("get_task")),
        *("NOT_FOUND", GONE, []),
    ),
]


@pytest.mark.parametrize(
    ("call", "code", "message", "details"),
    [row[1:] for row in ROWS],
    ids=[row[0] for row in ROWS],
)
def test_a_refusal_is_the_services(
    client: Client,
    queue: str,
    call: Call,
    code: str,
    message: str,
    details: list[Any],
) -> None:
    with pytest.raises(GoogleAPICallError) as caught:
        call(client, queue)

    error = caught.value
    assert error.grpc_status_code is not None
    assert error.grpc_status_code.name == code
    assert error.message == message.replace("{queue}", queue)
    assert list(error.details) == details


def test_a_schedule_time_too_far_ahead_is_refused(
    client: Client, emulator: Emulator, queue: str
) -> None:
    distant = emulator.now + timedelta(hours=721)
    task = {"http_request": {"url": URL}, "schedule_time": distant}

    with pytest.raises(GoogleAPICallError) as caught:
        client.create_task(parent=queue, task=task)

    shown = distant.astimezone(ZoneInfo("America/Los_Angeles")).isoformat()
    assert caught.value.message == (
        f"The Task.scheduleTime, {shown}, is too far in the future. "
        "Schedule time must be no more than 720h in the future."
    )
    assert list(caught.value.details) == []


@pytest.mark.parametrize(
    "call",
    [
        create_queue(rate_limits={"max_burst_size": -3}),
        create_task(http={"url": "http://127.0.0.1:9/%zz"}),
        create_task(dispatch_deadline=timedelta(seconds=15)),
        create_task(dispatch_deadline=timedelta(minutes=30)),
        create_task("x" * 500),
        create_task(http={"url": "https://shop.example/", "oidc_token": TOKEN}),
        create_task(http={"url": "HTTPS://shop.example/", "oauth_token": TOKEN}),
        # Here only: see the next test.
        *(
            create_task(http={"url": f"http://{host}/", "oidc_token": TOKEN})
            for host in ("localhost:8000", "web", "[::1]:8000", "192.168.1.9")
        ),
    ],
)
def test_what_the_service_accepts_is_accepted(
    client: Client, queue: str, call: Call
) -> None:
    call(client, queue)


@pytest.mark.parametrize("kind", ["oidc_token", "oauth_token"])
def test_a_token_needs_https_on_local_hosts_too_if_that_is_wanted(kind: str) -> None:
    with (
        Emulator(require_https=True) as strict,
        grpc.insecure_channel(strict.host) as channel,
    ):
        client = Client(transport=CloudTasksGrpcTransport(channel=channel))
        queue = strict.queue_path("default")

        create_task()(client, queue)
        create_task(http={"url": "https://localhost/", kind: TOKEN})(client, queue)
        with pytest.raises(GoogleAPICallError, match="must start with 'https://' for"):
            create_task(http={kind: TOKEN})(client, queue)


# The values that become these answers.


def test_an_error_is_its_message() -> None:
    error = invalid_argument("No.", [QUEUE_HELP])

    assert str(error) == error.message == "No."


def test_the_status_has_the_details() -> None:
    status = ApiError(5, "Not here.", [QUEUE_HELP]).status()

    assert isinstance(status, status_pb2.Status)
    assert (status.code, status.message) == (5, "Not here.")
    unpacked = error_details_pb2.Help()
    assert status.details[0].Unpack(unpacked)
    assert unpacked == QUEUE_HELP
