"""The kind of tasks that `cloudtask.task` defines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.conf import get_settings
from cloudtask.dispatch import kinds
from cloudtask.dispatch.attempts import Attempt, make_request
from cloudtask.dispatch.reporting import FAILURE_SIGNAL, LogObserver
from cloudtask.enqueue import registry
from cloudtask.exceptions import TaskNotFound
from cloudtask.stores import get_store
from cloudtask.transports import get_transport
from cloudtask.wire.payload import CLOUDTASK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.wire.outgoing import Route
    from cloudtask.wire.payload import Payload

#: Who is told of the attempts.
OBSERVERS = (LogObserver(reports_failures=True), FAILURE_SIGNAL)


class OwnKind(kinds.Kind):
    """Tasks of this package. They are registered, and have no backend."""

    name = CLOUDTASK

    def settings(self, backend: str | None) -> Settings | None:
        return get_settings() if backend is None else None

    def attempt(
        self, payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None
    ) -> Attempt:
        if payload.backend is not None:
            raise TaskNotFound(f"Payloads of kind {self.name!r} have no backend.")
        definition = registry.get(payload.task)
        settings = get_settings()
        return Attempt(
            definition,
            payload,
            make_request(payload, definition, settings, meta, request),
            store=get_store(settings),
            observers=OBSERVERS,
        )

    def route(self, payload: Payload) -> Route:
        settings = get_settings()
        transport = get_transport(settings)
        return registry.get(payload.task).route(settings, transport)


kinds.register(OwnKind())
