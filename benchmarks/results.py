"""
The dispatch of a task whose result is kept, on PostgreSQL.

Beside the same view that keeps nothing, and beside django-tasks-google, where
it is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from time import time
from typing import TYPE_CHECKING

from benchmarks import database, peers
from benchmarks.measure import Result, seconds_each
from benchmarks.serving import DISPATCHED, EMAIL, URL, keys, post, served
from cloudtask.emulator.identity.tokens import TokenIssuer

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator, Mapping

#: Backends that keep results, and that keep none.
KEPT, PLAIN = "kept", "plain"
_ROUNDS, _CALLS, _WARM_UP = 60, 50, 300


def run() -> Iterator[Result]:
    # Of the issuer that django-tasks-google insists on.
    issuer = TokenIssuer("https://accounts.google.com")
    with database.postgresql() as entry, keys(issuer) as host:
        environment = {"BENCHMARK_DATABASE": entry["NAME"], "BENCHMARK_KEYS_HOST": host}
        bodies = _made(_ROUNDS * _CALLS + _WARM_UP, environment)
        with served("benchmarks.results_site:application", environment) as connection:
            yield from _compare(connection, issuer, bodies)


def _made(number: int, environment: Mapping[str, str]) -> dict[str, list[str]]:
    """So many tasks that wait for their dispatch: their bodies, by backend."""
    command = [sys.executable, "-m", "benchmarks.results_rows", str(number)]
    made = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env={**os.environ, **environment}
    )
    bodies: dict[str, list[str]] = json.loads(made.stdout)
    return bodies


def _compare(
    connection: http.client.HTTPConnection,
    issuer: TokenIssuer,
    bodies: Mapping[str, list[str]],
) -> Iterator[Result]:
    now = int(time() * 1_000_000)

    def dispatch(backend: str) -> Callable[[], None]:
        is_ours = backend in (KEPT, PLAIN)
        audience = URL if is_ours else peers.AUDIENCE
        headers = {
            **DISPATCHED,
            "Authorization": f"Bearer {issuer.id_token(EMAIL, audience, now)}",
            **({"X-Task-Backend": backend} if is_ours else peers.FORM),
        }
        path = "/_tasks/" if is_ours else peers.EXECUTE
        waiting = iter(bodies[backend])
        send = partial(post, connection, path)
        return lambda: send(next(waiting).encode(), headers)

    times = seconds_each(
        {backend: dispatch(backend) for backend in bodies},
        rounds=_ROUNDS,
        calls=_CALLS,
        warm_up=_WARM_UP,
    )
    for other in bodies:
        if other != KEPT:
            yield _result(times, other)


def _result(times: Mapping[str, float], other: str) -> Result:
    kept, beside = 1 / times[KEPT], 1 / times[other]
    name = "no results" if other == PLAIN else other
    return Result(
        f"dispatch with results / {name}, req/s",
        kept / beside,
        # What keeping costs is told, and not held to anything.
        0 if other == PLAIN else 2,
        False,
        f"{kept:.0f}/s / {beside:.0f}/s",
    )
