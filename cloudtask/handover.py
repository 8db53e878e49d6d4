"""Hands tasks to their transport, at the commit if there is to be one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.transports.base import OutgoingTask, Transport


def hand_over(
    transport: Transport,
    task: OutgoingTask,
    on_sent: Callable[[str], None],
    *,
    waits: bool,
    using: str | None = None,
) -> None:
    """
    Send a task now, or when the transaction commits.

    Args:
        transport: What sends it.
        task: What is sent.
        on_sent: Called with the task's name once it is sent, and never after
            a rollback.
        waits: Whether an open transaction holds it back.
        using: Alias of the database whose transaction counts.

    Raises:
        EnqueueError: It was not accepted. At the commit, the commit raises.
    """

    def send() -> None:
        on_sent(transport.send(task))

    if not (waits and _at_commit(send, using)):
        send()


async def ahand_over(
    transport: Transport,
    task: OutgoingTask,
    on_sent: Callable[[str], None],
    *,
    waits: bool,
    using: str | None = None,
) -> str | None:
    """
    See hand_over().

    Returns:
        The name of a task that was sent now, for which `on_sent` is not
        called.
    """

    def send() -> None:
        on_sent(transport.send(task))

    # Asked in the thread that runs synchronous code: it has the connection.
    if waits and await sync_to_async(_at_commit)(send, using):
        return None
    return await transport.asend(task)


def _at_commit(send: Callable[[], None], using: str | None) -> bool:
    """Have `send` called at the commit; False where there is none to be."""
    connection = connections[using or DEFAULT_DB_ALIAS]
    by_hand = connection.connection is not None and not connection.autocommit
    if not connection.in_atomic_block and not by_hand:
        return False
    # Refused by Django in a transaction that is managed by hand, where
    # nothing tells when it ends.
    connection.on_commit(send)
    return True
