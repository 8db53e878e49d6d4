"""The kind of tasks that Django's framework defines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.backends.base import ConfiguredBackend, find_backend, list_backends
from cloudtask.dispatch import kinds
from cloudtask.exceptions import TaskNotFound
from cloudtask.wire.payload import DJANGO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.stores import StoredResult
    from cloudtask.wire.outgoing import OutgoingTask, Route
    from cloudtask.wire.payload import Payload


class DjangoKind(kinds.Kind):
    """Django's tasks. Each belongs to a backend, which knows the rest."""

    name = DJANGO

    def backends(self) -> list[ConfiguredBackend]:
        """All backends of this package that TASKS has."""
        return list_backends()

    def settings(self, backend: str | None) -> Settings | None:
        """The settings of the backend, if the dispatch is for one."""
        return None if backend is None else find_backend(backend).settings

    def attempt(
        self, payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None
    ) -> Attempt:
        """The attempt that its backend makes. See Kind.attempt()."""
        return _backend_of(payload).attempt(payload, meta, request)

    def route(self, payload: Payload) -> Route:
        """The route that its backend finds. See Kind.route()."""
        return _backend_of(payload).route(payload)

    def tell_sent(self, payload: Payload, task: OutgoingTask, name: str) -> None:
        """Have its backend tell of it. See Kind.tell_sent()."""
        _backend_of(payload).tell_sent(payload, task, name)

    def tell_finished(self, stored: StoredResult) -> bool:
        """Have its backend tell of it. See Kind.tell_finished()."""
        _backend_of(stored.payload).tell_finished(stored)
        return True  # Django's own logger does.


def _backend_of(payload: Payload) -> ConfiguredBackend:
    if payload.backend is None:
        raise TaskNotFound(f"Payloads of kind {payload.kind!r} name a backend.")
    return find_backend(payload.backend)


kinds.register(DjangoKind())
