"""Errors of statements that say that the tables of the app are not there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import Error

from cloudtask.conf import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of PostgreSQL: no such table, no such column.
_STATES = frozenset({"42P01", "42703"})
#: The same of MySQL and MariaDB.
_NUMBERS = frozenset({1146, 1054})
#: The same of SQLite, and of others which have no codes.
_WORDS = ("no such table: ", "no such column: ", "has no column named ")

ADVICE = (
    "the tables of cloudtask.results are not there, or not up to date. Run "
    "`manage.py migrate`."
)


def is_missing(error: Error) -> bool:
    """Whether an error says that a table, or a column, does not exist."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    number = error.args[0] if error.args else None
    text = str(error)
    return (
        state in _STATES or number in _NUMBERS or any(words in text for words in _WORDS)
    )


@contextmanager
def advise() -> Iterator[None]:
    """
    Raise what says how to make the tables, where an error says that.

    Raises:
        ConfigurationError: The tables are not there, or not up to date.
    """
    try:
        yield
    except Error as error:
        if not is_missing(error):
            raise
        raise get_settings().error("RESULTS", ADVICE) from error
