"""The dispatch view beside a bare view that parses JSON, under gunicorn."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from time import time
from typing import TYPE_CHECKING

from benchmarks.measure import Result, seconds_each
from benchmarks.serving import DISPATCHED, EMAIL, SECRET, URL, keys, post, served
from cloudtask.emulator.identity.tokens import TokenIssuer

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator


def run() -> Iterator[Result]:
    issuer = TokenIssuer()
    token = issuer.id_token(EMAIL, URL, int(time() * 1_000_000))
    with keys(issuer) as host:
        environment = {"BENCHMARK_KEYS_HOST": host}
        with served("benchmarks.server:application", environment) as connection:
            yield from _compare(connection, token)


def _compare(connection: http.client.HTTPConnection, token: str) -> Iterator[Result]:
    body = _payload()
    secret = {**DISPATCHED, "X-Task-Secret": SECRET}
    signed = {**DISPATCHED, "Authorization": f"Bearer {token}"}
    send = partial(post, connection)
    times = seconds_each(
        {
            "bare, secret": partial(send, "/bare/", body, secret),
            "secret": partial(send, "/_tasks/", body, secret),
            "bare, token": partial(send, "/bare/", body, signed),
            "token": partial(send, "/_tasks/", body, signed),
        }
    )
    for name, limit in (("secret", 0.85), ("token", 0.8)):
        bare = times[f"bare, {name}"]
        yield Result(
            f"dispatch with {name} / bare JSON view, req/s",
            bare / times[name],
            limit,
            False,
            f"{1 / times[name]:.0f}/s / {1 / bare:.0f}/s",
        )


def _payload() -> bytes:
    from cloudtask.wire.payload import Payload, encode, new_id

    return encode(
        Payload(
            id=new_id(),
            task="benchmarks.tasks.noop",
            kwargs={"a": 1},
            enqueued_at=datetime.now(UTC),
        )
    )
