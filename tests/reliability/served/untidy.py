"""What a task may leave behind on its connection."""

from collections.abc import Callable
from contextlib import suppress

from django.db import DatabaseError, connection, transaction

_KEEPS = "cloudtask_results_taskrecord"
#: Statements by vendors, each separated by semicolons.
_STATEMENTS = {
    "postgresql": (
        "SET search_path TO pg_catalog",
        "SET default_transaction_read_only TO on",
        "SET statement_timeout TO 1",
        "SET lock_timeout TO 1; SET default_transaction_isolation TO serializable",
        "SET idle_session_timeout TO 100",
        "SET TIME ZONE 'Asia/Tokyo'",
        f"CREATE TEMPORARY TABLE {_KEEPS} (id text)",
        "BEGIN",
        "BEGIN; SELECT 1/0",
        "BEGIN READ ONLY",
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout TO 100",
    ),
    "mysql": (
        "USE information_schema",
        "SET SESSION TRANSACTION READ ONLY",
        "SET max_statement_time = 0.0001",
        "SET innodb_lock_wait_timeout = 1",
        "SET wait_timeout = 1",
        "SET time_zone = '+09:00'",
        f"CREATE TEMPORARY TABLE {_KEEPS} (id varchar(32))",
        "START TRANSACTION",
        "START TRANSACTION READ ONLY",
        "SET autocommit = 0",
        "LOCK TABLES served_effect READ",
        "SET sql_safe_updates = 1; SET sql_mode = ''",
    ),
}


def _manage_by_hand() -> None:
    transaction.set_autocommit(False)
    _query("SELECT 1")


def _never_leave() -> None:
    transaction.atomic().__enter__()


def _never_leave_what_failed() -> None:
    transaction.atomic().__enter__()
    with suppress(DatabaseError):
        _query("SELECT nothing FROM nowhere")
    transaction.set_rollback(True)


def _close() -> None:
    connection.close()


def _close_driver() -> None:
    connection.ensure_connection()
    connection.connection.close()


_WAYS: tuple[Callable[[], None], ...] = (
    _manage_by_hand,
    _never_leave,
    _never_leave_what_failed,
    _close_driver,
    _close,
)


def leave(task: str) -> str:
    """
    Leave the connection in a state that a task's id chooses.

    Returns:
        What was done.
    """
    ways = (*_STATEMENTS[connection.vendor], *_WAYS)
    way = ways[int(task, 16) % len(ways)]
    if callable(way):
        way()
        return way.__name__
    for statement in way.split("; "):
        with suppress(DatabaseError):
            _query(statement)
    return way


def _query(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
