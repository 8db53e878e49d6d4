"""Hands tasks to their transport, at the commit if there is to be one."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

from cloudtask.exceptions import EnqueueError, TaskAlreadyExists
from cloudtask.privacy.frames import hide_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudtask.stores import ResultStore
    from cloudtask.transports.base import Transport
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload

logger = logging.getLogger("cloudtask")

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
        self.task = task
        self._payload = payload
        self._store = store
        self._using = using
        self._on_sent = on_sent
        self._is_dropped = False

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
        if self._store.keeps:
            self._transport.connect()
        if waits and self._waits_for_commit():
            return
        try:
            if self._store.keeps:
                self._add()
            self._send()
        except EnqueueError as error:
            self._refused(error)
        except BaseException:
            self._drop()
            raise

    async def amake(self, *, waits: bool) -> str | None:
        """
        See make().

        Returns:
            The name of a task that was sent now, for which `on_sent` is not
            called.
        """
        if self._store.keeps:
            self._transport.connect()
        try:
            # Asked in the thread that runs synchronous code: it has the
            # connection.
            if waits and await sync_to_async(self._waits_for_commit)():
                return None
        except asyncio.CancelledError:
            await self._adrop()
            raise
        try:
            if self._store.keeps:
                await sync_to_async(self._add)()
            name = await self._transport.asend(self.task)
            if self._store.keeps:
                await sync_to_async(self._store.sent)({self.task.id: name})
        except EnqueueError as error:
            await sync_to_async(self._refused)(error)
            return None
        except BaseException:
            await self._adrop()
            raise
        return name

    def _waits_for_commit(self) -> bool:
        """Have the task sent at the commit; False where none is to be."""
        alias = self._using or _default_alias(self._store)
        connection = connections[alias]
        by_hand = connection.connection is not None and not connection.autocommit
        if not connection.in_atomic_block and not by_hand:
            return False
        is_shared = alias == self._store.alias()
        if is_shared:
            self._add()
        try:
            # Refused by Django in a transaction that is managed by hand, where
            # nothing tells when it ends.
            callback = self._callback(connection, is_shared)
            connection.on_commit(partial(self._unless_dropped, callback))
        except BaseException:
            self._drop()
            raise
        return True

    def _unless_dropped(self, callback: Callable[[], None]) -> None:
        if not self._is_dropped:
            callback()

    def _callback(self, connection: Any, is_shared: bool) -> Callable[[], None]:
        if not self._store.keeps:
            return self._send
        batch = _batch_of(connection, self._transport, self._store)
        if not is_shared:
            return partial(self._add_and_send, batch)
        if self._transport.batch_size == 1:
            return partial(batch.send, [self])
        return batch.callback(self)

    def _add_and_send(self, batch: _Batch) -> None:
        # The store is in another database, where nothing is rolled back.
        self._add()
        batch.send([self])

    def _send(self) -> None:
        name = self._transport.send(self.task)
        self._store.sent({self.task.id: name})
        self._on_sent(name)

    def _refused(self, error: EnqueueError) -> None:
        if self._store.keeps and error.retryable:
            self._log(error)
            return
        self._drop()
        raise error

    def _add(self) -> None:
        # The statement has the arguments among its parameters.
        try:
            self._store.add(self._payload, self.task)
        except Exception as error:
            hide_values(error, of_others=True)
            raise

    async def _adrop(self) -> None:
        self._is_dropped = True
        if self._store.keeps:
            # After what that thread is still doing when this is cancelled.
            await sync_to_async(self._drop)()

    def _drop(self) -> None:
        """Forget the task, whose caller is told that it was not enqueued."""
        self._is_dropped = True
        try:
            self._store.drop(self._payload)
        except Exception as error:
            # What is raised to the caller says more.
            logger.warning(
                "task=%s id=%s may be kept, and sent later: %r",
                self.task.path,
                self.task.id,
                error,
            )

    def answered(self, answer: str | EnqueueError) -> None:
        """What came of a task that is kept, and was committed."""
        if isinstance(answer, str):
            self._on_sent(answer)
        elif isinstance(answer, TaskAlreadyExists):
            self._store.drop(self._payload)
            logger.warning("task=%s id=%s: %s", self.task.path, self.task.id, answer)
        else:
            self._log(answer)

    def _log(self, error: EnqueueError) -> None:
        logger.warning(
            "task=%s id=%s is kept, and sent later: %s",
            self.task.path,
            self.task.id,
            error,
        )


def _default_alias(store: ResultStore) -> str:
    """The database whose transaction counts, unless the caller names one."""
    engine = connections.settings[DEFAULT_DB_ALIAS]["ENGINE"]
    if engine == _NO_DATABASE:
        return store.alias() or DEFAULT_DB_ALIAS
    return DEFAULT_DB_ALIAS


class _Batch:
    """
    Tasks that one transaction keeps, and one transport is to send together.

    Each has a callback of its own, which Django drops with the savepoint that
    it belongs to. The first that is called sends all from its task on: what
    comes before it was rolled back, and of what comes after the store knows.
    """

    def __init__(self, transport: Transport, store: ResultStore) -> None:
        self._transport = transport
        self._store = store
        self._handovers: list[Handover] = []
        self._done = 0  # How many of them are over.
        self._patience = transport.patience()

    def callback(self, handover: Handover) -> Callable[[], None]:
        self._handovers.append(handover)
        return partial(self._send_from, len(self._handovers) - 1)

    def _send_from(self, first: int) -> None:
        if first < self._done:
            return
        self._done = len(self._handovers)
        for start in range(first, self._done, self._transport.batch_size):
            some = self._handovers[start : start + self._transport.batch_size]
            if start > first or len(some) > 1:
                unsent = self._store.unsent([each.task.id for each in some])
                some = [each for each in some if each.task.id in unsent]
            self.send(some)

    def send(self, handovers: Sequence[Handover]) -> None:
        """Send tasks that are kept and committed. None is lost by it."""
        tasks = [each.task for each in handovers]
        answers = self._transport.send_many(tasks, self._patience)
        names = {
            each.task.id: answer
            for each, answer in zip(handovers, answers, strict=True)
            if isinstance(answer, str)
        }
        if names:
            self._store.sent(names)
        for each, answer in zip(handovers, answers, strict=True):
            each.answered(answer)


#: Those of transactions that are open, for as long as Django has a callback.
_batches: WeakValueDictionary[tuple[int, Transport, ResultStore], _Batch] = (
    WeakValueDictionary()
)


def _batch_of(connection: Any, transport: Transport, store: ResultStore) -> _Batch:
    # A connection is used by one thread at a time.
    key = (id(connection), transport, store)
    batch = _batches.get(key)
    if batch is None:
        batch = _batches[key] = _Batch(transport, store)
    return batch
