"""
Requests of no one's making: nothing breaks, nothing hangs, all are answered.

1,200 requests that are right but for a detail or two, in sequences that meet
what the ones before left, and 600 that are right in nothing. The environment
variable CLOUDTASK_FUZZ=40 makes it forty times as many.
"""

import http.client
import json
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from google.rpc import code_pb2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cloudtask.emulator import Emulator
from cloudtask.emulator.tasks.api.services import METHODS
from tests.emulator.messages import LEAVES, nearly
from tests.emulator.samples import PARENT, QUEUE
from tests.sizes import scaled

pytestmark = pytest.mark.fuzz

#: Longer than any answer takes.
SECONDS = 20

CODES = frozenset(code_pb2.Code.keys())
TASK = f"{QUEUE}/tasks/t1"
HTTP_REQUEST = {
    "url": "http://127.0.0.1:9/",
    "httpMethod": "PUT",
    "headers": {"A": "b"},
    "body": "aGk=",
    "oidcToken": {"serviceAccountEmail": "a@b.example", "audience": "c"},
}
NEW_TASK = {
    "name": f"{QUEUE}/tasks/t2",
    "httpRequest": HTTP_REQUEST,
    "scheduleTime": "2020-06-01T12:00:00.5Z",
    "dispatchDeadline": "15.5s",
    "retryConfig": {"maxAttempts": 3, "minBackoff": "0.5s"},
}
NEW_QUEUE = {
    "name": f"{PARENT}/queues/new",
    "rateLimits": {"maxDispatchesPerSecond": 5.5, "maxConcurrentDispatches": 3},
    "retryConfig": {"maxAttempts": -1, "maxRetryDuration": "5s", "maxDoublings": 2},
    "stackdriverLoggingConfig": {"samplingRatio": 0.5},
    "httpTarget": {
        "uriOverride": {"scheme": "HTTP", "host": "127.0.0.1", "port": "9"},
        "headerOverrides": [{"header": {"key": "a", "value": "b"}}],
    },
}
POLICY = {"bindings": [{"role": "roles/viewer", "members": ["user:a@b.example"]}]}


@dataclass(frozen=True)
class Request:
    method: str  # What it was before it was changed.
    verb: str
    path: str
    query: str = ""
    content: Any = None
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes | None:
        if self.content is None or isinstance(self.content, bytes):
            return self.content
        return json.dumps(self.content).encode()


#: They all succeed after known(). Hypothesis draws the first ones most.
RIGHT = [
    Request("CreateTask", "POST", f"{QUEUE}/tasks", "", {"task": NEW_TASK}),
    Request(
        *("CreateTask", "POST", f"{QUEUE}/tasks", "responseView=2"),
        {"task": {"appEngineHttpRequest": {"relativeUri": "/a", "body": "aGk="}}},
    ),
    Request("CreateQueue", "POST", f"{PARENT}/queues", "", NEW_QUEUE),
    Request(
        *("UpdateQueue", "PATCH", QUEUE),
        *("updateMask=rateLimits.maxDispatchesPerSecond,retryConfig", NEW_QUEUE),
    ),
    Request(
        *("BatchCreateTasks", "POST", f"{QUEUE}/tasks:batchCreate", ""),
        {"requests": [{"parent": QUEUE, "task": NEW_TASK}], "requestId": "r"},
    ),
    Request("SetIamPolicy", "POST", f"{QUEUE}:setIamPolicy", "", {"policy": POLICY}),
    Request(
        *("ListTasks", "GET", f"{QUEUE}/tasks"),
        "pageSize=1&pageToken={page_token}&responseView=FULL",
    ),
    Request("RunTask", "POST", f"{TASK}:run", "", {"responseView": "BASIC"}),
    Request(
        *("BatchDeleteTasks", "POST", f"{QUEUE}/tasks:batchDelete", ""),
        {"names": [TASK, f"{QUEUE}/tasks/t2"]},
    ),
    Request("BufferTask", "POST", "{target}/tasks:buffer", "", b"\0any"),
    Request("BufferTask", "POST", "{target}/tasks/t3:buffer", "", b"{}"),
    Request("ListLocations", "GET", "projects/demo/locations", "pageSize=3&filter="),
    Request("GetLocation", "GET", PARENT),
    Request("GetOperation", "GET", "{operation}"),
    Request("GetCmekConfig", "GET", f"{PARENT}/cmekConfig"),
    Request(
        *("UpdateCmekConfig", "PATCH", f"{PARENT}/cmekConfig", "updateMask=kmsKey"),
        {"kmsKey": "projects/p/locations/l/keyRings/r/cryptoKeys/k"},
    ),
    Request("ListQueues", "GET", f"{PARENT}/queues", "pageSize=1&filter=state:RUNNING"),
    Request("GetQueue", "GET", QUEUE),
    Request("DeleteQueue", "DELETE", QUEUE),
    Request("PurgeQueue", "POST", f"{QUEUE}:purge", "", {}),
    Request("PauseQueue", "POST", f"{QUEUE}:pause", "", {}),
    Request("ResumeQueue", "POST", f"{QUEUE}:resume", "", {}),
    Request("GetIamPolicy", "POST", f"{QUEUE}:getIamPolicy", "", {"options": {}}),
    Request(
        *("TestIamPermissions", "POST", f"{QUEUE}:testIamPermissions", ""),
        {"permissions": ["cloudtasks.queues.get"]},
    ),
    Request("GetTask", "GET", TASK, "responseView=FULL"),
    Request("DeleteTask", "DELETE", TASK),
]

