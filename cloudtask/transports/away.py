"""Tasks of which nobody can tell yet where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.exceptions import ServiceUnavailable
from cloudtask.transports.base import Transport
from cloudtask.wire import naming
from cloudtask.wire.outgoing import Route

if TYPE_CHECKING:
    from cloudtask.conf import Settings
    from cloudtask.exceptions import MetadataUnavailable
    from cloudtask.stores import ResultStore
    from cloudtask.wire.outgoing import OutgoingTask


class AwayTransport(Transport):
    """
    Stands in for another one while the metadata server does not answer.

    It refuses tasks as an outage of Cloud Tasks does: what a store keeps is
    sent later, and then to wherever it goes.

    Args:
        settings: The other one's.
        reason: What is not known, and why.
    """

    def __init__(self, settings: Settings, reason: MetadataUnavailable) -> None:
        super().__init__(settings)
        self._reason = reason

    def route(self, path: str, queue: str, store: ResultStore) -> Route:
        """
        What is known of where a task goes: its queue's name.

        Raises:
            ServiceUnavailable: The store does not keep the task until more is.
        """
        settings = self.settings
        queue_path = naming.make_queue_path(
            settings.project or "-", settings.location or "-", queue
        )
        if not store.keeps:
            raise self._refusal(path, queue_path)
        return Route(queue_path=queue_path, url="", headers={})

    def send(self, task: OutgoingTask) -> str:
        raise self._refusal(task.path, task.route.queue_path)

    def _refusal(self, path: str, queue_path: str) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{path} was not sent: {self._reason}", queue_path=queue_path
        )
