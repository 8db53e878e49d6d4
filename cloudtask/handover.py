"""Hands tasks to their transport, at the commit if there is to be one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

from cloudtask.exceptions import EnqueueError, TaskAlreadyExists

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.payload import Payload
    from cloudtask.stores import ResultStore
    from cloudtask.transports.base import OutgoingTask, Transport

logger = logging.getLogger("cloudtask")


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
    """

    def __init__(
        self,
        transport: Transport,
        task: OutgoingTask,
        payload: Payload,
        *,
        store: ResultStore,
        using: str | None,
        on_sent: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._task = task
        self._payload = payload
        self._store = store
        self._using = using
        self._on_sent = on_sent

    def make(self, *, waits: bool) -> None:
        """
        Send the task now, or when the transaction commits.

        What a store keeps is sent later, if it cannot be sent now.

        Args:
            waits: Whether an open transaction holds it back.

        Raises:
            EnqueueError: It was not accepted. At the commit, the commit
                raises, but for what a store keeps.
        """
        if waits and self._waits_for_commit():
            return
        self._store.add(self._payload, self._task)
        try:
            self._send()
        except EnqueueError as error:
            self._refused(error)

    async def amake(self, *, waits: bool) -> str | None:
        """
        See make().

        Returns:
            The name of a task that was sent now, for which `on_sent` is not
            called.
        """
        # Asked in the thread that runs synchronous code: it has the
        # connection.
        if waits and await sync_to_async(self._waits_for_commit)():
            return None
        if self._store.keeps:
            await sync_to_async(self._store.add)(self._payload, self._task)
        try:
            name = await self._transport.asend(self._task)
        except EnqueueError as error:
            await sync_to_async(self._refused)(error)
            return None
        if self._store.keeps:
            await sync_to_async(self._store.sent)(self._payload, name)
        return name

    def _waits_for_commit(self) -> bool:
        """Have the task sent at the commit; False where none is to be."""
        is_shared = self._store.shares(self._using)
        send = self._send_at_commit if is_shared else self._add_and_send
        if not _at_commit(send, self._using):
            return False
        if is_shared:
            self._store.add(self._payload, self._task)
        return True

    def _send(self) -> None:
        name = self._transport.send(self._task)
        self._store.sent(self._payload, name)
        self._on_sent(name)

    def _add_and_send(self) -> None:
        # The store is in another database, where nothing is rolled back.
        self._store.add(self._payload, self._task)
        self._send_at_commit()

    def _send_at_commit(self) -> None:
        try:
            self._send()
        except TaskAlreadyExists as error:
            self._store.drop(self._payload)
            if not self._store.keeps:
                raise
            logger.warning("task=%s id=%s: %s", self._task.path, self._task.id, error)
        except EnqueueError as error:
            if not self._store.keeps:
                raise
            self._log(error)

    def _refused(self, error: EnqueueError) -> None:
        if self._store.keeps and error.retryable:
            self._log(error)
            return
        self._store.drop(self._payload)
        raise error

    def _log(self, error: EnqueueError) -> None:
        logger.warning(
            "task=%s id=%s is kept, and sent later: %s",
            self._task.path,
            self._task.id,
            error,
        )


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
