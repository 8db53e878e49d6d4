"""The dispatch view: what each request is answered, and what it runs."""

import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from cloudtask.checks import check_cloudtask
from cloudtask.wire.limits import MAX_BODY_BYTES
from tests import tasks
from tests.security import keyserver, middlewares, samples
from tests.security.keyserver import KeyServer
from tests.security.sending import (
    AUTHENTIC,
    FORBIDDEN,
    Answer,
    Send,
    Stream,
    Unreadable,
    payload,
    send_asgi,
    send_wsgi,
)
from tests.security.tokens import Token, bearer

pytestmark = pytest.mark.usefixtures("secret")

SAMPLES = samples.__name__
LAST = {"X-CloudTasks-TaskRetryCount": "2"}


# The table of statuses


def test_a_task_that_returns_is_done(send: Send) -> None:
    answer = send(AUTHENTIC, payload(args=[1], kwargs={"b": 2}))

    assert answer == _answer(200, "done")
    assert tasks.ran == [("add", 1, 2)]


def test_a_rejected_task_is_answered_200_since_only_that_ends_it(send: Send) -> None:
    assert send(AUTHENTIC, payload("tests.tasks.reject")) == _answer(200, "rejected")
    assert tasks.ran == [("reject",)]


def test_a_task_that_failed_for_the_last_time_is_answered_200(send: Send) -> None:
    answer = send({**AUTHENTIC, **LAST}, payload(f"{SAMPLES}.limited"))

    assert answer == _answer(200, "failed")
    assert tasks.ran == [("limited", 3)]


def test_a_task_that_raised_is_a_500_that_says_nothing_of_it(send: Send) -> None:
    answer = send(AUTHENTIC, payload("tests.tasks.fail", args=["words of its own"]))

    assert answer == _answer(500, "retry")
    assert tasks.ran == [("fail", "words of its own")]


def test_a_task_that_raised_with_attempts_left_is_a_500(send: Send) -> None:
    answer = send(AUTHENTIC, payload(f"{SAMPLES}.limited"))

    assert answer == _answer(500, "retry")
    assert tasks.ran == [("limited", 1)]


def test_arguments_that_a_task_does_not_take_are_a_500_for_a_newer_revision(
    send: Send,
) -> None:
    assert send(AUTHENTIC, payload(kwargs={"new": 1})) == _answer(500, "retry")
    assert tasks.ran == []


@pytest.mark.parametrize(
    ("after", "header"),
    [
        ([0, 0, 0], "0"),
        ([0, 0, 1], "1"),  # Rounded up, lest it comes too early.
        ([0, 90, 0], "90"),
        ([0, 90, 1], "91"),
        ([2, 0, 0], "172800"),
    ],
)
def test_a_retry_says_when_to_come_back(
    send: Send, after: list[int], header: str
) -> None:
    body = payload(f"{SAMPLES}.wait", args=[{"__type__": "timedelta", "value": after}])

    answer = send(AUTHENTIC, body)

    assert (answer.status, answer.word) == (500, "retry")
    assert answer.header("Retry-After") == header
    assert tasks.ran == [("wait", timedelta(*after))]


def test_a_retry_without_a_time_leaves_it_to_the_queue(send: Send) -> None:
    assert send(AUTHENTIC, payload("tests.tasks.try_again")) == _answer(500, "retry")


