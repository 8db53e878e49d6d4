"""Sends checked tasks: now, or when the transaction commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

if TYPE_CHECKING:
    from cloudtask.transports.base import OutgoingTask, Transport


class Handover:
    """A checked task on its way to the transport, now or at the commit."""

    __slots__ = ("_outgoing", "_transport", "enqueued")

    def __init__(self, transport: Transport, outgoing: OutgoingTask) -> None:
        self._transport = transport
        self._outgoing = outgoing
        self.enqueued = outgoing.enqueued()

    def send(self) -> None:
        self.enqueued.name = self._transport.send(self._outgoing)

    async def asend(self) -> None:
        self.enqueued.name = await self._transport.asend(self._outgoing)

    def defer(self, using: str | None) -> bool:
        """Send at the commit. False where no transaction is open."""
        connection = connections[using or DEFAULT_DB_ALIAS]
        by_hand = connection.connection is not None and not connection.autocommit
        if not connection.in_atomic_block and not by_hand:
            return False
        # Refused by Django in a transaction that is managed by hand, where
        # nothing tells when it ends.
        connection.on_commit(self.send)
        return True

    async def adefer(self, using: str | None) -> bool:
        """See defer(). Asked in the thread that runs synchronous code."""
        return await sync_to_async(self.defer)(using)
