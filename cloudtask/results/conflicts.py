"""Writes that a database undoes for the sake of others, to be made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django.db import DatabaseError, router, transaction

from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

#: Times that one is made.
TRIES = 4
#: SQLSTATE of a serialization failure and of a deadlock.
_CONFLICTS = frozenset({"40001", "40P01"})
#: What MySQL calls a deadlock.
_MYSQL_DEADLOCK = 1213


def settled(write: Callable[[], _T], tries: int = TRIES) -> _T:
    """Make a write, and again if a conflict alone kept it from being made."""
    try:
        return write()
    except DatabaseError as error:
        # Within a transaction, more than that was undone.
        using = router.db_for_write(TaskRecord)
        is_alone = not transaction.get_connection(using).in_atomic_block
        if tries > 1 and is_alone and is_conflict(error):
            return settled(write, tries - 1)
        raise


def is_conflict(error: Exception) -> bool:
    cause = error.__cause__
    # As psycopg names it, or its predecessor.
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state in _CONFLICTS or error.args[:1] == (_MYSQL_DEADLOCK,)
