"""
Databases of their own, and threads and processes that want one row at once.

Each database is in the place of the default one while a test has it, so that
what is tested opens its connections to it as it always does.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import pytest
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections

from tests import settings

if TYPE_CHECKING:
    from cloudtask.wire.payload import Payload

#: Seconds for anything to happen, and the longest that rows may be locked.
PATIENCE = 10
#: Seconds for processes to start, on a machine that is busy.
STARTING = 60

_REPEATABLE_READ = {
    # Django's own option is for its transactions only.
    "postgresql": {"options": r"-c default_transaction_isolation=repeatable\ read"},
    "mariadb": {"isolation_level": "repeatable read"},
}
_SQLITE = {
    # Without the disk: it is not the power that fails here.
    "sqlite": "PRAGMA synchronous=OFF",
    "sqlite wal": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
}
#: Names of databases, with a server and without.
SERVERS = [
    *settings._SERVERS,
    *(f"{name} repeatable read" for name in _REPEATABLE_READ),
]
ON_DISK = list(_SQLITE)

_DROP = {
    # Whoever failed may have left a connection.
    "postgresql": "DROP DATABASE {} WITH (FORCE)",
    "mariadb": "DROP DATABASE {}",
}
_WAITING = {
    "postgresql": """
        SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN (
            SELECT pid FROM pg_stat_activity WHERE datname = current_database()
        )
    """,
    "mysql": """
        SELECT variable_value FROM information_schema.global_status
        WHERE variable_name = 'innodb_row_lock_current_waits'
    """,
}


def until(condition: Callable[[], object]) -> None:
    """
    Wait until it holds.

    Raises:
        TimeoutError: It does not within PATIENCE.
    """
    deadline = monotonic() + PATIENCE
    while not condition():
        if monotonic() > deadline:
            raise TimeoutError
        Event().wait(0.001)


Made = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def servers(django_db_blocker: Any) -> Iterator[Made]:
    """Settings of the databases on servers, by their servers."""
    found: Made = {}
    yield found
    with django_db_blocker.unblock():
        for server, configured in found.items():
            _on_its_server(configured, _DROP[server])


@pytest.fixture
def database(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    servers: Made,
    django_db_blocker: Any,
) -> Iterator[None]:
    """See databases(). Skipped where its server is not."""
    name = request.param
    with django_db_blocker.unblock():
        configured = (
            _on_disk(name, tmp_path) if name in _SQLITE else _on_server(name, servers)
        )
        with _default(configured):
            for app in ("cloudtask_results", "cloudtask_schedules"):
                call_command("migrate", app, verbosity=0)
            call_command(
                "flush", interactive=False, verbosity=0, inhibit_post_migrate=True
            )
            yield


def databases(*names: str) -> Callable[[Any], Any]:
    """Have a test run in each of these databases."""

    def mark(test: Any) -> Any:
        named = pytest.mark.parametrize("database", names, indirect=True)
        return pytest.mark.usefixtures("database")(named(test))

    return mark


def _on_disk(name: str, folder: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "db"),
        "OPTIONS": {"init_command": _SQLITE[name]},
    }


def _on_server(name: str, made: Made) -> dict[str, Any]:
    server, _, is_repeatable = name.partition(" ")
    if server not in made:
        made[server] = _made(server)
    options = _REPEATABLE_READ[server] if is_repeatable else {}
    return {
        **made[server],
        "OPTIONS": {**made[server].get("OPTIONS", {}), **options},
    }


def _made(server: str) -> dict[str, Any]:
    configured = {**settings._SERVERS[server]}
    address = (configured["HOST"], int(configured["PORT"]))
    _load_driver(server)
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        pytest.skip(f"no {server} at {address}: {error}")
    configured["NAME"] = f"cloudtask_rivals_{os.getpid()}"
    _on_its_server(configured, "CREATE DATABASE {}")
    return configured


def _load_driver(server: str) -> None:
    if server == "postgresql":
        pytest.importorskip("psycopg")
    else:
        pytest.importorskip("pymysql").install_as_MySQLdb()


def _on_its_server(configured: dict[str, Any], statement: str) -> None:
    with _default(configured):
        connection = connections[DEFAULT_DB_ALIAS]
        with connection._nodb_cursor() as cursor:
            cursor.execute(statement.format(configured["NAME"]))


@contextmanager
def _default(configured: dict[str, Any]) -> Iterator[None]:
    """For this thread, and for those that connect meanwhile."""
    before = connections.settings[DEFAULT_DB_ALIAS], connections[DEFAULT_DB_ALIAS]
    complete = connections.configure_settings({DEFAULT_DB_ALIAS: configured})
    connections.settings.update(complete)
    del connections[DEFAULT_DB_ALIAS]
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS].close()
        connections.settings[DEFAULT_DB_ALIAS], connections[DEFAULT_DB_ALIAS] = before


def keep(payloads: list[Payload], **values: Any) -> None:
    """Make rows of tasks."""
    # Not before the settings are there: processes load this first.
    from cloudtask.results.models import TaskRecord
    from cloudtask.wire.payload import encode

    fields = [
        {
            "id": payload.id,
            "path": payload.task,
            "kind": payload.kind,
            "queue": "default",
            "body": encode(payload).decode(),
            "enqueued_at": payload.enqueued_at,
            **values,
        }
        for payload in payloads
    ]
    rows = [TaskRecord(**each) for each in fields]
    TaskRecord.objects.bulk_create(rows, batch_size=500)


class Rival:
    """A thread with a connection of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def start(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        return self._pool.submit(function, *args)

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.start(function, *args).result(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.ask(connections.close_all)
        self._pool.shutdown()


class Watcher:
    """Sees, on a connection of its own, who waits for a row."""

    def __init__(self) -> None:
        self._connection = connections.create_connection(DEFAULT_DB_ALIAS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def __call__(self) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(_WAITING[self._connection.vendor])
            return int(cursor.fetchone()[0])


def execute(statement: str) -> None:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(statement)


def race(count: int, function: Callable[..., list[Any]], *args: Any) -> list[list[Any]]:
    """
    Call a function of a module in so many new processes of the project.

    Args:
        function: Gets a barrier for all of them, and the arguments.

    Returns:
        What it returned in each.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count, timeout=STARTING)
    configured = connections.settings[DEFAULT_DB_ALIAS]
    where = function.__module__, function.__name__
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=_take_part, args=(end, configured, where, barrier, args))
        for _, end in pipes
    ]
    for process in processes:
        process.start()
    for _, end in pipes:
        end.close()
    try:
        return [start.recv() for start, _ in pipes]
    finally:
        for process in processes:
            process.join()
        for start, _ in pipes:
            start.close()


def _take_part(
    end: Any, configured: dict[str, Any], where: tuple[str, str], *args: Any
) -> None:
    import django

    settings.DATABASES[DEFAULT_DB_ALIAS] = configured
    settings.CLOUDTASK["RESULTS"] = "all"
    os.environ["DJANGO_SETTINGS_MODULE"] = settings.__name__
    if "mysql" in configured["ENGINE"]:
        _load_driver("mariadb")
    django.setup()
    module, name = where
    barrier, arguments = args
    end.send(getattr(import_module(module), name)(barrier, *arguments))
    connections.close_all()