def test_an_unknown_task_is_a_404_that_names_none(
    send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    answer = send(AUTHENTIC, payload("shop.tasks.renamed"))

    assert answer == _answer(404, "unknown task")
    assert caplog.record_tuples == [
        (
            "cloudtask",
            logging.ERROR,
            "refused a dispatch: \"No task is registered as 'shop.tasks.renamed'.\"",
        )
    ]


@pytest.mark.parametrize("kind", ["django", "schedule", "", "CLOUDTASK"])
def test_a_payload_of_another_kind_is_a_404(send: Send, kind: str) -> None:
    assert send(AUTHENTIC, payload(kind=kind)) == _answer(404, "unknown task")
    assert tasks.ran == []


def test_a_malformed_body_is_a_400(send: Send) -> None:
    assert send(AUTHENTIC, b"{") == _answer(400, "malformed")


def test_no_credential_is_a_403(send: Send) -> None:
    assert send({}) == FORBIDDEN


def test_keys_that_cannot_be_fetched_are_a_503(google: KeyServer, send: Send) -> None:
    google.behave = keyserver.fail

    answer = send(bearer(Token()))

    assert answer == _answer(503, "unavailable", ("Retry-After", "10"))


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE"]
)
def test_everything_but_post_is_a_405(send: Send, method: str) -> None:
    answer = send(AUTHENTIC, Unreadable(), method=method)

    assert answer == _answer(405, "method not allowed", ("Allow", "POST"))
    # Whoever asks: it says nothing about credentials.
    assert send({}, Unreadable(), method=method) == answer


def test_head_is_a_405_without_a_body(send: Send) -> None:
    answer = send(AUTHENTIC, Unreadable(), method="HEAD")

    assert (answer.status, answer.header("Allow"), answer.body) == (405, "POST", b"")
    assert tasks.ran == []


def _answer(status: int, word: str, *headers: tuple[str, str]) -> Answer:
    always = (("Cache-Control", "no-store"), ("Content-Type", "application/json"))
    body = f'{{"status": "{word}"}}'.encode()
    return Answer(status, tuple(sorted((*always, *headers))), body)


# What is logged


