"""What ends connections to a database, and what is posted to the views."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient

from tests.results.samples import SECRET, meta, post, row

#: Seconds for what takes none.
PATIENCE = 10

_MY_ID = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
_DROP = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL CONNECTION %s"}


def wait_for(condition: Callable[[], object]) -> None:
    deadline, tick = monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert monotonic() < deadline
        tick.wait(0.01)


@contextmanager
def other_connection(name: str | None = None) -> Iterator[Any]:
    """A cursor of another connection, to a database of the same server."""
    other = connection.copy()
    if name is not None:
        other.settings_dict = {**other.settings_dict, "NAME": name}
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


def drop_connection() -> None:
    """Have the server end this thread's connection, which nothing tells."""
    with connection.cursor() as cursor:
        cursor.execute(_MY_ID[connection.vendor])
        [id] = cursor.fetchone()  # noqa: A001
    with other_connection() as cursor:
        cursor.execute(_DROP[connection.vendor], [id])


def drop_other_connections() -> None:
    """Have the server end all connections but this thread's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@contextmanager
def away_for(seconds: float) -> Iterator[None]:
    """Have the server refuse connections to this database for a while."""
    name = connection.settings_dict["NAME"]

    def allow(*, is_allowed: bool) -> None:
        with other_connection("postgres") as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {is_allowed}')

    allow(is_allowed=False)
    back = threading.Timer(seconds, allow, kwargs={"is_allowed": True})
    back.start()
    try:
        yield
    finally:
        back.join()


def post_async(id: str, attempt: int = 1) -> Any:  # noqa: A002
    """Dispatch a task over ASGI."""
    found = row(id)
    headers = {"HTTP_X_TASK_BACKEND": found.backend} if found.backend else {}
    environ: dict[str, Any] = {"HTTP_X_TASK_SECRET": SECRET, **meta(attempt), **headers}
    names = {
        name.removeprefix("HTTP_").replace("_", "-"): value
        for name, value in environ.items()
    }
    return async_to_sync(AsyncClient().post)(
        "/_tasks/", found.body, content_type="application/json", headers=names
    )


#: By the kind of server.
POSTS: dict[str, Callable[..., Any]] = {"wsgi": post, "asgi": post_async}
