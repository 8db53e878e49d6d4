"""What every transport takes, gives and refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from cloudtask.exceptions import TaskAlreadyExists
from cloudtask.transports.patience import Patience
from cloudtask.wire.outgoing import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtask.conf import Settings
    from cloudtask.exceptions import EnqueueError
    from cloudtask.wire.outgoing import OutgoingTask


class Transport(ABC):
    """
    Hands tasks over. One object serves all threads of a process.

    A class of a project's own needs send() and no more, or QueueTransport.

    `send` and `asend` get tasks that were checked; they raise EnqueueError
    for what the other side refuses.

    Args:
        settings: How to connect: CREDENTIALS, EMULATOR_HOST, RPC_TIMEOUT.
            Backends that agree on these share one object.
    """

    #: Tasks that send_many() hands over by one call, at the most.
    batch_size = 1
    #: Whether its queues have a clock of their own, which tests may move.
    has_own_clock = False

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

    def patience(self) -> Patience:
        """For calls one after the other."""
        return Patience(self.settings.rpc_timeout)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Give back connections. Calling it twice does no harm."""


class QueueTransport(Transport):
    """
    A transport whose tasks wait in queues, where they can be found.

    Only `cloudtask.results` asks for this: it cancels tasks, runs them now,
    and looks for those that it hears nothing of. A task of any other transport
    is taken to be in no queue.
    """

    @abstractmethod
    def delete(self, name: str, timeout: float = inf) -> None:
        """
        Take a task out of its queue. One that is not there is not an error.

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

    @abstractmethod
    def has(self, name: str, timeout: float = inf) -> bool:
        """
        Whether a task is in its queue still.

        Args:
            name: Its full resource name.
            timeout: Seconds to wait, if less than RPC_TIMEOUT.

        Raises:
            EnqueueError: Nobody answered.
        """

    @abstractmethod
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


def make_duplicate_error(task: OutgoingTask, name: str) -> TaskAlreadyExists:
    """
    Make the error for a named task whose name is taken.

    Args:
        task: What was to be enqueued.
        name: Its full resource name.
    """
    return TaskAlreadyExists(
        f"{task.path} is enqueued already as {name}, or was within the last 24 "
        "hours. Wait, or give it another id with named=.",
        queue_path=task.route.queue_path,
        name=name,
    )