def test_an_attempt_that_failed_is_no_error_of_the_request(
    send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    send(AUTHENTIC, payload("tests.tasks.fail"))
    send(AUTHENTIC, payload("shop.tasks.renamed"))
    send(AUTHENTIC, b"{")
    send({})
    send(AUTHENTIC, method="GET")
    send({**AUTHENTIC, "Content-Encoding": "gzip"})

    assert [r for r in caplog.records if r.name.startswith("django")] == []
    # One line each, and an error only where somebody here has to act.
    assert [r.levelname for r in caplog.records if r.name == "cloudtask"] == [
        *("WARNING", "ERROR", "WARNING", "WARNING", "WARNING", "WARNING")
    ]
    assert caplog.messages[-1] == "refused a dispatch: 'unsupported content encoding'"


# Only registered tasks run

UNREGISTERED = [
    *("os.abort", "os.system", "os._exit", "platform.node", "subprocess.Popen"),
    *("builtins.eval", "builtins.exec", "builtins.exit", "sys.exit", "eval"),
    *("django.core.management.call_command", "django.conf.settings"),
    *(f"{SAMPLES}.undecorated", f"{SAMPLES}.undecorated_without_arguments"),
    *("tests.tasks", "tests", "tests.tasks.ran", "tests.tasks.ran.clear"),
    *("tests.tasks.add.func", "tests.tasks.add.__call__", "tests.tasks:add"),
    *(
        "cloudtask.task",
        "cloudtask.views.dispatch",
        "cloudtask.enqueue.tasks.TaskDefinition",
    ),
    *("untouched.task", "untouched", "untouched.sub.task", "tests.security.untouched"),
    *("", ".", "..", "...", ".tests.tasks.add", "tests.tasks.add.", "tests..tasks.add"),
    *("add", "tasks.add", "TESTS.TASKS.ADD", " tests.tasks.add", "tests.tasks.add\n"),
    *("tests/tasks/add", "../tests.tasks.add", "__import__('os').abort()", "%s", "{0}"),
    *("__main__.main", "__builtins__", "\u202eadd", "tests.tasks.ad\uff44", "x" * 9000),
]


@pytest.mark.parametrize("path", UNREGISTERED, ids=lambda path: path[:40])
def test_only_what_is_registered_runs_and_nothing_is_imported(
    send: Send,
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Importing it, as peers do, would run this.
    (tmp_path / "untouched.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    send(AUTHENTIC, payload("warm.up"))
    before = set(sys.modules)

    assert send(AUTHENTIC, payload(path)) == _answer(404, "unknown task")

    assert set(sys.modules) == before
    assert tasks.ran == []


@pytest.mark.parametrize(
    "value",
    [
        {"__type__": "os.system", "value": "true"},
        {"__type__": "object"},
        {"__type__": None, "value": 1},
        {"__type__": ["date"], "value": "2026-01-31"},
        {"__type__": {"__type__": "date", "value": "2026-01-31"}},
        {"__type__": "Decimal", "value": "1", "context": {}},
        {"__type__": "date", "self": "2026-01-31"},
        {"__type__": "datetime", "value": "2026-01-31T12:00", "zone": "../../etc/x"},
        {"__type__": "datetime", "value": "2026-01-31T12:00", "zone": "os.path"},
    ],
)
def test_a_type_that_no_payload_carries_is_a_400(send: Send, value: Any) -> None:
    before = set(sys.modules)

    assert send(AUTHENTIC, payload(args=[value])) == _answer(400, "malformed")

    assert set(sys.modules) == before
    assert tasks.ran == []


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        payload()[:-1],
        payload() + b"{}",
        payload() + b"\0",
        b"\xef\xbb\xbf" + payload(),
        payload().decode().encode("utf-16"),
        payload().decode().encode("utf-32"),
        payload("caf\xe9").replace(b"\\u00e9", b"\xe9"),  # Latin-1.
        payload(args=["x"]).replace(b"x", b"\xed\xa0\x80"),  # Half a pair.
        payload(args=["x"]).replace(b"x", b"\xc0\x80"),  # An overlong NUL.
        payload(args=["x"]).replace(b"x", b"\\ud800"),
        payload(args=["x"]).replace(b"x", b"\\u0000"),
        payload(args=["x"]).replace(b"x", b"\0"),
        payload(args=["x"]).replace(b"x", b"\n"),
        payload(kwargs={"k": 1}).replace(b'"k"', b'"\\u0000"'),
        payload(args=[0]).replace(b"[0]", b"[NaN]"),
        payload(args=[0]).replace(b"[0]", b"[Infinity]"),
        payload(args=[0]).replace(b"[0]", b"[-Infinity]"),
        payload(args=[0]).replace(b"[0]", b"[1e400]"),
        payload(args=[0]).replace(b"[0]", b"[-1e400]"),
        payload(args=[0]).replace(b"[0]", b"[%s]" % (b"9" * 5000)),
        payload(args=[0]).replace(b"[0]", b"[" * 65 + b"]" * 65),
        payload(args=[0]).replace(b"[0]", b"[" * 100_000 + b"]" * 100_000),
        payload(args=[0]).replace(b"[0]", b'{"a":' * 100_000),
        b"[" * 1_000_000,
        payload()[:-1] + b',"v":1}',
        payload()[:-1] + b',"task":"tests.tasks.fail"}',
        payload(kwargs={"a": 1}).replace(b'"a": 1', b'"a": 1, "a": 2'),
        payload(v=0),
        payload(v=2),
        payload(v="1"),
        payload(v=True),
        payload(v=None),
        payload(v=[1]),
        payload(id="X" * 32),
        payload(id="0123456789ABCDEF0123456789ABCDEF"),
        payload(id="0" * 33),
        payload(id="0" * 32 + "\n"),
        payload(id=1),
        payload(task=None),
        payload(["tests.tasks.add"]),  # type: ignore[arg-type]
        payload(args={}),
        payload(args=None),
        payload(kwargs=[]),
        payload(kwargs=None),
        payload(kind=None),
        payload(enqueued_at=None),
        payload(enqueued_at="2026-01-31T12:00:00"),
        payload(enqueued_at="now"),
        payload(enqueued_at="0001-01-01T00:00:00+14:00"),
        payload(args={"__type__": "tuple", "value": []}),
        payload(args=[{"__type__": "timedelta", "value": [10**12, 0, 0]}]),
        payload(args=[{"__type__": "Decimal", "value": "NaN"}]),
        payload(args=[{"__type__": "set", "value": [[]]}]),
        payload(args=[{"__type__": "bytes", "value": "%%%"}]),
        b"task=tests.tasks.add&args=[]",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n{}\r\n--x--",
    ],
    ids=lambda body: repr(body[:30] + body[-30:]),
)
def test_a_body_that_is_no_strict_payload_is_a_400_and_runs_nothing(
    send: Send, body: bytes
) -> None:
    assert send(AUTHENTIC, body) == _answer(400, "malformed")
    assert tasks.ran == []


@pytest.mark.parametrize(
    ("encoding", "status"),
    [
        ("gzip", 415),
        ("GZIP", 415),
        ("deflate", 415),
        ("br", 415),
        ("zstd", 415),
        ("gzip, identity", 415),
        ("identity, gzip", 415),
        ("aws-chunked", 415),
        ("identity", 200),
        ("Identity", 200),
    ],
)
def test_nothing_is_ever_decompressed(send: Send, encoding: str, status: int) -> None:
    body: Any = payload() if status == 200 else Unreadable()

    answer = send({**AUTHENTIC, "Content-Encoding": encoding}, body)

    assert answer.status == status
    if status == 415:
        assert answer == _answer(415, "unsupported content encoding")
        assert tasks.ran == []


def _sized(size: int) -> bytes:
    """A payload of so many bytes."""
    empty = payload(f"{SAMPLES}.catch_all", args=[""])
    return payload(f"{SAMPLES}.catch_all", args=["x" * (size - len(empty))])


def test_a_body_of_the_limit_is_read(send: Send) -> None:
    body = _sized(MAX_BODY_BYTES)
    assert len(body) == 1_048_576

    assert send(AUTHENTIC, body) == _answer(200, "done")
    assert len(tasks.ran) == 1


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 20_000_000])
def test_a_body_above_the_limit_is_a_413_and_not_read(send: Send, size: int) -> None:
    body = Stream(_sized(size))

    assert send(AUTHENTIC, body) == _answer(413, "too large")

    assert body.tell() == 0
    assert tasks.ran == []


