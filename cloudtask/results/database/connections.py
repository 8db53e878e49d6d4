"""
Connections to the database that is written to, and when they are replaced.

When a statement fails, the cause is one of three. The database is *away*: no
connection can be made. Or the *connection is bad*: it was dropped, has gone
stale, or a task has left it changed, and the same statement works on a new
one. Or the *statement is refused* on a good connection: because of a conflict,
because of its values, or for good.

Drivers name their errors differently. So a new connection is what tells these
causes apart.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import Error, router, transaction

from cloudtask.results.database.errors import is_conflict
from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")

#: How often a statement is made that conflicts undo.
TRIES = 4
#: MySQL's flag of a connection in a transaction.
_MYSQL_IN_TRANSACTION = 1


def get_alias() -> str:
    """Find the alias of the database that tasks are written to."""
    return router.db_for_write(TaskRecord)


def get_connection() -> Any:
    """Find this thread's connection to that database."""
    return transaction.get_connection(get_alias())


def ask(question: Callable[[], _T]) -> _T:
    """
    Ask the database, and again on a new connection if this one was dropped.

    In a transaction it is asked once.

    Args:
        question: What may be asked twice.
    """
    connection = get_connection()
    driver, is_used = connection.connection, may_be_stale(connection)
    if is_idle(connection) is False:
        return question()
    try:
        return retry_on_conflict(question)
    except Error:
        if not is_used or _is_good(connection, driver):
            raise
        renew(connection)
    return retry_on_conflict(question)


def retry_on_conflict(question: Callable[[], _T], tries: int = TRIES) -> _T:
    """Ask, and ask again if only a conflict prevented an answer."""
    try:
        return question()
    except Error as error:
        # Within a transaction, more than that was undone.
        is_alone = not get_connection().in_atomic_block
        if tries > 1 and is_alone and is_conflict(error):
            return retry_on_conflict(question, tries - 1)
        raise


def is_idle(connection: Any) -> bool | None:
    """
    Whether what is written on a connection is committed at once.

    Returns:
        None where the driver does not tell whether a transaction was begun
        behind Django's back.
    """
    driver = connection.connection
    if driver is None:
        return True
    if connection.in_atomic_block or not connection.autocommit:
        return False
    try:
        return _IDLE[connection.vendor](driver)
    except Exception:
        return False  # It is closed.


def _is_idle_on_postgresql(driver: Any) -> bool:
    return bool(driver.autocommit) and int(driver.info.transaction_status) == 0


def _is_idle_on_sqlite(driver: Any) -> bool:
    return driver.isolation_level is None and not driver.in_transaction


def _is_idle_on_mysql(driver: Any) -> bool | None:
    if not driver.get_autocommit():
        return False
    # PyMySQL keeps what the server says. mysqlclient does not show it.
    status = getattr(driver, "server_status", None)
    return None if status is None else not status & _MYSQL_IN_TRANSACTION


_IDLE: Mapping[str, Callable[[Any], bool | None]] = {
    "postgresql": _is_idle_on_postgresql,
    "sqlite": _is_idle_on_sqlite,
    "mysql": _is_idle_on_mysql,
}


def may_be_stale(connection: Any) -> bool:
    """Whether it may send over a driver's connection that was used before."""
    return connection.connection is not None or _get_pool(connection) is not None


def undo_leftovers(connection: Any) -> None:
    """End what a task has left open on a connection."""
    idle = is_idle(connection)
    if idle is None:
        with suppress(Exception):  # It was dropped, as the next statement finds.
            connection.connection.rollback()
    elif not idle:
        logger.warning(
            "a connection was left closed, in a transaction, or without autocommit: "
            "what was not committed on it is undone, and a new one is used"
        )
        renew(connection)


def renew(connection: Any) -> None:
    """Have what follows use a new connection, outside of any transaction."""
    pool = _get_pool(connection)
    if pool is not None:
        # A pool would give the same one again, as it is.
        with suppress(Exception):
            connection.connection.close()
    # A task may have entered blocks that it never left.
    connection.in_atomic_block = connection.needs_rollback = False
    connection.savepoint_ids, connection.atomic_blocks = [], []
    connection.closed_in_transaction = False
    with suppress(Exception):  # It is broken, or closed.
        connection.close()
    if pool is not None:
        # What has ended this one has ended others.
        with suppress(Exception):
            pool.check()
    if connection.connection is not None:
        # SQLite in memory is not closed, as it would be lost.
        connection.rollback()
        connection.set_autocommit(True)


def _get_pool(connection: Any) -> Any:
    """Find the pool of the driver's connections, if Django has one."""
    return getattr(connection, "pool", None)


def _is_good(connection: Any, driver: Any) -> bool:
    """Whether a connection is the same as before, and works."""
    return connection.connection is driver and bool(connection.is_usable())
