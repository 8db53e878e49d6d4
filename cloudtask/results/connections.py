"""
Which connection is written on, and what it means that a database fails.

It means one of three things. The database is *away*: no connection can be
made. Or the *connection is bad*: it was dropped, has gone stale, or a task has
left it changed, and the same statement works on a new one. Or the *statement
is refused* on a good connection: for a conflict, for the values in it, or for
good.

A new connection tells these apart, whatever the driver calls its errors.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import (
    DataError,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    router,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper

from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")

#: Times that a statement is made which a conflict undoes.
TRIES = 4
#: Seconds between two tries while the database is away: at first, at most.
PAUSE, MAX_PAUSE = 0.05, 1.0
#: SQLSTATE of a serialization failure and of a deadlock.
_CONFLICTS = frozenset({"40001", "40P01"})
#: What MySQL calls a deadlock, and a text that its character set lacks.
_MYSQL_DEADLOCK, _MYSQL_BAD_TEXT = 1213, 1366
#: MySQL's flag of a connection in a transaction.
_MYSQL_IN_TRANSACTION = 1

# Waiting for it is a pause.
_pause = threading.Event()


def ask(question: Callable[[], _T]) -> _T:
    """
    Ask the database, and again on a new connection if this one was dropped.

    In a transaction it is asked once.

    Args:
        question: What may be asked twice.
    """
    connection = primary()
    driver, is_used = connection.connection, _is_used(connection)
    if is_idle(connection) is False:
        return question()
    try:
        return repeat_conflicts(question)
    except Error:
        if not is_used or _is_good(connection, driver):
            raise
        renew(connection)
    return repeat_conflicts(question)


class Session:
    """
    The connection that an attempt is written on, which its task uses, too.

    Args:
        is_nested: Whether it is in a transaction that began before the
            attempt: its connection is left as it is.
    """

    def __init__(self, *, is_nested: bool = False) -> None:
        self.is_nested = is_nested
        #: Whether the database failed, and may have done what it was asked.
        self.has_failed = False

    @classmethod
    def begin(cls, *, in_place: bool) -> Session:
        """
        Begin one, before the task runs.

        Args:
            in_place: Whether the task runs where it is enqueued: a
                transaction is the caller's. In a request of its own, what is
                open was left by a former task.
        """
        connection = primary()
        is_callers = in_place and not is_idle(connection)
        return cls(is_nested=connection.in_atomic_block or is_callers)

    def ask(self, question: Callable[[], _T]) -> _T:
        """
        Ask the database on a connection that is good.

        On a connection that was used before, an error is doubted, and so is
        an answer that is false: a task may have changed the session, to
        another schema for one. Both are asked again on a new connection.
        The error may be any: a driver, too, reads and writes by the session.

        Args:
            question: What may be asked twice.
        """
        connection = primary()
        if self.is_nested:
            return repeat_conflicts(question)
        _clear(connection)
        if _is_used(connection):
            try:
                answer = self._note_failures(question, connection)
            except Exception as error:
                if is_conflict(error):
                    raise
                logger.info("asked again on a new connection: %r", error)
            else:
                if answer:
                    return answer
            renew(connection)
        return self._note_failures(question, connection)

    def look(self, question: Callable[[], _T]) -> _T:
        """
        Ask the database while the task works, whose connection is left alone.

        What is doubted is asked again on a connection of another thread.
        """
        if self.is_nested:
            return ask(question)
        with suppress(Exception):
            answer = ask(question)
            if answer:
                return answer
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(_ask_and_close, question).result()

    def insist(self, question: Callable[[], _T], may_wait: Callable[[], bool]) -> _T:
        """
        Ask the database, and again, with pauses, while it is away.

        Args:
            question: What may be asked many times.
            may_wait: Whether there is time to go on.
        """
        pause = PAUSE
        while True:
            try:
                return self.ask(question)
            except Error as error:
                if self.is_nested or not may_pass(error) or not may_wait():
                    raise
                if pause == PAUSE:
                    logger.warning("the database of results fails: %r", error)
            _pause.wait(pause)
            pause = min(2 * pause, MAX_PAUSE)

    def _note_failures(self, question: Callable[[], _T], connection: Any) -> _T:
        was_open = connection.connection is not None
        try:
            return repeat_conflicts(question)
        except Error:
            # Without a connection nothing can have reached it.
            self.has_failed |= was_open or connection.connection is not None
            raise


def _ask_and_close(question: Callable[[], _T]) -> _T:
    try:
        return question()
    finally:
        # Not by SQLite's own, which leaves open what is in memory.
        BaseDatabaseWrapper.close(primary())


def repeat_conflicts(question: Callable[[], _T], tries: int = TRIES) -> _T:
    """Ask, and again if a conflict alone kept it from being answered."""
    try:
        return question()
    except Error as error:
        # Within a transaction, more than that was undone.
        is_alone = not primary().in_atomic_block
        if tries > 1 and is_alone and is_conflict(error):
            return repeat_conflicts(question, tries - 1)
        raise


def primary() -> Any:
    """This thread's connection to the database that is written to."""
    return transaction.get_connection(router.db_for_write(TaskRecord))


def is_conflict(error: Exception) -> bool:
    """Whether a database has undone a statement for the sake of another."""
    cause = error.__cause__
    # As psycopg names it, or its predecessor.
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state in _CONFLICTS or error.args[:1] == (_MYSQL_DEADLOCK,)


def is_of_values(error: Exception) -> bool:
    """Whether what was to be written is at fault, and not the database."""
    if not isinstance(error, Error) or isinstance(error, DataError):
        return True
    return error.args[:1] == (_MYSQL_BAD_TEXT,)


def may_pass(error: Exception) -> bool:
    """Whether the same may work later: the statement is not wrong."""
    kinds = (OperationalError, InterfaceError, InternalError)
    return isinstance(error, kinds) and not is_of_values(error)


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


def _clear(connection: Any) -> None:
    """End what a task has left open."""
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


def _is_used(connection: Any) -> bool:
    """Whether what it sends may go over a connection that was used before."""
    return connection.connection is not None or _pool_of(connection) is not None


def _pool_of(connection: Any) -> Any:
    """The pool that its driver's connections are from, if Django has one."""
    return getattr(connection, "pool", None)


def _is_good(connection: Any, driver: Any) -> bool:
    """Whether a connection is the same as before, and works."""
    return connection.connection is driver and bool(connection.is_usable())


def renew(connection: Any) -> None:
    """Have what follows use a new connection, outside of any transaction."""
    pool = _pool_of(connection)
    if pool is not None:
        # A pool would give the same one again, as it is.
        with suppress(Exception):
            connection.connection.close()
    # A block that a task has entered and never left.
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
        # SQLite in memory, which would not outlive it.
        connection.rollback()
        connection.set_autocommit(True)