@pytest.mark.parametrize(
    "length",
    ["1048577", "99999999999999999999", "9" * 400, "9" * 5000, "0000000000001048577"],
    ids=lambda length: length[:20],
)
def test_a_length_above_the_limit_is_a_413_whatever_is_sent(
    send: Send, length: str
) -> None:
    body = Stream(_sized(MAX_BODY_BYTES + 1))

    answer = send({**AUTHENTIC, "Content-Length": length}, body)

    assert answer == _answer(413, "too large")
    assert tasks.ran == []


@pytest.mark.parametrize("length", ["0", "", "-1", "x", "1e9", "0x10", "1_000", "5, 5"])
def test_a_length_that_is_a_lie_reads_no_more_than_the_limit(
    send: Send, length: str
) -> None:
    # Under ASGI a body without a length, as chunks are, comes in whole.
    body = Stream(_sized(20_000_000))

    answer = send({**AUTHENTIC, "Content-Length": length}, body)

    assert answer in (_answer(413, "too large"), _answer(400, "malformed"))
    assert body.tell() <= MAX_BODY_BYTES + 1
    assert tasks.ran == []


def test_asgi_reads_a_body_without_a_length() -> None:
    assert send_asgi({**AUTHENTIC, "Content-Length": ""}, payload()).status == 200
    body = Stream(_sized(MAX_BODY_BYTES + 1))
    answer = send_asgi({**AUTHENTIC, "Content-Length": ""}, body)
    assert answer == _answer(413, "too large")


def test_wsgi_takes_a_body_without_a_length_for_an_empty_one() -> None:
    answer = send_wsgi({**AUTHENTIC, "Content-Length": ""}, payload())
    assert answer == _answer(400, "malformed")


