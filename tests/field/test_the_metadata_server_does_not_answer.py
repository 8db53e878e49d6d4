"""
The metadata server of Cloud Run hangs, answers 5xx, or drops connections.

What it alone can tell is then unknown. Unknown is not absent: nobody is let in
for want of a setting, and no task is lost for want of one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
from django.core import checks
from django.test import override_settings

from cloudtask import transports
from cloudtask.auth import authenticator, tokens
from cloudtask.backends import definitions
from cloudtask.conf import environment
from cloudtask.exceptions import EnqueueError, ServiceUnavailable
from cloudtask.framework import task_backends
from cloudtask.testing import memory_queue
from cloudtask.transports import get_transport
from cloudtask.transports.memory import MemoryTransport
from tests import tasks as sdk
from tests.backends.samples import TASKS, THEIRS, with_options
from tests.clocks import set_clock
from tests.field.placing import PLACED
from tests.security.keyserver import KeyServer
from tests.security.keyserver import serve as serve_keys
from tests.security.sending import (
    FORBIDDEN,
    Answer,
    Send,
    payload,
    send_asgi,
    send_wsgi,
)
from tests.security.tokens import AUDIENCE, EMAIL, NOW, SECRET, Token, bearer, claims
from tests.tasks import ran
from tests.unit.metadata import Answer as Told
from tests.unit.metadata import MetadataServer

with override_settings(TASKS=TASKS):
    from tests.backends import tasks as django_tasks

#: What Cloud Run's tells.
CLOUD_RUN = {
    "project/project-id": "shop",
    "project/numeric-project-id": "123456789012",
    "instance/region": "projects/123456789012/regions/europe-west1",
    "instance/service-accounts/default/email": EMAIL,
}
FAILURES = {
    "hangs": Told(hang=True),
    "answers 500": Told("error", status=500),
    "answers 429": Told("slow down", status=429),
    "drops the connection": Told(raw=b""),
    "breaks off": Told(
        "tasks@sh", headers={"Metadata-Flavor": "Google", "Content-Length": "99"}
    ),
}
HERE = {"K_SERVICE": "web"}
SECRET_ONLY = {"X-Task-Secret": SECRET}
TOKEN_ONLY = bearer(Token(claims=claims()))
BOTH = {**SECRET_ONLY, **TOKEN_ONLY}
WRONG = {**TOKEN_ONLY, "X-Task-Secret": "another secret, of nobody at all"}


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataServer]:
    """The metadata server of a Cloud Run service."""
    monkeypatch.delenv("NO_GCE_CHECK")
    server = MetadataServer(CLOUD_RUN)
    server.start()
    monkeypatch.setenv("GCE_METADATA_HOST", server.address)
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


@pytest.fixture(params=FAILURES.values(), ids=list(FAILURES))
def fails(
    request: pytest.FixtureRequest,
    metadata: MetadataServer,
    monkeypatch: pytest.MonkeyPatch,
) -> MetadataServer:
    """It does not tell."""
    wait = 0.05 if request.param.hang else 5.0
    monkeypatch.setattr(environment, "_ANSWER_SECONDS", wait)
    metadata.answer = lambda key: request.param
    return metadata


@pytest.fixture
def recover(monkeypatch: pytest.MonkeyPatch) -> Callable[[MetadataServer], None]:
    """Have it tell again, and the pause pass."""

    def recover(server: MetadataServer) -> None:
        del server.answer
        server.answer = server._look_up
        monkeypatch.setattr(environment, "_ANSWER_SECONDS", 5.0)
        monkeypatch.setattr(environment, "monotonic", lambda: monotonic() + 3)

    return recover


@pytest.fixture(autouse=True)
def keys(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """Google's keys, and nothing left of the settings afterwards."""
    set_clock(monkeypatch, lambda: NOW)
    settings.TASKS = TASKS
    with serve_keys() as server:
        monkeypatch.setattr(tokens, "GOOGLE_KEYS_URL", server.url)
        yield server
    for _, transport in list(transports._open.values()):
        transport.close()
    transports._open.clear()
    definitions._shared.clear()
    authenticator._get_authenticator._made.clear()


@pytest.fixture(params=[send_wsgi, send_asgi], ids=["wsgi", "asgi"])
def send(request: pytest.FixtureRequest) -> Any:
    return request.param


