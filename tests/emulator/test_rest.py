import asyncio
import gzip
import http.client
import io
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from google.cloud import tasks_v2

from cloudtask.emulator import Emulator
from cloudtask.emulator.api import rest
from cloudtask.emulator.tasks.api.methods import Api
from cloudtask.emulator.tasks.api.rest import RestTasks
from cloudtask.emulator.tasks.refusals import bad_queue_name, task_exists
from tests.emulator.conftest import Target
from tests.emulator.samples import PARENT, QUEUE

PREFIXES = ["/v2", "/v2beta3", ""]
PAUSE = f"/v2/{QUEUE}:pause"
HELP = {
    "@type": "type.googleapis.com/google.rpc.Help",
    "links": [
        {
            "description": "Definition of queue name",
            "url": "https://cloud.google.com/tasks/docs/reference/rest/v2/"
            "projects.locations.queues#Queue.FIELDS.name",
        }
    ],
}


@dataclass
class FakeApi:
    """Answers everything with `answer`, or raises it."""

    answer: Any = field(default_factory=lambda: tasks_v2.Queue.pb()(name=QUEUE))
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    async def call(self, method: str, request: Any) -> Any:
        self.calls.append((method, request))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def buffer_task(self, *args: Any) -> Any:
        self.calls.append(args)
        return tasks_v2.Task.pb()(name="t")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


async def keys(request: web.Request) -> web.Response:
    return web.Response(text="keys")