class Broken(Stream):
    """A body whose sender hung up."""

    def read(self, *args: Any) -> bytes:
        raise ConnectionResetError("Connection reset by peer")


def test_a_body_that_ends_in_an_error_is_a_400(send: Send) -> None:
    assert send(AUTHENTIC, Broken(payload())) == _answer(400, "malformed")
    assert tasks.ran == []


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"],
)
def test_the_content_type_is_not_looked_at(send: Send, content_type: str) -> None:
    answer = send({**AUTHENTIC, "Content-Type": content_type})

    assert answer == _answer(200, "done")


# Headers of Cloud Tasks

ABSURD = [
    *("", " ", "-1", "+1", "1.5", "1e3", "1_000", "0x1", "\xb2", "\xbd", "\xa01"),
    *("1,2", "1, 2", ",", "1;", "9" * 10, "9" * 30, "9" * 8192, "x" * 8192, "None"),
    *("NaN", "Infinity", "true", "\x00", "\x1b[31m", "1\r\nX: 2", "1 2", '"1"', "%00"),
]
#: Those of them that are a time.
ETAS = {
    "1.5": datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC),
    "9" * 10: datetime(2286, 11, 20, 17, 46, 39, 0, UTC),
}
NAMES = [
    *("QueueName", "TaskName", "TaskRetryCount", "TaskExecutionCount", "TaskETA"),
    *("TaskPreviousResponse", "TaskRetryReason"),
]


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: repr(value[:20]))
def test_absurd_headers_of_cloud_tasks_still_run_a_task_once_as_a_first_attempt(
    send: Send, value: str
) -> None:
    absurd = {f"X-CloudTasks-{name}": value for name in NAMES}

    answer = send({**AUTHENTIC, **absurd}, payload("tests.tasks.inspect"))

    assert answer == _answer(200, "done")
    [request] = tasks.ran
    assert isinstance(request, tasks.CloudTaskRequest)
    assert request.attempt == 1
    assert request.eta == ETAS.get(value)
    assert request.previous_response is None
    # A name of 8 kB, or of anything but letters and digits, is no name.
    assert request.queue in (None, value)
    assert request.queue is None or len(request.queue) <= 500


def test_without_the_headers_of_cloud_tasks_a_task_runs_as_a_first_attempt(
    send: Send,
) -> None:
    absent = {f"X-CloudTasks-{name}": "" for name in NAMES}

    assert send({**AUTHENTIC, **absent}, payload("tests.tasks.inspect")).status == 200

    [request] = tasks.ran
    assert isinstance(request, tasks.CloudTaskRequest)
    assert (request.attempt, request.task_name, request.queue) == (1, None, None)


@pytest.mark.parametrize(
    ("count", "attempt"),
    [("0", 1), ("1", 2), ("007", 8), ("99", 100), ("999999999", 1_000_000_000)],
)
def test_the_retry_count_gives_the_attempt(
    send: Send, count: str, attempt: int
) -> None:
    headers = {
        **AUTHENTIC,
        "X-CloudTasks-TaskRetryCount": count,
        "X-CloudTasks-TaskPreviousResponse": "503",
        "X-CloudTasks-TaskETA": "1800000000.5",
    }

    send(headers, payload("tests.tasks.inspect"))

    [request] = tasks.ran
    assert isinstance(request, tasks.CloudTaskRequest)
    assert request.attempt == attempt
    assert (request.queue, request.task_name) == ("default", "1234567890")
    assert request.previous_response == 503
    assert request.eta == datetime(2027, 1, 15, 8, 0, 0, 500_000, UTC)
    assert request.id == "0123456789abcdef0123456789abcdef"
    assert request.headers["User-Agent"] == "Google-Cloud-Tasks"
    assert request.request is not None
    assert request.request.method == "POST"


# The view within a project


