"""
What the errors of a database mean.

Drivers name them differently: PostgreSQL's have an SQLSTATE, MySQL's and
MariaDB's a number, and SQLite's only words.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import (
    DataError,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
)

from cloudtask.conf import get_settings
from cloudtask.exceptions import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A serialization failure and a deadlock, on PostgreSQL and on MySQL.
_CONFLICT_STATES = ("40001", "40P01")
_CONFLICT_NUMBERS = (1213,)
#: A text that the character set lacks, on MySQL.
_TEXT_NUMBERS = (1366,)
#: No such table, no such column: on PostgreSQL, on MySQL, and on SQLite.
_MISSING_STATES = ("42P01", "42703")
_MISSING_NUMBERS = (1146, 1054)
_MISSING_WORDS = ("no such table: ", "no such column: ", "has no column named ")

MIGRATE = (
    "the tables of cloudtask.results do not exist or are not up to date. Run "
    "`manage.py migrate`."
)


def is_conflict(error: Exception) -> bool:
    """Whether the database has undone a statement for the sake of another."""
    return _find_state(error) in _CONFLICT_STATES or (
        _find_number(error) in _CONFLICT_NUMBERS
    )


def is_about_values(error: Exception) -> bool:
    """Whether the values to be written are at fault, and not the database."""
    if not isinstance(error, Error) or isinstance(error, DataError):
        return True
    return _find_number(error) in _TEXT_NUMBERS


def may_pass(error: Exception) -> bool:
    """Whether the same statement may work later."""
    kinds = (OperationalError, InterfaceError, InternalError)
    return isinstance(error, kinds) and not is_about_values(error)


def is_table_missing(error: Error) -> bool:
    """Whether a table, or a column of it, does not exist."""
    return (
        _find_state(error) in _MISSING_STATES
        or _find_number(error) in _MISSING_NUMBERS
        or any(words in str(error) for words in _MISSING_WORDS)
    )


@contextmanager
def explain_missing_tables() -> Iterator[None]:
    """
    Say how to make the tables, if a statement fails because none exist.

    Raises:
        ConfigurationError: The tables do not exist or are not up to date.
    """
    try:
        yield
    except Error as error:
        if not is_table_missing(error):
            raise
        raise get_settings().error("RESULTS", MIGRATE) from error


@contextmanager
def report_failures() -> Iterator[None]:
    """
    Raise the error of the package in place of the database's.

    Raises:
        StoreUnavailable: The database has failed.
    """
    try:
        yield
    except Error as error:
        advice = f": {MIGRATE}" if is_table_missing(error) else ""
        message = f"The database of results failed: {error!r}{advice}"
        raise StoreUnavailable(message) from error


def _find_state(error: Exception) -> str | None:
    cause = error.__cause__
    # psycopg has one name for it, psycopg2 the other.
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def _find_number(error: Exception) -> object:
    return error.args[0] if error.args else None
