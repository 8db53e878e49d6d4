"""
Sends tasks that a store keeps: what cannot be sent now is sent later.

The row of a task is its place in the outbox. It is written before the task is
sent, in the transaction that enqueues it if there is one.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from asgiref.sync import sync_to_async

from cloudtask.enqueue.delivery import Delivery
from cloudtask.exceptions import EnqueueError, TaskAlreadyExists
from cloudtask.privacy.frames import hide_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudtask.stores import ResultStore
    from cloudtask.transports.base import Transport

logger = logging.getLogger("cloudtask")

_SENT_LATER = "task=%s id=%s is kept, and sent later: %s"


class KeptDelivery(Delivery):
    """
    Sends one task that a store keeps.

    After an error that may pass it stays in the store, and is sent later.
    Whatever else is raised before the commit, it is forgotten. It may have
    been sent all the same, as when the wait for an answer is interrupted.
    """

    def prepare(self) -> None:
        """Connect, before anything is kept. See Delivery.prepare()."""
        self.transport.connect()

    def send(self) -> None:
        """
        Keep the task and send it now, or leave it for later.

        Raises:
            EnqueueError: It was refused for good, and is not kept.
        """
        try:
            self._keep()
            name = self.transport.send(self.task)
            self._note_sent(name)
            self.on_sent(name)
        except BaseException as error:
            if not self._leave_for_later(error):
                self.drop()
                raise

    async def asend(self) -> None:
        """See send()."""
        try:
            await sync_to_async(self._keep)()
            name = await self.transport.asend(self.task)
            await sync_to_async(self._note_sent)(name)
            await self._tell(name)
        except BaseException as error:
            if not self._leave_for_later(error):
                await self.adrop()
                raise

    def send_at_commit(self, connection: Any) -> None:
        """
        Keep the task in the transaction, and send it at the commit.

        In another database than the store's it is kept at the commit. See
        Delivery.send_at_commit().
        """
        is_shared = connection.alias == self._store.alias()
        if is_shared:
            self._keep()
        try:
            callback = self._choose_callback(connection, is_shared)
            self._call_at_commit(connection, callback)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Never send the task, and have the store forget it."""
        super().drop()
        try:
            self._store.drop(self._payload)
        except Exception as error:
            # What is raised to the caller says more.
            self._warn("task=%s id=%s may be kept, and sent later: %r", error)

    async def adrop(self) -> None:
        """See drop()."""
        # At once: a transaction may commit before the thread gets to it.
        self._is_dropped = True
        # After what that thread is still doing when this is cancelled.
        await sync_to_async(self.drop)()

    def settle(self, answer: str | EnqueueError) -> None:
        """Do what is left once a committed task was sent, or was refused."""
        if isinstance(answer, str):
            self.on_sent(answer)
        elif isinstance(answer, TaskAlreadyExists):
            self._store.drop(self._payload)
            self._warn("task=%s id=%s: %s", answer)
        else:
            self._warn(_SENT_LATER, answer)

    def _choose_callback(self, connection: Any, is_shared: bool) -> Callable[[], None]:
        batch = _find_batch(connection, self.transport, self._store)
        if not is_shared:
            return partial(self._keep_and_send, batch)
        if self.transport.batch_size == 1:
            return partial(batch.send, [self])
        return batch.add(self)

    def _keep(self) -> None:
        # The statement has the arguments among its parameters.
        try:
            self._store.add(self._payload, self.task)
        except Exception as error:
            hide_values(error, of_others=True)
            raise

    def _keep_and_send(self, batch: Batch) -> None:
        # The store is in another database, where nothing is rolled back.
        self._keep()
        batch.send([self])

    def _note_sent(self, name: str) -> None:
        self._store.note_sent({self.task.id: name})

    def _leave_for_later(self, error: BaseException) -> bool:
        """Have the task sent later, if this error may pass."""
        if isinstance(error, EnqueueError) and error.retryable:
            self._warn(_SENT_LATER, error)
            return True
        return False

    def _warn(self, message: str, error: Exception) -> None:
        logger.warning(message, self.task.path, self.task.id, error)


class Batch:
    """
    Tasks that one transaction keeps, and one transport is to send together.

    Each has a callback of its own, which Django drops with the savepoint that
    it belongs to. The first that is called sends all from its task on: what
    comes before it was rolled back, and of what comes after the store knows.
    """

    def __init__(self, transport: Transport, store: ResultStore) -> None:
        self._transport = transport
        self._store = store
        self._deliveries: list[KeptDelivery] = []
        self._done = 0  # How many of them are over.
        self._patience = transport.patience()

    def add(self, delivery: KeptDelivery) -> Callable[[], None]:
        """Add one more task, and return what is to be called at the commit."""
        self._deliveries.append(delivery)
        return partial(self._send_from, len(self._deliveries) - 1)

    def _send_from(self, first: int) -> None:
        if first < self._done:
            return
        self._done = len(self._deliveries)
        for start in range(first, self._done, self._transport.batch_size):
            some = self._deliveries[start : start + self._transport.batch_size]
            if start > first or len(some) > 1:
                some = self._select_committed(some)
            self.send(some)

    def send(self, deliveries: Sequence[KeptDelivery]) -> None:
        """Send tasks that are kept and committed. None is lost by it."""
        tasks = [each.task for each in deliveries]
        answers = self._transport.send_many(tasks, self._patience)
        names = {
            each.task.id: answer
            for each, answer in zip(deliveries, answers, strict=True)
            if isinstance(answer, str)
        }
        if names:
            self._store.note_sent(names)
        for each, answer in zip(deliveries, answers, strict=True):
            each.settle(answer)

    def _select_committed(self, some: Sequence[KeptDelivery]) -> list[KeptDelivery]:
        unsent = self._store.select_unsent([each.task.id for each in some])
        return [each for each in some if each.task.id in unsent]


#: Those of transactions that are open, for as long as Django has a callback.
_batches: WeakValueDictionary[tuple[int, Transport, ResultStore], Batch] = (
    WeakValueDictionary()
)


def _find_batch(connection: Any, transport: Transport, store: ResultStore) -> Batch:
    # A connection is used by one thread at a time.
    key = (id(connection), transport, store)
    batch = _batches.get(key)
    if batch is None:
        batch = _batches[key] = Batch(transport, store)
    return batch
