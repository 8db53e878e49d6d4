"""The connection that an attempt is written on, which its task uses, too."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from cloudtask.results.database.connections import (
    ask,
    get_connection,
    is_idle,
    may_be_stale,
    renew,
    retry_on_conflict,
    undo_leftovers,
)
from cloudtask.results.database.errors import is_about_values, is_conflict, may_pass

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.wire.request import CloudTaskRequest

_T = TypeVar("_T")

logger = logging.getLogger("cloudtask")

#: Seconds between two tries while the database is away: at first, at most.
PAUSE, MAX_PAUSE = 0.05, 1.0

# Waiting for it is a pause.
_pause = threading.Event()


class Session:
    """
    How one attempt asks the database.

    Args:
        is_nested: Whether it is in a transaction that began before the
            attempt: its connection is left as it is.
    """

    def __init__(self, *, is_nested: bool = False) -> None:
        self.is_nested = is_nested
        #: Whether the database failed, and may have done what it was asked.
        self.has_failed = False

    @classmethod
    def begin(cls, request: CloudTaskRequest) -> Session:
        """
        Begin one, before the task runs.

        Args:
            request: The attempt. Where it has no HTTP request, the task runs
                where it is enqueued, and an open transaction is the caller's.
                Otherwise a former task has left it open.
        """
        connection = get_connection()
        is_callers = request.request is None and not is_idle(connection)
        return cls(is_nested=connection.in_atomic_block or is_callers)

    def ask(self, question: Callable[[], _T]) -> _T:
        """
        Ask the database on a connection that is good.

        On a connection that was used before, neither an error nor a false
        answer is trusted: a task may have changed the session, for example to
        another schema. Both are asked again on a new connection. The error may
        be any: a driver, too, reads and writes by the session.

        Args:
            question: What may be asked twice.
        """
        connection = get_connection()
        if self.is_nested:
            return retry_on_conflict(question)
        undo_leftovers(connection)
        if may_be_stale(connection):
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

    def ask_during_task(self, question: Callable[[], _T]) -> _T:
        """
        Ask the database while the task runs, without changing its connection.

        An answer that is not trusted is asked for again on a connection of
        another thread.
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

    def insist_on_end(
        self, write: Callable[..., bool], may_wait: Callable[[], bool]
    ) -> bool:
        """
        Write an end, even if its values and texts cannot be written.

        Args:
            write: Writes the end; with `is_short=True` without its values and
                texts.
            may_wait: Whether there is time to go on.
        """
        try:
            return self.insist(write, may_wait)
        except Exception as error:
            if not is_about_values(error):
                raise
            logger.exception("an end is written without its values and texts")
            return self.insist(partial(write, is_short=True), may_wait)

    def _note_failures(self, question: Callable[[], _T], connection: Any) -> _T:
        was_open = connection.connection is not None
        try:
            return retry_on_conflict(question)
        except Error:
            # Without a connection nothing can have reached the database.
            self.has_failed |= was_open or connection.connection is not None
            raise


def _ask_and_close(question: Callable[[], _T]) -> _T:
    try:
        return question()
    finally:
        # SQLite's own close() leaves a database in memory open.
        BaseDatabaseWrapper.close(get_connection())
