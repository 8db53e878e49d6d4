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
    from cloudtask.wire.outgoing import Route
    from cloudtask.wire.payload import Payload


class DjangoKind(kinds.Kind):
    """Django's tasks. Each belongs to a backend, which knows the rest."""

    name = DJANGO

    def backends(self) -> list[ConfiguredBackend]:
        return list_backends()

    def settings(self, backend: str | None) -> Settings | None:
        return None if backend is None else find_backend(backend).settings

    def attempt(
        self, payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None
    ) -> Attempt:
        return _backend_of(payload).attempt(payload, meta, request)

    def route(self, payload: Payload) -> Route:
        return _backend_of(payload).route(payload)

    def tell_finished(self, stored: StoredResult) -> bool:
        _backend_of(stored.payload).tell_finished(stored)
        return True  # Django's own logger does.


def _backend_of(payload: Payload) -> ConfiguredBackend:
    if payload.backend is None:
        raise TaskNotFound(f"Payloads of kind {payload.kind!r} name a backend.")
    return find_backend(payload.backend)


kinds.register(DjangoKind())
