"""What every transport takes, gives and refuses."""

from __future__ import annotations

import secrets
import threading
from abc import ABC, abstractmethod
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from cloudtask.exceptions import (
    EnqueueError,
    TaskAlreadyExists,
)
from cloudtask.privacy.frames import hide_values
from cloudtask.wire.outgoing import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from cloudtask.conf import Settings
    from cloudtask.wire.outgoing import OutgoingTask

_R = TypeVar("_R")


class Transport(ABC):
    """
    Hands tasks over. One object serves all threads of a process.

    `send` and `asend` get tasks that were checked; they raise EnqueueError
    for what the other side refuses.

    Args:
        settings: How to connect: CREDENTIALS, EMULATOR_HOST, RPC_TIMEOUT.
            Backends that agree on these share one object.
    """

    #: Tasks that send_many() hands over by one call, at the most.
    batch_size = 1

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def target(self, settings: Settings) -> Target:
        """
        Where tasks of some settings go.

        Here, for tasks that never leave the process.
        """
        return Target(
            project=settings.project or "local",
            location=settings.location or "local",
            url=settings.url or "http://localhost/",
        )

    def connect(self) -> None:  # noqa: B027 - most have nothing to connect to
        """
        Prepare for send(), before a task is kept that never could be sent.

        Raises:
            ConfigurationError: Nothing can be sent with these settings.
        """

    @abstractmethod
    def send(self, task: OutgoingTask) -> str:
        """
        Enqueue one task.

        Returns:
            The task's full resource name.

        Raises:
            EnqueueError: It was not accepted; see `retryable`.
        """

    async def asend(self, task: OutgoingTask) -> str:
        """See send()."""
        return self.send(task)

    def send_many(
        self, tasks: Sequence[OutgoingTask], patience: Patience | None = None
    ) -> list[str | EnqueueError]:
        """
        Enqueue tasks, each as send() does.

        Args:
            tasks: To any queues.
            patience: For several calls of one caller.

        Returns:
            For each task its full resource name, or why it was not accepted.
        """
        patience = patience or self.patience()
        return [patience.ask(partial(self._send_within, task)) for task in tasks]

    def _send_within(self, task: OutgoingTask, timeout: float) -> str:
        # Those without batches have nobody to wait for.
        return self.send(task)

    def delete(  # noqa: B027 - most keep no tasks
        self, name: str, timeout: float = inf
    ) -> None:
        """
        Take a task out of its queue. One that is not there is no error.

        Args:
            name: Its full resource name.
            timeout: Seconds to wait, if less than RPC_TIMEOUT.

        Raises:
            EnqueueError: Nobody answered.
        """

    def delete_many(
        self, names: Sequence[str], patience: Patience | None = None
    ) -> dict[str, EnqueueError]:
        """
        Take tasks out of their queues, as delete() does with one.

        Args:
            names: Of tasks in any queues.
            patience: For several calls of one caller.

        Returns:
            Why, for each that may be there still.
        """
        patience = patience or self.patience()
        answers = {name: patience.ask(partial(self.delete, name)) for name in names}
        return {name: why for name, why in answers.items() if why is not None}

    def has(self, name: str, timeout: float = inf) -> bool:
        """
        Whether a task is in its queue still.

        Args:
            name: Its full resource name.
            timeout: Seconds to wait, if less than RPC_TIMEOUT.

        Raises:
            EnqueueError: Nobody answered.
        """
        return False

    def run(self, name: str, timeout: float = inf) -> bool:
        """
        Have a task dispatched now, whenever it is scheduled.

        Args:
            name: Its full resource name.
            timeout: Seconds to wait, if less than RPC_TIMEOUT.

        Returns:
            Whether it was in its queue.

        Raises:
            EnqueueError: Nobody answered.
        """
        return False

    def patience(self) -> Patience:
        """For calls one after the other."""
        return Patience(self.settings.rpc_timeout)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Give back connections. Calling it twice does no harm."""


class Patience:
    """
    Makes calls until those without an answer have taken too long together.

    So an outage costs one timeout, however many calls there are to make. What
    is answered, or refused at once, holds up nothing.

    Args:
        wait: For all calls that are not answered.
    """

    def __init__(self, wait: timedelta) -> None:
        self._seconds = wait.total_seconds()
        # With less, a call has no fair chance of an answer. Repeats of one
        # call end before its timeout, and after this.
        self._least = self._seconds / 2
        self._outage: EnqueueError | None = None

    def ask(self, call: Callable[[float], _R]) -> _R | EnqueueError:
        """
        What a call returns, or its error, or the one that ended it all.

        Args:
            call: It is given the seconds that are left for it.
        """
        if self._outage is not None:
            return self._outage
        started = monotonic()
        try:
            return call(self._seconds)
        except EnqueueError as error:
            # It is kept, and may be raised elsewhere.
            hide_values(error, of_others=True)
            if error.retryable:
                self._seconds -= monotonic() - started
                self._outage = error if self._seconds <= self._least else None
            return error


class UsedNames:
    """
    Names of tasks, for transports without a server that keeps them.

    A name stays used after its task ran, as it does at Cloud Tasks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: set[str] = set()

    def claim(self, task: OutgoingTask) -> str:
        """
        The task's name, chosen here for an unnamed one.

        Raises:
            TaskAlreadyExists: It is in use.
        """
        name = task.name or f"{task.route.queue_path}/tasks/{secrets.randbits(63)}"
        with self._lock:
            if name in self._names:
                raise already_exists(task, name)
            self._names.add(name)
        return name

    def clear(self) -> None:
        with self._lock:
            self._names.clear()


def meta_of(
    task: OutgoingTask, name: str, *, due: datetime, retry_count: int = 0
) -> dict[str, str]:
    """The environment that Cloud Tasks' dispatch of this task would bring."""
    headers = {**task.route.headers, **task.headers}
    meta = {f"HTTP_{k.upper().replace('-', '_')}": v for k, v in headers.items()}
    return {
        **meta,
        "HTTP_X_CLOUDTASKS_QUEUENAME": task.route.queue,
        "HTTP_X_CLOUDTASKS_TASKNAME": name.rpartition("/")[2],
        "HTTP_X_CLOUDTASKS_TASKRETRYCOUNT": str(retry_count),
        "HTTP_X_CLOUDTASKS_TASKETA": f"{due.timestamp():.6f}",
    }


def already_exists(task: OutgoingTask, name: str) -> TaskAlreadyExists:
    return TaskAlreadyExists(
        f"{task.path} is enqueued already as {name}, or was within the last 24 "
        "hours. Wait, or give it another id with named=.",
        queue_path=task.route.queue_path,
        name=name,
    )


# Sizes of protobuf fields, each with its one byte of tag. A zero is not sent.