def unavailable(answer: Answer) -> bool:
    assert ran == []
    return (answer.status, answer.word, answer.header("Retry-After")) == (
        503,
        "unavailable",
        "10",
    )


# Who is let in

#: Where all is asked for, and whether that is a token too has to be told.
ALL = {"AUTH": "all", "SECRET": SECRET, "AUDIENCE": AUDIENCE, "SIGN": False}


def test_all_lets_nobody_in_until_it_is_known_what_all_is(
    send: Send,
    settings: Any,
    fails: MetadataServer,
    recover: Callable[[MetadataServer], None],
) -> None:
    settings.CLOUDTASK = ALL

    for credentials in (SECRET_ONLY, BOTH):
        assert unavailable(send(credentials, payload()))
    # Whatever comes of the question, these are wrong.
    for credentials in ({}, WRONG, TOKEN_ONLY):
        assert send(credentials, payload()) == FORBIDDEN

    recover(fails)
    assert send(SECRET_ONLY, payload()) == FORBIDDEN
    assert ran == []
    assert send(BOTH, payload()).status == 200


def test_a_signed_task_waits_until_it_is_known_what_all_is(
    send: Send,
    settings: Any,
    fails: MetadataServer,
    recover: Callable[[MetadataServer], None],
) -> None:
    settings.CLOUDTASK = {"AUTH": "all", "QUEUE": "default", "AUDIENCE": AUDIENCE}
    with memory_queue() as queue:
        sdk.add(1, 2).delay()
        [stored] = queue.tasks
    signature = dict(stored.sent.headers)

    assert send({}, payload()) == FORBIDDEN
    assert fails.asked == []
    assert unavailable(send(signature, stored.sent.body))

    recover(fails)
    assert send(signature, stored.sent.body) == FORBIDDEN
    assert send({**signature, **TOKEN_ONLY}, stored.sent.body).status == 200


def test_any_asks_only_for_a_token(
    send: Send,
    settings: Any,
    fails: MetadataServer,
    recover: Callable[[MetadataServer], None],
) -> None:
    settings.CLOUDTASK = {"SECRET": SECRET, "AUDIENCE": AUDIENCE}

    assert send({}, payload()) == FORBIDDEN
    assert send(SECRET_ONLY, payload()).status == 200
    assert fails.asked == []
    ran.clear()
    for credentials in (TOKEN_ONLY, WRONG):
        assert unavailable(send(credentials, payload()))

    recover(fails)
    assert send(TOKEN_ONLY, payload()).status == 200


def test_an_audience_that_is_not_known_yet_is_waited_for(
    send: Send,
    settings: Any,
    fails: MetadataServer,
    recover: Callable[[MetadataServer], None],
) -> None:
    settings.CLOUDTASK = {"SAE": EMAIL}
    audience = "https://web-123456789012.europe-west1.run.app/_tasks/"
    token = bearer(Token(claims=claims(aud=audience)))

    assert unavailable(send(token, payload()))
    recover(fails)
    assert send(token, payload()).status == 200


def test_a_border_that_is_not_known_yet_is_closed(
    send: Send,
    settings: Any,
    fails: MetadataServer,
    recover: Callable[[MetadataServer], None],
) -> None:
    # The one's service account is set, and the other's is the process's.
    settings.CLOUDTASK = {"SECRET": SECRET, "AUDIENCE": AUDIENCE}
    backend = with_options("here", SAE=EMAIL)
    settings.TASKS = {**TASKS, **backend}
    body = payload(
        "tests.backends.tasks.add",
        kind="django",
        backend="here",
        using={"queue_name": "default", "priority": 0},
    )
    headers = {**SECRET_ONLY, "X-Task-Backend": "here"}

    assert unavailable(send(headers, body))
    recover(fails)
    assert send(headers, body).status == 200


def test_a_server_that_says_no_is_believed(
    send: Send, settings: Any, metadata: MetadataServer
) -> None:
    metadata.keys = {}
    settings.CLOUDTASK = ALL

    assert send(SECRET_ONLY, payload()).status == 200
    assert send(WRONG, payload()) == FORBIDDEN