SEGMENTS = st.sampled_from(
    [
        *("projects", "demo", "locations", "local", "queues", "default", "tasks", "t1"),
        *("", "-", ".", "..", "*", "a_b", "x" * 101, "x" * 501, "{queue}", "a:b"),
        *("%", "%00", "%2F", "%2e%2e", "%ff", "%C3%A9", "%zz", "\u00e9", " ", "a b"),
        *("default:pause", "t1:run", "tasks:buffer", "tasks:batchCreate", ":", "q:huh"),
        *("cmekConfig", "operations", "v2", "'", '"', "<script>", "\\", "a%3Apause"),
    ]
)
PARAMETERS_AS_WORDS = """
    pageSize pageSize=0 pageSize=-1 pageSize=99999999999 page_size=1.5
    pageToken= pageToken=a pageToken=%00%ff responseView=3 responseView=HUH
    filter=( filter=name:* filter=state!%3D1%20OR updateMask=* updateMask=huh
    updateMask=a_1 updateMask=, updateMask=rateLimits
    updateMask=name,state,httpTarget queue.state=2 name=a parent=a
    queue.httpTarget.headerOverrides=1 task.scheduleTime=2020-01-01T00:00:00Z
    requests=a requests.parent=a a.b.c=1 .=1 huh=1 = & %
    $alt=json;enum-encoding=int alt=media prettyPrint=x fields=*
"""
PARAMETERS = st.sampled_from(PARAMETERS_AS_WORDS.split())
HEADERS = st.sampled_from(
    [
        ("Content-Type", "multipart/form-data"),
        ("Content-Type", "/"),
        ("Accept", "application/x-protobuf"),
        ("Origin", "null"),
        ("Origin", "http://evil.example"),
        ("Host", "evil.example"),
        ("Cookie", "a=b"),
        ("Authorization", "Bearer owner"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Goog-Api-Client", "\u00e9" * 300),
        ("Range", "bytes=5-1"),
        ("If-None-Match", "*"),
        ("Expect", "100-continue"),
        ("Accept-Encoding", "gzip;q=x, br"),
    ]
)
VERBS = st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"])


@st.composite
def changed(draw: Any, content: Any) -> Any:
    """Return JSON that differs in one place, or nearly so."""
    change = draw(st.integers(0, 5))
    if change < 3 and isinstance(content, dict) and content:
        key = draw(st.sampled_from(sorted(content)))
        return content | {key: draw(changed(content[key]))}
    if change < 3 and isinstance(content, list) and content:
        return [draw(changed(content[0])), *content[draw(st.integers(0, 1)) :]]
    if isinstance(content, dict) and change == 3:
        return content | {draw(st.text(max_size=3)): draw(LEAVES)}
    if isinstance(content, dict) and content and change == 4:
        return {name: content[name] for name in sorted(content)[1:]}
    return draw(LEAVES | st.just([content]) | st.just([content] * 101))


@st.composite
def requests(draw: Any) -> Request:
    """Return a request with none, one or some things wrong."""
    right: Request = draw(st.sampled_from(RIGHT))
    wrong = draw(
        st.just(())
        | st.sets(st.sampled_from(["verb", "path", "query", "content", "headers"]))
        | st.just({"content"})
    )
    path = draw(st.sampled_from(["v2", "v2", "v2beta3"])) + f"/{right.path}"
    path = draw(st.sampled_from([path, path, right.path]))
    if "path" in wrong:
        segments = path.split("/")
        place = draw(st.integers(0, len(segments)))
        segments[place : place + draw(st.integers(0, 2))] = [draw(SEGMENTS)]
        path = "/".join(segments)
    query = right.query
    if "query" in wrong:
        query = "&".join([query, *draw(st.lists(PARAMETERS, max_size=3))])
    content = right.content
    if "content" in wrong:
        content = draw(contents(right))
    return Request(
        right.method,
        draw(VERBS) if "verb" in wrong else right.verb,
        path,
        query,
        content,
        tuple(draw(st.lists(HEADERS, max_size=3))) if "headers" in wrong else (),
    )


def contents(right: Request) -> st.SearchStrategy[Any]:
    texts = st.binary(max_size=20) | st.sampled_from(
        [b"", b"{", b"[]", b"null", b'{"a":1,"a":2}', b"[" * 999, b'"\\ud800"', b"\xff"]
    )
    if right.method not in METHODS:
        return texts
    strategies = [texts, nearly(METHODS[right.method].DESCRIPTOR)]
    # The change of a change of it, as often as the others together.
    deep = changed(right.content).flatmap(
        lambda content: st.just(content) | changed(content)
    )
    return st.one_of(deep, deep, *strategies)


@dataclass(frozen=True)
class Answer:
    status: int
    text: str


class Client:
    """A client of an emulator, on one connection while that lasts."""

    def __init__(self, emulator: Emulator) -> None:
        self._connection = http.client.HTTPConnection(
            urlsplit(emulator.http_url).netloc, timeout=SECONDS
        )

    def close(self) -> None:
        self._connection.close()

    def send(self, request: Request) -> Answer:
        url = quote(request.path, safe="/%:*'\"<>\\")
        if request.query:
            url += "?" + quote(request.query, safe="=&%$;:,.*()!")
        headers = {name: value.encode("latin-1") for name, value in request.headers}
        self._connection.request(request.verb, f"/{url}", request.body, headers)
        response = self._connection.getresponse()
        return Answer(response.status, response.read().decode())


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    client = Client(emulator)
    yield client
    client.close()


@pytest.fixture
def known(emulator: Emulator, client: Client) -> Callable[[], dict[str, str]]:
    """Return a function that makes what RIGHT goes on, and its names."""

    def make(method: str, path: str, content: Any) -> Any:
        answer = client.send(Request(method, "POST", f"v2/{path}", "", content))
        assert answer.status == 200, answer
        return json.loads(answer.text)

    def known() -> dict[str, str]:
        emulator.reset()
        make("PauseQueue", f"{QUEUE}:pause", {})
        task = {"httpRequest": HTTP_REQUEST}
        batch = [
            {"parent": QUEUE, "task": each} for each in (task | {"name": TASK}, task)
        ]
        operation = make(
            "BatchCreateTasks", f"{QUEUE}/tasks:batchCreate", {"requests": batch}
        )
        target = NEW_QUEUE | {"name": f"{PARENT}/queues/target"}
        make("CreateQueue", f"{PARENT}/queues", target)
        make("PauseQueue", f"{PARENT}/queues/target:pause", {})
        listed = client.send(
            Request("ListTasks", "GET", f"v2/{QUEUE}/tasks", "pageSize=1")
        )
        return {
            "{operation}": operation["name"],
            "{target}": target["name"],
            "{page_token}": json.loads(listed.text)["nextPageToken"],
        }

    return known


def fill_in(request: Request, names: dict[str, str]) -> Request:
    path, query = request.path, request.query
    for name, value in names.items():
        path, query = path.replace(name, value), query.replace(name, value)
    return Request(
        *(request.method, request.verb, path, query),
        *(request.content, request.headers),
    )


def check(request: Request, answer: Answer) -> None:
    """Fail unless an answer is JSON of the service's, no fault of its own."""
    assert answer.status < 500, answer
    if request.verb == "HEAD":
        assert answer.text == ""
        return
    content = json.loads(answer.text)
    if answer.status == 200:
        assert isinstance(content, dict)
        return
    error = content["error"]
    assert error["code"] == answer.status
    assert error["status"] in CODES
    assert isinstance(error["message"], str)
    assert error["message"]


def examples(number: int) -> Callable[..., Any]:
    return settings(
        max_examples=scaled(number),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def test_every_request_is_answered(
    emulator: Emulator,
    client: Client,
    known: Callable[[], dict[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent: Counter[str] = Counter()
    succeeded: Counter[str] = Counter()

    @examples(400)
    @given(st.lists(requests(), min_size=3, max_size=6))
    def fuzz(sequence: list[Request]) -> None:
        names = known()
        for request in (fill_in(each, names) for each in sequence):
            answer = client.send(request)
            check(request, answer)
            sent[request.method] += 1
            succeeded[request.method] += answer.status == 200

    for right in RIGHT:
        # Beside what chance brings, each of them as it is.
        fuzz = example([replace(right, path=f"v2/{right.path}")])(fuzz)
    fuzz()

    assert sent.total() >= scaled(1_200)
    # It got behind the doors: everything was done, and much of it.
    assert succeeded.keys() == METHODS.keys() | {"BufferTask"}
    assert min(succeeded.values()) > 0
    assert succeeded.total() > sent.total() / 4
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert known()


def test_any_url_is_answered(emulator: Emulator, client: Client) -> None:
    # Elsewhere are other things than the API.
    roots = st.sampled_from(["v2", "v2beta3", "projects", "v1", "/"])
    segments = st.lists(st.text(max_size=4) | SEGMENTS, min_size=1, max_size=9)
    anything = st.builds(
        Request,
        method=st.just(""),
        verb=VERBS,
        path=st.tuples(roots, segments.map("/".join)).map("/".join),
        query=st.lists(st.text(max_size=9) | PARAMETERS, max_size=3).map("&".join),
        content=st.none() | st.binary(max_size=30),
    )

    @examples(300)
    @given(anything)
    def fuzz(request: Request) -> None:
        check(request, client.send(request))

    fuzz()

    assert client.send(Request("GetQueue", "GET", f"v2/{QUEUE}")).status == 200


def test_any_bytes_are_survived(emulator: Emulator, client: Client) -> None:
    url = urlsplit(emulator.http_url)
    lines = st.sampled_from(
        [
            f"GET /v2/{QUEUE} HTTP/1.1".encode(),
            f"POST /v2/{QUEUE}:pause HTTP/1.1".encode(),
            *(b"Host: localhost", b"Content-Length: 5", b"Content-Length: -1", b"{}"),
            *(b"Transfer-Encoding: chunked", b"5", b"0", b"", b"", b"zz", b"GET"),
            *(b"Content-Encoding: deflate", b"Expect: x", b"A: " + b"b" * 9000),
            *(b"Connection: upgrade", b"Upgrade: h2c", b"GET http://a/ HTTP/9.9"),
        ]
    )
    text = st.lists(lines | st.binary(max_size=9), max_size=8).map(b"\r\n".join)

    @examples(300)
    @given(text | st.binary())
    def fuzz(text: bytes) -> None:
        address = (url.hostname, url.port)
        with socket.create_connection(address, timeout=SECONDS) as connection:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            status = connection.makefile("rb").readline()[9:12]
        assert not status or int(status) < 500

    fuzz()

    assert client.send(Request("GetQueue", "GET", f"v2/{QUEUE}")).status == 200
