"""A PostgreSQL database for one run of a benchmark."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOST = os.environ.get("PGHOST", "127.0.0.1")
_USER = os.environ.get("PGUSER", "postgres")


@contextmanager
def postgresql() -> Iterator[dict[str, Any]]:
    """
    An empty database, which is dropped at the end.

    Returns:
        Its entry in DATABASES.
    """
    import psycopg  # type: ignore[import-not-found, unused-ignore]

    name = f"cloudtask_benchmark_{os.getpid()}"
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    with psycopg.connect(
        host=_HOST, user=_USER, dbname="postgres", autocommit=True
    ) as server:
        server.execute(drop)
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield entry(name)
        finally:
            server.execute(drop)


def entry(name: str) -> dict[str, Any]:
    """A database's entry in DATABASES, with connections that stay open."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "HOST": _HOST,
        "USER": _USER,
        "CONN_MAX_AGE": None,
    }
