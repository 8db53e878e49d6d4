"""Hands tasks to their transport, at the commit if there is to be one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

from cloudtask.enqueue.delivery import Delivery
from cloudtask.enqueue.outbox import KeptDelivery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudtask.stores import ResultStore
    from cloudtask.transports.base import Transport
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload

#: What Django makes of `"default": {}`, where a router names all databases.
_NO_DATABASE = "django.db.backends.dummy"


class Handover:
    """
    Hands one task to its transport, and what is kept of it to its store.

    Args:
        transport: What sends it.
        task: What is sent.
        payload: What its body says.
        store: What keeps it.
        using: Alias of the database whose transaction counts.
        on_sent: Called with the task's name once it is sent, and never after
            a rollback.
        aon_sent: Called in place of `on_sent` where amake() itself sends it.
    """

    def __init__(
        self,
        transport: Transport,
        task: OutgoingTask,
        payload: Payload,
        *,
        store: ResultStore,
        using: str | None,
        on_sent: Callable[[str], object],
        aon_sent: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.task = task
        self._using = using
        self._store = store
        deliver = KeptDelivery if store.keeps else Delivery
        self._delivery = deliver(
            *(transport, task, payload),
            store=store,
            on_sent=on_sent,
            aon_sent=aon_sent,
        )

    def make(self, *, waits: bool) -> None:
        """
        Send the task now, or when the transaction commits.

        What a store keeps is sent later, if it cannot be sent now. Whatever is
        raised here, the task is not kept; it may have been sent all the same,
        as when the wait for an answer is interrupted.

        Args:
            waits: Whether an open transaction holds it back.

        Raises:
            ConfigurationError: It could never be sent.
            EnqueueError: It was not accepted. At the commit, the commit
                raises, but for what a store keeps.
        """
        self._delivery.prepare()
        if not (waits and self._wait_for_commit()):
            self._delivery.send()

    async def amake(self, *, waits: bool) -> None:
        """See make()."""
        self._delivery.prepare()
        if not (waits and await self._await_commit_in_thread()):
            await self._delivery.asend()

    async def _await_commit_in_thread(self) -> bool:
        try:
            # In the thread that runs synchronous code: it has the connection.
            return await sync_to_async(self._wait_for_commit)()
        except asyncio.CancelledError:
            await self._delivery.adrop()
            raise

    def _wait_for_commit(self) -> bool:
        """Have the task sent at the commit; False where none is to be."""
        connection = connections[self._using or _choose_alias(self._store)]
        if not _is_in_transaction(connection):
            return False
        self._delivery.send_at_commit(connection)
        return True


def _is_in_transaction(connection: Any) -> bool:
    # Without autocommit, whoever uses the connection manages it by hand.
    is_managed = connection.connection is not None and not connection.autocommit
    return is_managed or connection.in_atomic_block


def _choose_alias(store: ResultStore) -> str:
    """The database whose transaction counts, unless the caller names one."""
    engine = connections.settings[DEFAULT_DB_ALIAS]["ENGINE"]
    if engine == _NO_DATABASE:
        return store.alias() or DEFAULT_DB_ALIAS
    return DEFAULT_DB_ALIAS