def test_a_storm_of_dispatches_waits_once(
    settings: Any, metadata: MetadataServer
) -> None:
    settings.CLOUDTASK = ALL
    metadata.answer = lambda key: Told(hang=True)
    answers: list[Answer] = []
    started = monotonic()

    def dispatch() -> None:
        for _ in range(5):
            answers.append(send_wsgi(SECRET_ONLY, payload()))

    threads = [threading.Thread(target=dispatch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(unavailable(answer) for answer in answers)
    assert len(answers) == 40
    # Forty answers of a second each, or eight, would be more.
    assert monotonic() - started < 6
    assert len(metadata.asked) < 4


# What is enqueued


ENQUEUE: dict[str, Callable[[], Any]] = {
    "SDK": lambda: sdk.add(1, 2).delay(),
    "SDK, async": lambda: asyncio.run(sdk.add(1, 2).adelay()),
    "Django": lambda: django_tasks.add.enqueue(1, 2),
    "Django, async": lambda: asyncio.run(django_tasks.add.aenqueue(1, 2)),
}
WHOLE = {
    "PROJECT": "shop",
    "LOCATION": "europe-west1",
    "QUEUE": "default",
    "URL": "https://shop.example/_tasks/",
    "SAE": EMAIL,
    "SECRET": SECRET,
}


@pytest.mark.parametrize("missing", ["PROJECT", "LOCATION", "URL", "SAE"])
@pytest.mark.parametrize("enqueue", ENQUEUE.values(), ids=ENQUEUE)
def test_what_cannot_be_enqueued_may_be_enqueued_later(
    settings: Any, fails: MetadataServer, enqueue: Callable[[], Any], missing: str
) -> None:
    settings.CLOUDTASK = {k: v for k, v in WHOLE.items() if k != missing}

    with pytest.raises(ServiceUnavailable) as caught:
        enqueue()

    error = caught.value
    assert isinstance(error, EnqueueError)
    assert error.retryable
    assert error.queue_path.endswith("/queues/default")
    message = str(error)
    assert f".add was not sent: CLOUDTASK[{missing!r}] is not set, and " in message
    assert f"the metadata server at {fails.address} is of no help: " in message
    assert f"Set {missing}, and it need not be asked." in message
    assert SECRET not in message


@pytest.mark.parametrize("enqueue", ENQUEUE.values(), ids=ENQUEUE)
def test_the_next_task_is_enqueued_once_it_answers(
    settings: Any,
    fails: MetadataServer,
    recover: Callable[[MetadataServer], None],
    enqueue: Callable[[], Any],
) -> None:
    settings.CLOUDTASK = {"QUEUE": "default", "TRANSPORT": PLACED}
    with pytest.raises(ServiceUnavailable):
        enqueue()
    recover(fails)
    enqueue()

    transport = get_transport(task_backends["default"].settings)
    assert isinstance(transport, MemoryTransport)
    [sent] = transport.tasks
    assert sent.sent.route.queue_path == (
        "projects/shop/locations/europe-west1/queues/default"
    )
    assert sent.sent.route.url == (
        "https://web-123456789012.europe-west1.run.app/_tasks/"
    )
    assert sent.sent.route.oidc is not None
    assert sent.sent.route.oidc.email == EMAIL


def test_the_setting_of_a_backend_is_named(
    settings: Any, fails: MetadataServer
) -> None:
    settings.CLOUDTASK = {k: v for k, v in WHOLE.items() if k != "PROJECT"}
    settings.TASKS = {**TASKS, **with_options("reports", RUN_ONCE=True, **THEIRS)}

    with pytest.raises(ServiceUnavailable) as caught:
        django_tasks.add.using(backend="reports").enqueue()
    assert "TASKS['reports']['OPTIONS']['PROJECT'] is not set" in str(caught.value)


def test_what_is_set_is_not_asked_for(settings: Any, fails: MetadataServer) -> None:
    settings.CLOUDTASK = {**WHOLE, "TRANSPORT": PLACED}
    for enqueue in ENQUEUE.values():
        enqueue()
    assert fails.asked == []


def test_system_checks_ask_nobody(settings: Any, fails: MetadataServer) -> None:
    settings.CLOUDTASK = {"AUTH": "all", "SECRET": SECRET, "SIGN": False}
    settings.TASKS = {**TASKS, **with_options("reports", **THEIRS)}
    checks.run_checks(include_deployment_checks=True)

    assert fails.asked == []
