"""A credential opens what it was made for, and nothing beyond."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings

from cloudtask.auth import authenticator
from cloudtask.backends import CloudTasksBackend, definitions
from cloudtask.checks import check_backend
from cloudtask.framework import InvalidTask, Task, task_backends
from cloudtask.testing import memory_queue
from cloudtask.wire.payload import decode
from tests.security.sending import FORBIDDEN, Answer, Send
from tests.security.sending import payload as sdk_payload
from tests.tasks import ran

BACKEND = "cloudtask.backends.CloudTasksBackend"
FRAMEWORK = Task.__module__.rpartition(".")[0]
DEFAULT_SECRET = "the secret of the first backend.."
VAULT_SECRET = "another secret, of the vault alone"
SECRETS = {"default": DEFAULT_SECRET, "vault": VAULT_SECRET}
PLACE = {
    "PROJECT": "shop",
    "LOCATION": "europe-west1",
    "URL": "https://shop.example/_tasks/",
    "SECRET": DEFAULT_SECRET,
}


def backends(**vault: Any) -> dict[str, Any]:
    """TASKS with a vault that has these OPTIONS."""
    return {
        "default": {"BACKEND": BACKEND},
        "vault": {"BACKEND": BACKEND, "OPTIONS": vault},
        "elsewhere": {"BACKEND": f"{FRAMEWORK}.backends.dummy.DummyBackend"},
    }


TASKS = backends(SECRET=VAULT_SECRET)

with override_settings(TASKS=TASKS):
    from tests.security import vault


@pytest.fixture(autouse=True)
def _two_backends(settings: Any) -> Any:
    settings.ROOT_URLCONF = "tests.security.vault_urls"
    settings.CLOUDTASK = PLACE
    settings.TASKS = TASKS
    yield
    definitions._shared.clear()
    authenticator._get_authenticator._made.clear()


def body(name: str, backend: str, **changes: Any) -> bytes:
    return sdk_payload(
        f"tests.security.vault.{name}",
        kind="django",
        backend=backend,
        using={"queue_name": "default", "priority": 0},
        **changes,
    )


def post(send: Send, name: str, backend: str, path: str = "/_tasks/") -> Answer:
    """Send a task through a backend, with that one's credentials."""
    headers = {"X-Task-Secret": SECRETS[backend], "X-Task-Backend": backend}
    return send(headers, body(name, backend), path=path)


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def problem(name: str, home: str, backend: str) -> str:
    return (
        f"tests.security.vault.{name} is declared for the backend {home!r}, and does "
        f"not run through {backend!r}, which accepts other credentials. Give both the "
        f"same, or list {home!r} in "
        f"TASKS[{backend!r}]['OPTIONS']['ACCEPTS_TASKS_OF']."
    )


# Dispatches


@pytest.mark.parametrize(
    ("name", "backend"), [("mine", "default"), ("theirs", "vault")]
)
@pytest.mark.parametrize("path", ["/_tasks/", "/{}/_tasks/"])
def test_a_task_runs_through_its_own_backend(
    send: Send, name: str, backend: str, path: str
) -> None:
    assert post(send, name, backend, path.format(backend)).status == 200
    assert ran == [(name, "")]


@pytest.mark.parametrize(
    ("name", "backend", "home"),
    [
        ("theirs", "default", "vault"),
        ("mine", "vault", "default"),
        ("foreign", "default", "elsewhere"),
        ("foreign", "vault", "elsewhere"),
    ],
)
@pytest.mark.parametrize("path", ["/_tasks/", "/{}/_tasks/"])
def test_a_task_does_not_run_through_another_backend(
    send: Send,
    caplog: pytest.LogCaptureFixture,
    name: str,
    backend: str,
    home: str,
    path: str,
) -> None:
    assert post(send, name, backend, path.format(backend)) == FORBIDDEN
    assert ran == []
    assert refusals(caplog) == [
        f"refused a dispatch: {problem(name, home, backend)!r}",
    ]


@pytest.mark.parametrize("name", ["former", "disguised", "renamed"])
def test_another_name_for_a_task_leads_across_no_border(send: Send, name: str) -> None:
    assert post(send, name, "default") == FORBIDDEN
    assert ran == []


@pytest.mark.parametrize("name", ["former", "renamed"])
def test_another_name_for_a_task_leads_to_it(send: Send, name: str) -> None:
    assert post(send, name, "vault").status == 200


def test_no_backend_runs_tasks_of_ours(send: Send) -> None:
    for backend, kind in (("vault", "cloudtask"), ("default", "cloudtask")):
        headers = {"X-Task-Secret": SECRETS[backend], "X-Task-Backend": backend}
        answer = send(headers, sdk_payload(kind=kind, backend=backend))
        assert answer.status in (400, 404)
    django = json.loads(body("theirs", "vault")) | {"backend": None}
    answer = send({"X-Task-Secret": DEFAULT_SECRET}, json.dumps(django).encode())
    assert answer.status == 404
    assert ran == []


def test_a_task_of_a_backend_that_is_gone_runs_through_no_other(
    send: Send, settings: Any
) -> None:
    settings.TASKS = {"default": {"BACKEND": BACKEND}}

    assert post(send, "theirs", "default") == FORBIDDEN


# What is the same


