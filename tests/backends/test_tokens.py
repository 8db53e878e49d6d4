"""Backends that tell their service accounts apart by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloudtask.auth import tokens
from cloudtask.framework import task_backends
from cloudtask.testing import memory_queue
from cloudtask.transports.google import GoogleTransport
from cloudtask.transports.memory import StoredTask
from tests.backends import tasks
from tests.backends.samples import BACKEND, TASKS, THEIRS, dispatch
from tests.clocks import set_clock
from tests.security.keyserver import KeyServer, serve
from tests.security.sending import FORBIDDEN, Send
from tests.security.tokens import (
    ABSENT,
    AUDIENCE,
    EMAIL,
    NOW,
    TOKENS_ONLY,
    Token,
    bearer,
    claims,
    forged,
)
from tests.tasks import ran

REPORTS = "reports@shop.iam.gserviceaccount.com"


@pytest.fixture(autouse=True)
def keys(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """Google's keys, for two backends with a service account each."""
    set_clock(monkeypatch, lambda: NOW)
    settings.CLOUDTASK = {**TOKENS_ONLY, "PROJECT": "p", "LOCATION": "l"}
    settings.TASKS = {
        **TASKS,
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"SAE": REPORTS, **THEIRS}},
        "own": {
            "BACKEND": BACKEND,
            "OPTIONS": {"AUDIENCE": ["own", "former"], **THEIRS},
        },
    }
    with serve() as server:
        monkeypatch.setattr(tokens, "GOOGLE_KEYS_URL", server.url)
        yield server


def stored(alias: str = "default") -> StoredTask:
    with memory_queue() as queue:
        tasks.add.using(backend=alias).enqueue(1, 2)
    return queue.tasks[-1]


def token(**changes: Any) -> dict[str, str]:
    return bearer(Token(claims=claims(**changes)))


@pytest.mark.parametrize(
    ("alias", "changes"),
    [
        ("default", {}),
        ("reports", {"email": REPORTS}),
        ("own", {"aud": "own"}),
        ("own", {"aud": "former"}),
    ],
)
def test_the_token_of_its_service_account_opens_a_backend(
    send: Send, alias: str, changes: dict[str, Any]
) -> None:
    assert dispatch(send, stored(alias), **token(**changes)).status == 200
    assert ran == [("add", 1, 2)]


@pytest.mark.parametrize(
    ("alias", "changes"),
    [
        ("default", {"email": REPORTS}),
        ("reports", {"email": EMAIL}),
        ("own", {"aud": AUDIENCE}),
        ("default", {"aud": "own"}),
        # Made for nobody in particular.
        ("default", {"aud": ABSENT}),
        ("reports", {"aud": ABSENT, "email": REPORTS}),
        ("own", {"aud": ABSENT}),
        ("default", {"aud": None}),
        ("default", {"aud": ""}),
    ],
)
def test_other_tokens_open_none(
    send: Send, keys: KeyServer, alias: str, changes: dict[str, Any]
) -> None:
    assert dispatch(send, stored(alias), **token(**changes)) == FORBIDDEN
    assert ran == keys.fetched == []


def test_a_token_that_one_backend_remembers_says_nothing_to_another(
    send: Send,
) -> None:
    assert dispatch(send, stored(), **token()).status == 200
    ran.clear()

    assert dispatch(send, stored("reports"), **token()) == FORBIDDEN
    assert ran == []


def test_keys_are_fetched_once(send: Send, keys: KeyServer) -> None:
    for number in range(5):
        assert dispatch(send, stored(), **token(sub=str(number))).status == 200
        headers = token(email=REPORTS, sub=str(number))
        assert dispatch(send, stored("reports"), **headers).status == 200
    forgery = bearer(Token(sign=forged))
    assert dispatch(send, stored(), **forgery) == FORBIDDEN

    assert keys.fetched == ["/certs"]
    assert len(ran) == 10


def test_all_may_be_asked_for(send: Send, settings: Any) -> None:
    secret = "the secret of the reports, 32 b."
    options = {"SAE": REPORTS, "SECRET": secret, "AUTH": "all", **THEIRS}
    settings.TASKS = {"reports": {"BACKEND": BACKEND, "OPTIONS": options}}
    sent = stored("reports")
    secrets = {"X-Task-Secret": secret, **sent.sent.headers}
    headers = {**token(email=REPORTS), **secrets}
    assert len(headers) == 3

    for name in headers:
        others = {key: value for key, value in headers.items() if key != name}
        assert dispatch(send, sent, **others) == FORBIDDEN
    assert ran == []
    assert dispatch(send, sent, **headers).status == 200


def test_tokens_are_asked_for_with_the_service_account_of_the_backend() -> None:
    targets = {
        alias: GoogleTransport(backend.settings).target(backend.settings)
        for alias in ("default", "reports", "own")
        for backend in [task_backends[alias]]
    }

    oidc = {alias: target.oidc for alias, target in targets.items()}
    assert {
        alias: (each.email, each.audience) for alias, each in oidc.items() if each
    } == {
        "default": (EMAIL, AUDIENCE),
        "reports": (REPORTS, AUDIENCE),
        "own": (EMAIL, "own"),
    }
