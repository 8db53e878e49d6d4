"""The signatures of Django tasks: each opens its own backend's door alone."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from cloudtask import auth
from cloudtask.auth import signing
from cloudtask.testing import memory_queue
from cloudtask.transports.in_process import make_meta
from cloudtask.transports.memory import StoredTask
from tests.backends import tasks
from tests.backends.samples import (
    BACKEND,
    FIRST_SECRET,
    SECOND_SECRET,
    TASKS,
    dispatch,
)
from tests.security.sending import FORBIDDEN, Send, Unreadable
from tests.tasks import add, ran

#: As nobody would call it.
STRANGE = "é/a b."
FORMER = "a former secret, of 32 bytes...."


@pytest.fixture(autouse=True)
def _backends(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.backends.urls"
    settings.CLOUDTASK = {"PROJECT": "p", "LOCATION": "l", "QUEUE": "default"}
    settings.TASKS = {
        **TASKS,
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"PROJECT": "reports"}},
        STRANGE: {"BACKEND": BACKEND},
    }


def stored(alias: str = "default") -> StoredTask:
    with memory_queue() as queue:
        tasks.add.using(backend=alias).enqueue(1, 2)
    return queue.tasks[-1]


@pytest.mark.parametrize("alias", ["default", "reports", STRANGE])
def test_a_task_is_known_by_its_signature_alone(send: Send, alias: str) -> None:
    sent = stored(alias)

    assert dispatch(send, sent) == FORBIDDEN
    assert dispatch(send, sent, **sent.sent.headers).status == 200
    assert ran == [("add", 1, 2)]


@pytest.mark.parametrize("header", ["reports", "default", "", None])
def test_a_route_of_its_own_knows_whose_it_is(send: Send, header: str | None) -> None:
    sent = stored("reports")
    headers = {"X-Task-Backend": header} if header is not None else {}
    without = "X-Task-Backend" if header is None else ""
    answer = dispatch(
        *(send, sent),
        path="/_reports/",
        without=without,
        **{**headers, **sent.sent.headers},
    )

    assert answer.status == 200


@pytest.mark.parametrize(
    ("alias", "path", "header"),
    [
        ("default", "/_tasks/", "reports"),
        ("default", "/_tasks/", STRANGE),
        ("default", "/_tasks/", ""),
        ("default", "/_reports/", "default"),
        ("reports", "/_tasks/", "default"),
    ],
)
def test_a_signature_opens_no_other_backend_and_no_body_is_read_for_it(
    send: Send, alias: str, path: str, header: str
) -> None:
    sent = stored(alias)
    headers = {
        **sent.sent.headers,
        "X-Task-Backend": quote(header),
    }

    assert send(headers, Unreadable(), path=path) == FORBIDDEN


def test_a_task_of_ours_and_one_of_djangos_are_told_apart(send: Send) -> None:
    with memory_queue() as queue:
        add(1, 2).delay()
    [ours] = queue.tasks
    theirs = stored("default")

    headers = {"X-Task-Backend": "default"}
    assert send({**ours.sent.headers, **headers}, Unreadable()) == FORBIDDEN
    assert send(theirs.sent.headers, Unreadable()) == FORBIDDEN
    assert send(ours.sent.headers, ours.sent.body).status == 200


def test_a_backend_may_have_keys_of_its_own(send: Send, settings: Any) -> None:
    options = {"SIGN_KEYS": ["r" * 24], "ACCEPTS_TASKS_OF": ["default"]}
    settings.TASKS = {
        **settings.TASKS,
        "reports": {"BACKEND": BACKEND, "OPTIONS": options},
    }
    sent = stored("reports")
    assert dispatch(send, sent, **sent.sent.headers).status == 200

    settings.TASKS = {**settings.TASKS, "reports": TASKS["default"]}
    anothers = dispatch(send, sent, **sent.sent.headers)

    assert anothers == FORBIDDEN


@pytest.mark.parametrize("kind", ["former secret", "former key", "key"])
def test_what_the_project_accepts_beside_opens_no_backend_with_a_secret(
    send: Send, settings: Any, kind: str
) -> None:
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "SECRET": FIRST_SECRET,
        "SECRET_FALLBACKS": [FORMER],
        "SIGN_KEYS": ["k" * 24, FORMER],
    }
    options = {"SECRET": SECOND_SECRET, "ACCEPTS_TASKS_OF": ["default"]}
    settings.TASKS = {"reports": {"BACKEND": BACKEND, "OPTIONS": options}}
    sent = stored("reports")
    text = sent.sent.headers["X-Task-Signature"].rpartition(".")[0]

    def made_with(key: str) -> dict[str, str]:
        mac = signing._make_mac(signing._derive(key), text, "reports")
        return {"X-Task-Signature": f"{text}.{mac}"}

    headers = {
        "former secret": {"X-Task-Secret": FORMER},
        "former key": made_with(FORMER),
        "key": made_with("k" * 24),
    }[kind]

    assert dispatch(send, sent, **headers) == FORBIDDEN
    assert dispatch(send, sent, **sent.sent.headers).status == 200
    assert dispatch(send, sent, X_Task_Secret=SECOND_SECRET).status == 200


def test_a_dispatch_in_memory_brings_the_signature_along() -> None:
    with memory_queue() as queue:
        add(1, 2).delay()
        [stored] = queue.tasks
        meta = make_meta(stored.sent, stored.name, due=stored.due)

    assert meta["HTTP_X_TASK_SIGNATURE"] == stored.sent.headers["X-Task-Signature"]
    assert auth.recognise(meta, queue.settings) is not None