SAME: dict[str, dict[str, Any]] = {
    "no options": {},
    "the same secret": {"SECRET": DEFAULT_SECRET},
    "another place": {"PROJECT": "other", "LOCATION": "us-east1", "RUN_ONCE": True},
    # Without a service account nobody is let in by a token.
    "another audience, which nobody is asked for": {"AUDIENCE": "a"},
    "named": {"SECRET": VAULT_SECRET, "ACCEPTS_TASKS_OF": ["default"]},
}
OTHER: dict[str, dict[str, Any]] = {
    "another secret": {"SECRET": VAULT_SECRET},
    "one more secret": {"SECRET_FALLBACKS": [VAULT_SECRET]},
    "a service account": {"SAE": "vault@shop.iam.gserviceaccount.com"},
    "both asked for": {"AUTH": "all"},
    "a class": {"AUTH": "tests.backends.authenticators.ByHeader"},
    "an emulator": {"EMULATOR_HOST": "127.0.0.1:8123"},
    "another one named": {"SECRET": VAULT_SECRET, "ACCEPTS_TASKS_OF": ["elsewhere"]},
}


def crosses(options: dict[str, Any]) -> bool:
    """Whether a task of the first backend is enqueued through the other."""
    with override_settings(TASKS=backends(**options)), memory_queue() as queue:
        vault.mine.using(backend="vault").enqueue()
        [task] = queue.tasks
        return task.payload.backend == "vault"


@pytest.mark.parametrize("options", SAME.values(), ids=SAME)
def test_where_credentials_are_the_same_there_is_no_border(
    options: dict[str, Any],
) -> None:
    assert crosses(options)


@pytest.mark.parametrize("options", OTHER.values(), ids=OTHER)
def test_whatever_differs_in_credentials_is_a_border(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidTask, match="ACCEPTS_TASKS_OF"):
        crosses(options)


@pytest.mark.parametrize(
    ("base", "options", "is_border"),
    [
        ({"SAE": "a@b.c"}, {"AUDIENCE": "https://shop.example/_tasks/"}, False),
        ({"SAE": "a@b.c"}, {"AUDIENCE": "another"}, True),
        ({"SAE": "a@b.c"}, {"URL": "https://shop.example/vault/"}, True),
        ({"SAE": "a@b.c", "AUDIENCE": "x"}, {"URL": "https://shop.example/v/"}, False),
        ({"AUTH": "a.b", "AUTH_PARAMS": {"k": 1}}, {"AUTH_PARAMS": {"k": 2}}, True),
        ({"AUTH": "a.b", "AUTH_PARAMS": {"k": 1}}, {"AUTH_PARAMS": {"k": 1}}, False),
        ({"SECRET_FALLBACKS": ["a" * 32]}, {"SECRET_FALLBACKS": ["a" * 32]}, False),
        ({}, {"SIGN": True}, False),
        ({}, {"SIGN": False}, True),
        ({}, {"SIGN_KEYS": ["a" * 32]}, True),
        ({"SIGN_KEYS": ["a" * 32]}, {"SIGN_KEYS": ["a" * 32]}, False),
    ],
)
def test_an_audience_counts_where_tokens_do(
    settings: Any, base: dict[str, Any], options: dict[str, Any], is_border: bool
) -> None:
    settings.CLOUDTASK = PLACE | base
    settings.TASKS = backends(**options)
    here, there = (task_backends[alias].settings for alias in ("default", "vault"))

    differ = here.accepted_credentials() != there.accepted_credentials()
    assert differ is is_border


# Enqueueing


ENQUEUE: list[Callable[[Any], Any]] = [
    lambda task: task.enqueue("x"),
    lambda task: asyncio.run(task.aenqueue("x")),
]


@pytest.mark.parametrize("enqueue", ENQUEUE, ids=["sync", "async"])
@pytest.mark.parametrize(
    ("name", "home", "backend"),
    [
        ("mine", "default", "vault"),
        ("theirs", "vault", "default"),
        ("foreign", "elsewhere", "default"),
    ],
)
def test_a_task_is_not_enqueued_across_a_border(
    enqueue: Callable[[Any], Any], name: str, home: str, backend: str
) -> None:
    task = getattr(vault, name).using(backend=backend)
    with memory_queue() as queue, pytest.raises(InvalidTask) as caught:
        enqueue(task)

    assert str(caught.value) == problem(name, home, backend)
    assert queue.tasks == []


def test_what_the_settings_allow_by_name_is_enqueued_and_run(
    send: Send, settings: Any
) -> None:
    settings.TASKS = backends(
        SECRET=VAULT_SECRET, ACCEPTS_TASKS_OF=["default", "elsewhere"]
    )
    with memory_queue() as queue:
        vault.mine.using(backend="vault").enqueue("x")
        vault.foreign.using(backend="vault").enqueue()
    for task in queue.tasks:
        headers = {**task.sent.route.headers, "X-Task-Secret": VAULT_SECRET}
        assert send(headers, task.sent.body).status == 200
    assert ran == [("mine", "x"), ("foreign",)]

    # It is no way back.
    with pytest.raises(InvalidTask):
        vault.theirs.using(backend="default").enqueue()
    assert post(send, "theirs", "default") == FORBIDDEN


def test_a_task_that_was_kept_is_not_sent_across_a_border() -> None:
    backend = task_backends["default"]
    assert isinstance(backend, CloudTasksBackend)

    with pytest.raises(InvalidTask, match=r"'vault'.*'default'"):
        backend.route(decode(body("theirs", "default")))


def test_a_name_that_is_no_backend_is_told() -> None:
    [message] = check_backend("vault", {"ACCEPTS_TASKS_OF": ["default", "defualt"]}, [])

    assert message.id == "cloudtask.W027"
    assert message.msg == (
        "TASKS['vault']['OPTIONS']['ACCEPTS_TASKS_OF'] names what TASKS does not have: "
        "'defualt'."
    )