def test_the_view_passes_csrf_protection_and_others_keep_it(
    settings: Any, send: Send
) -> None:
    settings.ROOT_URLCONF = "tests.security.urls"
    settings.MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]

    dispatched = send(AUTHENTIC, enforce_csrf_checks=True)
    own = send(AUTHENTIC, path="/own/", enforce_csrf_checks=True)

    assert dispatched == _answer(200, "done")
    assert own.status == 403
    assert b"CSRF" in own.body


@pytest.mark.parametrize("alias", ["default", "other"])
def test_the_view_runs_outside_the_atomic_requests_of_every_database(
    send: Send, monkeypatch: pytest.MonkeyPatch, alias: str
) -> None:
    # A database that is opened all the same fails this test, too.
    monkeypatch.setitem(connections[alias].settings_dict, "ATOMIC_REQUESTS", True)

    assert send(AUTHENTIC, payload(f"{SAMPLES}.transactions")) == _answer(200, "done")

    assert tasks.ran == [{"default": False, "other": False}]


@pytest.mark.parametrize(
    "readers",
    [
        ["sync_reader"],
        ["async_reader"],
        ["form_reader"],
        ["sync_reader", "async_reader", "form_reader"],
        ["form_reader", "async_reader", "sync_reader"],
    ],
    ids="-".join,
)
def test_middleware_may_read_the_body_before_the_view(
    settings: Any, send: Send, readers: list[str]
) -> None:
    settings.MIDDLEWARE = [f"tests.security.middlewares.{name}" for name in readers]
    middlewares.seen.clear()

    answer = send(AUTHENTIC, payload(args=[1]))

    assert answer == _answer(200, "done")
    assert tasks.ran == [("add", 1, 4)]
    assert len(middlewares.seen) == len(readers)
    assert set(middlewares.seen) <= {payload(args=[1]), b""}


def test_middleware_that_reads_the_body_does_not_lift_the_limit(
    settings: Any, send: Send
) -> None:
    settings.MIDDLEWARE = ["tests.security.middlewares.sync_reader"]

    answer = send(AUTHENTIC, _sized(MAX_BODY_BYTES + 1))

    assert answer == _answer(413, "too large")


MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (AUTHENTIC, payload()),
        (AUTHENTIC, payload("tests.tasks.reject")),
        (AUTHENTIC, payload("tests.tasks.fail")),
        (AUTHENTIC, payload("shop.tasks.renamed")),
        (AUTHENTIC, b"{"),
        ({**AUTHENTIC, "Content-Encoding": "gzip"}, b""),
        ({**AUTHENTIC, "Content-Length": "9999999"}, b""),
        ({}, b""),
    ],
)
def test_the_view_itself_never_redirects(
    settings: Any, send: Send, headers: dict[str, str], body: bytes
) -> None:
    settings.MIDDLEWARE = MIDDLEWARE
    settings.APPEND_SLASH = True
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

    answer = send({**headers, "X-Forwarded-Proto": "https"}, body)

    assert not 300 <= answer.status < 400
    assert answer.header("Location") is None


def test_what_redirects_before_the_view_is_told_by_a_check(
    settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "URL": "https://shop.example/_tasks"}
    settings.MIDDLEWARE = MIDDLEWARE
    settings.SECURE_SSL_REDIRECT = True

    # Django's doing; the body is not looked at, and Cloud Tasks tries again.
    assert send(AUTHENTIC, Unreadable()).status == 301
    warned = {message.id for message in check_cloudtask()}
    assert warned >= {"cloudtask.W007", "cloudtask.W009"}


def test_credentials_are_looked_at_before_the_size_and_the_encoding(
    send: Send,
) -> None:
    wrong = {"Content-Encoding": "gzip", "Content-Length": "9999999"}

    assert send(wrong, Unreadable()) == FORBIDDEN
    assert send({**AUTHENTIC, **wrong}, Unreadable()).status == 415


def test_the_view_is_routed_by_one_name(settings: Any, send: Send) -> None:
    assert send(AUTHENTIC, path="/_tasks/more").status == 404
    assert send(AUTHENTIC, path="/_tasks/").status == 200
