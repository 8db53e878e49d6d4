"""No secret and no token is ever written down, and no line of a log forged."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from cloudtask import auth
from cloudtask.conf import Settings, get_settings
from cloudtask.exceptions import CloudTaskError
from cloudtask.transports import get_transport
from tests import tasks
from tests.outgoing import outgoing_task
from tests.security import keyserver, samples
from tests.security.conftest import Clock
from tests.security.keyserver import KeyServer
from tests.security.sending import Send, payload
from tests.security.tokens import (
    NOW,
    TOKENS_ONLY,
    Token,
    bearer,
    claims,
    forged,
    header,
)

CANARY = "canary-of-the-secret-0123456789"
FALLBACK = "canary-of-the-fallback-012345678"
TOKEN = bearer(Token(claims=claims(sub="canary")))
SIGNATURE = TOKEN["Authorization"].rpartition(".")[2]
PRIVATE = "canary-of-the-private-key"
CANARIES = (
    *(CANARY, FALLBACK, SIGNATURE, PRIVATE),
    *TOKEN["Authorization"].removeprefix("Bearer ").split(".")[1:2],
)
CLOUDTASK = {
    **TOKENS_ONLY,
    "PROJECT": "project",
    "LOCATION": "europe-west1",
    "URL": TOKENS_ONLY["AUDIENCE"],
    "QUEUE": "default",
    "SECRET": CANARY,
    "SECRET_FALLBACKS": [FALLBACK],
    "CREDENTIALS": {"private_key": PRIVATE},
}


def no_canary_in(text: object) -> bool:
    return not any(canary in str(text) for canary in CANARIES)


@pytest.fixture
def canaries(google: KeyServer, settings: Any) -> Iterator[None]:
    settings.CLOUDTASK = CLOUDTASK
    yield
    settings.CLOUDTASK = {}


SECRET = {"X-Task-Secret": CANARY}
BODIES = {
    "done": payload(),
    "async": payload("tests.tasks.aadd"),
    "raised": payload("tests.tasks.fail"),
    "retry": payload("tests.tasks.try_again"),
    "rejected": payload("tests.tasks.reject"),
    "failed": payload(f"{samples.__name__}.limited"),
    "wrong arguments": payload(kwargs={"x": 1}),
    "unknown": payload("shop.tasks.renamed"),
    "malformed": b"{",
}


def _everything(send: Send, google: KeyServer, now: Clock) -> list[Any]:
    """Answers to every kind of request, each with canaries in it."""
    last = {"X-CloudTasks-TaskRetryCount": "99"}
    answers = [
        send({**credential, **last}, body)
        for credential in (SECRET, TOKEN, {**SECRET, **TOKEN})
        for body in BODIES.values()
    ]
    answers += [
        send({"X-Task-Secret": f"{CANARY},{FALLBACK}"}),
        send({"X-Task-Secret": f"{CANARY}\n"}),
        send({"Authorization": TOKEN["Authorization"] + ".x"}),
        send({"Authorization": TOKEN["Authorization"].replace("Bearer", "Basic")}),
        send(bearer(Token(header(kid=CANARY), claims(sub="canary")))),
        send(bearer(Token(header(alg=CANARY)))),
        send(bearer(Token(claims=claims(iss=CANARY)))),
        send(bearer(Token(claims=claims(aud=[CANARY])))),
        send(bearer(Token(claims=claims(email=CANARY)))),
        send(bearer(Token(claims=CANARY.encode()))),
        send(bearer(Token(claims=claims(sub="canary"), sign=forged))),
        send({**SECRET, "Content-Encoding": CANARY}),
        send({**SECRET, "Content-Length": "9999999"}),
        send(SECRET, method="PUT"),
    ]
    now.now += 3600 + 11
    answers.append(send(TOKEN))  # Expired.
    now.now = NOW
    auth.forget_keys()
    google.behave = keyserver.fail
    answers.append(send(bearer(Token(claims=claims(sub=CANARY)))))  # No keys.
    return answers


def test_no_secret_and_no_token_in_any_log_or_answer(
    canaries: None,
    google: KeyServer,
    send: Send,
    now: Clock,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)

    answers = _everything(send, google, now)

    assert {answer.status for answer in answers} == {
        *(200, 400, 403, 404, 405, 413, 415, 500, 503)
    }
    for answer in answers:
        assert no_canary_in(answer)
    assert len(caplog.records) > 30
    for record in caplog.records:
        assert no_canary_in(record.__dict__)
        assert no_canary_in(logging.Formatter().format(record))
    assert no_canary_in(capfd.readouterr())


def test_no_secret_and_no_token_in_a_mail_about_a_failed_task(
    canaries: None, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    # What AdminEmailHandler(include_html=True) sends: every frame's locals.
    for credential in (SECRET, TOKEN):
        send(credential, BODIES["raised"])

    failures = [record for record in caplog.records if record.exc_info]
    assert len(failures) == 2
    for record in failures:
        reporter = ExceptionReporter(None, *record.exc_info)
        assert "ValueError" in reporter.get_traceback_html()
        assert no_canary_in(reporter.get_traceback_html())
        assert no_canary_in(reporter.get_traceback_text())


def _failure() -> Any:
    try:
        raise ValueError("in a view of the project's own")
    except ValueError:
        return sys.exc_info()


def test_no_secret_and_no_token_on_an_error_page_of_the_project(
    canaries: None, settings: Any
) -> None:
    settings.DEBUG = True
    environ = {
        "HTTP_" + name.upper().replace("-", "_"): value
        for name, value in {**SECRET, **TOKEN}.items()
    }
    request = RequestFactory().post("/_tasks/", **environ)
    reporter = ExceptionReporter(request, *_failure())

    assert "HTTP_X_TASK_SECRET" in reporter.get_traceback_html()
    assert no_canary_in(reporter.get_traceback_html())
    assert no_canary_in(reporter.get_traceback_text())


def test_no_secret_in_any_repr(canaries: None, settings: Any) -> None:
    configured = get_settings()
    transport = get_transport(configured)
    outgoing = outgoing_task(
        queue_path="projects/project/locations/europe-west1/queues/default",
        url=TOKENS_ONLY["AUDIENCE"],
        body=payload(args=[CANARY]),
        headers=transport.target(configured).headers,
    )

    assert outgoing.route.headers["X-Task-Secret"] == CANARY
    for value in (configured, transport, transport.target(configured), outgoing):
        assert no_canary_in(repr(value))
    assert "https://shop.example/_tasks/" in repr(configured)


def test_no_secret_in_the_repr_of_what_a_task_gets(canaries: None, send: Send) -> None:
    send({**SECRET, **TOKEN}, payload("tests.tasks.inspect"))

    [request] = tasks.ran
    assert isinstance(request, tasks.CloudTaskRequest)
    assert request.headers["X-Task-Secret"] == CANARY  # It is in there.
    assert no_canary_in(repr(request))


@pytest.mark.parametrize(
    "broken",
    [
        {"SECRET": f" {CANARY}"},
        {"SECRET": f"{CANARY}\xe9"},
        {"SECRET": [CANARY]},
        {"SECRET": CANARY.encode()},
        {"SECRET_FALLBACKS": CANARY},
        {"SECRET_FALLBACKS": [f"{CANARY}\n"]},
        {"SECRET_FALLBACKS": {CANARY: 1}},
        {"SECRETS": CANARY},
        {"URL": f"https://user:{CANARY}@shop.example/"},
        ({"SECRET": CANARY},),  # A comma too many.
        [("SECRET", CANARY)],
        CANARY,
        {CANARY},
    ],
    ids=lambda broken: repr(broken).replace(CANARY, "..."),
)
def test_no_secret_in_a_message_about_wrong_settings(broken: Any) -> None:
    with pytest.raises(CloudTaskError) as caught:
        Settings.from_mapping(broken)

    assert "CLOUDTASK" in str(caught.value)
    assert no_canary_in(caught.value)
    assert no_canary_in(repr(caught.value))


# Forged lines

FORGERIES = [
    "x\nERROR root: forged",
    "x\r\nERROR root: forged",
    "x\rERROR root: forged",
    "x\x1b[2K\x1b[1A forged",
    "x\x08\x08\x08 forged",
    "x\u2028ERROR root: forged",
    "x\u202eforged",
    "%s%d%n",
]
PLACES: dict[str, Callable[[str], tuple[dict[str, str], bytes]]] = {
    "the task's path": lambda text: ({}, payload(text)),
    "the kind": lambda text: ({}, payload(kind=text)),
    "the version": lambda text: ({}, payload(v=text)),
    "the id": lambda text: ({}, payload(id=text)),
    "an argument": lambda text: ({}, payload("tests.tasks.add", args=[text, text])),
    "the body": lambda text: ({}, text.encode()),
    "the queue's name": lambda text: (
        {"X-CloudTasks-QueueName": _latin(text)},
        payload("tests.tasks.reject"),
    ),
    "the task's name": lambda text: (
        {"X-CloudTasks-TaskName": _latin(text)},
        payload("tests.tasks.reject"),
    ),
    "the secret": lambda text: ({"X-Task-Secret": _latin(text)}, b""),
    "the encoding": lambda text: ({"Content-Encoding": _latin(text)}, b""),
}


def _latin(text: str) -> str:
    return text.encode().decode("latin-1")


@pytest.mark.parametrize("place", PLACES)
def test_nobody_forges_a_line_of_the_log(
    secret: str, send: Send, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="cloudtask")

    for text in FORGERIES:
        headers, body = PLACES[place](text)
        caplog.clear()
        send({"X-Task-Secret": secret, **headers}, body)

        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 1
        assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("key", ["task", "kind"])
def test_a_line_of_the_log_is_no_longer_than_it_has_to_be(
    secret: str, send: Send, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    document = json.loads(payload()) | {key: "x" * 500_000}

    send({"X-Task-Secret": secret}, json.dumps(document).encode())

    [line] = caplog.messages
    assert 1000 < len(line) < 1100


def test_a_reason_cannot_forge_a_line_either(
    secret: str, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="cloudtask")
    reason = "first\nERROR root: forged"

    send({"X-Task-Secret": secret}, payload(f"{samples.__name__}.say", args=[reason]))

    [line] = caplog.messages
    assert line.endswith(f"status=rejected reason={reason!r}")
