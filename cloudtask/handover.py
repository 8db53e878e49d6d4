"""Sends tasks when the transaction commits, if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

if TYPE_CHECKING:
    from collections.abc import Callable


def at_commit(send: Callable[[], None], using: str | None) -> bool:
    """
    Have `send` called at the commit, and not at all after a rollback.

    Args:
        send: What to call.
        using: Alias of the database whose transaction counts.

    Returns:
        False where no transaction is open.
    """
    connection = connections[using or DEFAULT_DB_ALIAS]
    by_hand = connection.connection is not None and not connection.autocommit
    if not connection.in_atomic_block and not by_hand:
        return False
    # Refused by Django in a transaction that is managed by hand, where
    # nothing tells when it ends.
    connection.on_commit(send)
    return True


async def aat_commit(send: Callable[[], None], using: str | None) -> bool:
    """See at_commit(). Asked in the thread that runs synchronous code."""
    return await sync_to_async(at_commit)(send, using)