def serve(api: FakeApi, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Return what `use` makes of a client of the routes over an Api."""

    async def run() -> Any:
        app = web.Application()
        app.router.add_get("/jwks", keys)
        rest.add_routes(app, [RestTasks(cast("Api", api))])
        async with TestClient(TestServer(app)) as client:
            return await use(client)

    return asyncio.run(run())


def ask(api: FakeApi, verb: str, url: str, **kwargs: Any) -> Answer:
    async def use(client: Any) -> Answer:
        response: ClientResponse = await client.request(verb, url, **kwargs)
        return Answer(response.status, response.headers, await response.text())

    answer: Answer = serve(api, use)
    return answer


def send(emulator: Emulator, verb: str, url: str, content: Any = None) -> Answer:
    """Send a request to an emulator, as any HTTP client may."""
    connection = http.client.HTTPConnection(urlsplit(emulator.http_url).netloc)
    try:
        body = content if content is None else json.dumps(content)
        connection.request(verb, url, body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def test_a_request_is_a_call_and_its_response_json() -> None:
    api = FakeApi()

    answer = ask(api, "PATCH", f"/v2/{QUEUE}?updateMask=state", json={"name": "a"})

    assert answer.status == 200
    assert answer.json == {"name": QUEUE}
    expected = {"queue": {"name": QUEUE}, "update_mask": {"paths": ["state"]}}
    assert api.calls == [("UpdateQueue", tasks_v2.UpdateQueueRequest.pb()(**expected))]


@pytest.mark.parametrize("error", [None, task_exists()])
def test_answers_are_json_that_nobody_keeps(error: Exception | None) -> None:
    answer = ask(FakeApi(error) if error else FakeApi(), "GET", f"/v2/{QUEUE}")

    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_refusal_has_its_status_and_details() -> None:
    error = bad_queue_name()

    answer = ask(FakeApi(error), "GET", f"/v2/{QUEUE}")

    assert answer.status == 400
    assert answer.json == {
        "error": {
            "code": 400,
            "message": error.message,
            "status": "INVALID_ARGUMENT",
            "details": [HELP],
        }
    }


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/two%0Alines"),
        ("GET", f"/v1/{QUEUE}"),
        ("PUT", f"/v2/{QUEUE}"),
        ("OPTIONS", f"/v2/{QUEUE}"),
        ("PURGE", f"/v2/{QUEUE}"),
        ("POST", "/jwks"),
    ],
)
def test_what_nobody_serves_is_refused_as_google_does(verb: str, path: str) -> None:
    api = FakeApi()

    answer = ask(api, verb, path)

    assert answer.status == 404
    message = {"code": 404, "message": "Method not found.", "status": "NOT_FOUND"}
    assert answer.json == {"error": message}
    assert not api.calls
    assert ask(api, "GET", "/jwks").text == "keys"


def test_head_is_get_without_the_body() -> None:
    api = FakeApi()

    answer = ask(api, "HEAD", f"/v2/{QUEUE}")

    assert (answer.status, answer.text) == (200, "")
    assert api.calls[0][0] == "GetQueue"


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "x"])
def test_the_type_of_a_body_does_not_matter(content_type: str) -> None:
    api = FakeApi()
    headers = {"Content-Type": content_type}

    assert ask(api, "POST", PAUSE, data=b'{"name": "a"}', headers=headers).status == 200
    assert ask(api, "POST", PAUSE, data=b"a=b", headers=headers).status == 400


@pytest.mark.parametrize("path", ["tasks:buffer", "tasks/t1:buffer"])
def test_any_body_can_be_buffered(path: str) -> None:
    api = FakeApi()

    answer = ask(
        *(api, "POST", f"/v2/{QUEUE}/{path}"),
        data=gzip.compress(b"\0raw"),
        headers=[
            ("Content-Encoding", "gzip"),
            ("Content-Type", "image/png"),
            ("Connection", "close"),
            ("X-Two", "1"),
            ("X-Two", "2"),
        ],
    )

    assert answer.json == {"task": {"name": "t"}}
    ((queue, task_id, body, headers),) = api.calls
    assert (queue, body) == (QUEUE, b"\0raw")
    assert task_id == ("t1" if "t1" in path else "")
    assert headers["Content-Type"] == "image/png"
    assert headers["X-Two"] == "1, 2"
    # What was about the connection is not about the task.
    assert not {"Content-Encoding", "Connection"} & headers.keys()


def test_headers_need_not_be_unicode_to_be_buffered() -> None:
    api = FakeApi()

    async def use(client: Any) -> bytes:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(f"POST /v2/{QUEUE}/tasks:buffer HTTP/1.1\r\n".encode())
        writer.write(b"Host: a\r\nConnection: close\r\nX: \xe9 \xc3\xa9\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    assert serve(api, use).startswith(b"HTTP/1.1 200 OK")
    assert api.calls[0][-1]["X"] == "? \u00e9"


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b" " * (rest.MAX_BODY_BYTES - 3) + b"{}", "identity", 200),
        (b" " * (rest.MAX_BODY_BYTES - 1) + b"{}", "identity", 400),
        (gzip.compress(b" " * (rest.MAX_BODY_BYTES - 1) + b"{}"), "gzip", 400),
    ],
    ids=["fits", "too long", "too long unpacked"],
)
def test_a_body_has_a_greatest_length(body: bytes, encoding: str, status: int) -> None:
    headers = {"Content-Encoding": encoding}

    answer = ask(FakeApi(), "POST", PAUSE, data=io.BytesIO(body), headers=headers)

    assert answer.status == status
    assert ("exceeds the limit: 10485760 bytes." in answer.text) is (status == 400)


def test_a_body_that_cannot_be_unpacked_is_refused() -> None:
    headers = {"Content-Encoding": "deflate"}

    answer = ask(FakeApi(), "POST", PAUSE, data=b"x" * 50, headers=headers)

    assert answer.status == 400
    assert answer.json["error"]["status"] == "INVALID_ARGUMENT"


def test_a_client_may_leave_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
    with Emulator() as emulator:
        url = urlsplit(emulator.http_url)
        with socket.create_connection((url.hostname, url.port)) as connection:
            connection.sendall(
                f"POST {PAUSE} HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Length: 100\r\n\r\n{".encode()
            )
            # It came first, so it is served when this is.
            send(emulator, "GET", f"/v2/{QUEUE}")
        assert send(emulator, "GET", f"/v2/{QUEUE}").json["state"] == "RUNNING"
    assert not caplog.records


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_task_is_created_seen_and_deleted(
    start: Callable[..., Emulator], prefix: str
) -> None:
    emulator = start([])
    queue = {"name": QUEUE, "rateLimits": {"maxDispatchesPerSecond": 5}}
    request = {"url": "http://127.0.0.1:9/", "httpMethod": "PUT", "body": "_-8"}
    task = {
        "name": f"{QUEUE}/tasks/t1",
        "httpRequest": request | {"headers": {"X-A": "é"}},
        "scheduleTime": "2020-01-01T00:00:00+01:00",
        "dispatch_deadline": "15.500s",
    }

    created = send(emulator, "POST", f"{prefix}/{PARENT}/queues", queue)
    paused = send(emulator, "POST", f"{prefix}/{QUEUE}:pause", {})
    content = {"task": task, "responseView": "FULL"}
    new = send(emulator, "POST", f"{prefix}/{QUEUE}/tasks", content)
    basic = send(emulator, "GET", f"{prefix}/{QUEUE}/tasks/t1")
    full = send(emulator, "GET", f"{prefix}/{QUEUE}/tasks/t1?responseView=FULL")
    listed = send(emulator, "GET", f"{prefix}/{QUEUE}/tasks?pageSize=1")
    again = send(emulator, "POST", f"{prefix}/{QUEUE}/tasks", content)
    deleted = send(emulator, "DELETE", f"{prefix}/{QUEUE}/tasks/t1")

    assert created.json["rateLimits"]["maxDispatchesPerSecond"] == 5
    assert created.json["retryConfig"]["minBackoff"] == "0.100s"
    assert paused.json["state"] == "PAUSED"
    assert full.json.items() <= new.json.items()
    assert full.json["view"] == "FULL"
    assert full.json["dispatchDeadline"] == "15.500s"
    assert full.json["scheduleTime"].endswith("Z")
    stored = full.json["httpRequest"]
    assert stored["body"] == "/+8="
    assert (stored["httpMethod"], stored["headers"]["X-A"]) == ("PUT", "é")
    assert "body" not in basic.json["httpRequest"]
    assert listed.json["tasks"] == [basic.json]
    assert (again.status, again.json["error"]["status"]) == (409, "ALREADY_EXISTS")
    assert (deleted.status, deleted.json) == (200, {})


def test_firebase_enqueues_and_deletes(emulator: Emulator) -> None:
    task = {
        "httpRequest": {
            "url": "http://127.0.0.1:9/",
            "oidcToken": {"serviceAccountEmail": "emulated-service-acct@email.com"},
            "body": "eyJkYXRhIjp7fX0=",
            "headers": {"Content-Type": "application/json"},
        },
        "scheduleTime": "2099-01-01T00:00:00.000Z",
    }
    soon = task | {"scheduleTime": "2020-01-01T00:00:00.000Z"}
    send(emulator, "POST", f"/{QUEUE}:pause")

    refused = send(emulator, "POST", f"/{QUEUE}/tasks", {"task": task})
    created = send(emulator, "POST", f"/{QUEUE}/tasks", {"task": soon})
    name = created.json["task"]["name"]
    deleted = send(emulator, "DELETE", name)

    assert refused.status == 400
    assert name == f"/{created.json['name']}"
    assert deleted.json == {}
    assert send(emulator, "DELETE", name).status == 404


def test_a_task_runs_over_rest(emulator: Emulator, target: Target) -> None:
    task = {"httpRequest": {"url": target.url, "httpMethod": 1, "body": "aGk="}}

    created = send(emulator, "POST", f"/v2/{QUEUE}/tasks", {"task": task})
    emulator.wait_for(lambda: emulator.idle)

    assert created.status == 200
    assert [request.body for request in target.received] == [b"hi"]


def test_batches_and_their_operations(emulator: Emulator) -> None:
    send(emulator, "POST", f"/v2/{QUEUE}:pause")
    task = {"httpRequest": {"url": "http://127.0.0.1:9/"}}
    requests = [{"parent": QUEUE, "task": each} for each in (task, {})]

    done = send(
        *(emulator, "POST", f"/v2/{QUEUE}/tasks:batchCreate"), {"requests": requests}
    )
    seen = send(emulator, "GET", f"/v2/{done.json['name']}")

    package = "type.googleapis.com/google.cloud.tasks.v2"
    assert done.json["done"] is True
    assert done.json["response"]["@type"] == f"{package}.BatchCreateTasksResponse"
    assert len(done.json["response"]["tasks"]) == 1
    assert done.json["metadata"]["@type"] == f"{package}.BatchCreateTasksMetadata"
    assert done.json["metadata"]["state"] == "PARTIALLY_SUCCEEDED"
    assert done.json["metadata"]["failedRequests"]["1"]["code"] == 3
    assert seen.json == done.json


@pytest.mark.parametrize(
    ("verb", "path", "status", "reason"),
    [
        ("GET", f"/v2/{PARENT}/queues/none", 404, "NOT_FOUND"),
        ("GET", f"/v2/{PARENT}/queues/a_b", 400, "INVALID_ARGUMENT"),
        ("GET", f"/v2/{PARENT}/queues/a%2Fb", 400, "INVALID_ARGUMENT"),
        ("GET", f"/v2/{QUEUE}/tasks/none", 404, "NOT_FOUND"),
        ("POST", f"/v2/{QUEUE}/tasks/none:run", 404, "NOT_FOUND"),
        ("GET", f"/v2/{PARENT}/operations/none", 404, "NOT_FOUND"),
        ("GET", f"/v2/{QUEUE}/tasks?pageToken=x", 400, "INVALID_ARGUMENT"),
        ("POST", f"/v2/{PARENT}/queues", 400, "INVALID_ARGUMENT"),
        ("GET", "/v2/projects/a%20b/locations/l/queues", 403, "PERMISSION_DENIED"),
        ("POST", "/v2/projects/a%20b/locations/l/queues", 403, "PERMISSION_DENIED"),
        ("GET", f"/v2/projects/*/{QUEUE[14:]}/tasks/t", 403, "PERMISSION_DENIED"),
        (
            *("POST", "/v2/projects/*/locations/l/queues/q/tasks:buffer"),
            *(403, "PERMISSION_DENIED"),
        ),
        ("POST", f"/v2/{QUEUE}/tasks", 400, "INVALID_ARGUMENT"),
    ],
)
def test_refusals_of_the_engine_arrive(
    emulator: Emulator, verb: str, path: str, status: int, reason: str
) -> None:
    answer = send(emulator, verb, path)

    assert answer.status == status
    assert answer.json["error"]["code"] == status
    assert answer.json["error"]["status"] == reason
    assert answer.json["error"]["message"]
