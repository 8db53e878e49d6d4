"""Sends one task, now or when a transaction commits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudtask.stores import ResultStore
    from cloudtask.transports.base import Transport
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload


class Delivery:
    """
    Sends one task. Nothing is kept of it: what fails, its caller is told.

    Args:
        transport: What sends it.
        task: What is sent.
        payload: What its body says.
        store: What keeps tasks, if it does.
        on_sent: Called with the task's name once it is sent.
        aon_sent: The same for asynchronous code; without it, `on_sent` is.
    """

    def __init__(
        self,
        transport: Transport,
        task: OutgoingTask,
        payload: Payload,
        *,
        store: ResultStore,
        on_sent: Callable[[str], object],
        aon_sent: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.transport = transport
        self.task = task
        self._payload = payload
        self._store = store
        self.on_sent = on_sent
        self._aon_sent = aon_sent
        self._is_dropped = False

    def prepare(self) -> None:
        """
        Get ready, before anything is kept.

        Raises:
            ConfigurationError: The task could never be sent.
        """

    def send(self) -> None:
        """
        Send the task now.

        Raises:
            EnqueueError: It was not accepted.
        """
        self.on_sent(self.transport.send(self.task))

    async def asend(self) -> None:
        """See send()."""
        await self._tell(await self.transport.asend(self.task))

    def send_at_commit(self, connection: Any) -> None:
        """
        Send the task when the transaction of a connection commits.

        Raises:
            TransactionManagementError: Nothing tells when it does, since the
                transaction is managed by hand.
        """
        self._call_at_commit(connection, self.send)

    def drop(self) -> None:
        """Send the task never: its caller is told that it was not enqueued."""
        self._is_dropped = True

    async def adrop(self) -> None:
        """See drop()."""
        self.drop()

    async def _tell(self, name: str) -> None:
        if self._aon_sent is None:
            self.on_sent(name)
        else:
            await self._aon_sent(name)

    def _call_at_commit(self, connection: Any, callback: Callable[[], None]) -> None:
        connection.on_commit(partial(self._call_unless_dropped, callback))

    def _call_unless_dropped(self, callback: Callable[[], None]) -> None:
        if not self._is_dropped:
            callback()
