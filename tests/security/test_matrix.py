"""
Every secret, signature and token beside every other, under each AUTH.

What lets a dispatch in is said once, by `is_let_in`. All others get one same
refusal, for which nothing is read, asked or fetched that need not be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from cloudtask import auth
from cloudtask.testing import memory_queue
from cloudtask.wire.outgoing import OutgoingTask
from tests import tasks
from tests.clocks import set_clock
from tests.security.keyserver import KeyServer
from tests.security.sending import FORBIDDEN, Unreadable, asend, send_wsgi
from tests.security.tokens import (
    AUDIENCE,
    EMAIL,
    NOW,
    SECRET,
    Token,
    bearer,
    claims,
    forged,
)

FORMER = "a former one, of 32 bytes and more"
STRANGERS = "a stranger's, of 32 bytes and more"
OWN = "this project's own, of 32 bytes and more"
DAY = 86_400

#: What each credential may be, and whether it holds.
SECRETS: dict[str, tuple[dict[str, str], bool]] = {
    "right": ({"X-Task-Secret": SECRET}, True),
    "former": ({"X-Task-Secret": FORMER}, True),
    "wrong": ({"X-Task-Secret": STRANGERS}, False),
    "missing": ({}, False),
}
TOKENS: dict[str, tuple[dict[str, str], bool]] = {
    "right": (bearer(Token()), True),
    "former": (bearer(Token(claims=claims(aud="https://former.example/"))), True),
    "wrong": (bearer(Token(sign=forged)), False),
    "another's": (bearer(Token(claims=claims(email="x@shop.example"))), False),
    "stripped": (
        bearer(f"{str(Token()).rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"),
        False,
    ),
    "missing": ({}, False),
}
#: Those about which a key has to be asked.
KEYS_NEEDED = {"right", "former", "wrong"}


@dataclass(frozen=True)
class Signatures:
    """The headers by what is wrong with them, and the body they come with."""

    body: bytes
    headers: Mapping[str, tuple[dict[str, str], bool]]


CREDENTIALS = {
    "SECRET": {"SECRET": SECRET, "SECRET_FALLBACKS": [FORMER]},
    "SIGN": {"SIGN": True},
    "SAE": {"SAE": EMAIL},
}
CONFIGURED = [
    tuple(name for name, is_set in zip(CREDENTIALS, chosen, strict=True) if is_set)
    for chosen in product([True, False], repeat=3)
]


def configured(*names: str, auth: str = "any") -> dict[str, Any]:
    """CLOUDTASK that knows these credentials."""
    raw: dict[str, Any] = {
        "AUTH": auth,
        "AUDIENCE": [AUDIENCE, "https://former.example/"],
        "URL": AUDIENCE,
        "QUEUE": "default",
        "SIGN": False,
    }
    for name in names:
        raw |= CREDENTIALS[name]
    return raw


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time of day by which signatures are made and checked."""

    class Clock:
        now = NOW

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    set_clock(monkeypatch, clock)
    return clock


@pytest.fixture(autouse=True)
def _own_key(settings: Any) -> None:
    settings.SECRET_KEY = OWN
    settings.SECRET_KEY_FALLBACKS = [FORMER]


def enqueued(settings: Any, a: int = 5, **raw: Any) -> OutgoingTask:
    """A task as it is sent, when CLOUDTASK is so."""
    former = settings.CLOUDTASK
    settings.CLOUDTASK = {**configured("SIGN"), **raw}
    with memory_queue() as queue:
        tasks.add(a).delay()
        [stored] = queue.tasks
    settings.CLOUDTASK = former
    return stored.sent


@pytest.fixture
def signatures(settings: Any, clock: Any) -> Signatures:
    right = enqueued(settings)
    [(name, value)] = right.headers.items()
    assert name == "X-Task-Signature"
    stranger = enqueued(settings, SIGN_KEYS=[STRANGERS])
    clock.now = NOW - 31 * DAY - 1
    old = enqueued(settings)
    clock.now = NOW
    settings.SECRET_KEY = FORMER
    former = enqueued(settings)
    settings.SECRET_KEY = OWN
    text, _, _ = value.rpartition(".")

    def of(header: str, holds: bool = False) -> tuple[dict[str, str], bool]:
        return {name: header}, holds

    # One body for all: a signature is for it, or it is wrong.
    assert len({each.body for each in (right, stranger, old, former)}) == 4
    return Signatures(
        right.body,
        {
            "right": of(value, True),
            "wrong": of(f"{text}.{stranger.headers[name].rpartition('.')[2]}"),
            "another's": of(former.headers[name]),
            "expired": of(old.headers[name]),
            "stripped": of(f"{text}."),
            "missing": ({}, False),
        },
    )


def is_let_in(mode: str, names: tuple[str, ...], holds: Mapping[str, bool]) -> bool:
    """The rule: any one of those that are configured, or all of them."""
    held = [holds[name] for name in names]
    return any(held) if mode == "any" else bool(held) and all(held)


def cells_of(names: tuple[str, ...], signatures: Signatures) -> Iterator[Any]:
    """All that may be sent. Of what is not configured, right ones and none."""
    kinds = {"SECRET": SECRETS, "SIGN": signatures.headers, "SAE": TOKENS}
    for cell in product(*kinds.values()):
        each = dict(zip(kinds, cell, strict=True))
        if all(k in names or each[k] in ("right", "missing") for k in kinds):
            found = {k: kinds[k][each[k]] for k in kinds}
            headers = [headers for headers, _ in found.values()]
            merged = {k: v for each in headers for k, v in each.items()}
            yield each, merged, {k: holds for k, (_, holds) in found.items()}


@pytest.mark.parametrize("handler", ["wsgi", "asgi"])
@pytest.mark.parametrize("mode", ["any", "all"])
@pytest.mark.parametrize("names", CONFIGURED, ids=lambda n: "+".join(n) or "nothing")
def test_exactly_the_right_ones_are_let_in(
    google: KeyServer,
    settings: Any,
    signatures: Signatures,
    queries: list[str],
    names: tuple[str, ...],
    mode: str,
    handler: str,
) -> None:
    settings.CLOUDTASK = configured(*names, auth=mode)
    wrong: list[Any] = []
    let_in = 0

    def judge() -> Iterator[Any]:
        """Gives what is to be sent, and gets each answer."""
        nonlocal let_in
        for cell, headers, holds in cells_of(names, signatures):
            auth.forget_keys()
            google.fetched.clear()
            expected = is_let_in(mode, names, holds)
            let_in += expected
            # That a signature is another body's can be told by the body alone.
            is_read = expected or ("SIGN" in names and cell["SIGN"] == "another's")
            answer = yield headers, signatures.body if is_read else Unreadable()
            if (answer.status == 200) is not expected:
                wrong.append((cell, answer))
            if not expected and answer != FORBIDDEN:
                wrong.append((cell, answer))
            if google.fetched and cell["SAE"] not in KEYS_NEEDED:
                wrong.append((cell, "keys were fetched"))

    if handler == "wsgi":
        _converse(judge(), send_wsgi)
    else:
        asyncio.run(_aconverse(judge(), asend))

    assert wrong == []
    assert len(tasks.ran) == let_in
    assert queries == []


def _converse(cells: Any, send: Any) -> None:
    answer = None
    with suppress(StopIteration):
        while True:
            answer = send(*cells.send(answer))


async def _aconverse(cells: Any, send: Any) -> None:
    answer = None
    with suppress(StopIteration):
        while True:
            answer = await send(*cells.send(answer))
