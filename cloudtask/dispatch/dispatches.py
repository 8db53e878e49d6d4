"""What a dispatch brings: the settings that guard it, and its attempt."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from cloudtask.conf import get_settings
from cloudtask.dispatch import registry
from cloudtask.dispatch.execution import Attempt, make_request
from cloudtask.exceptions import InvalidCredentials, TaskNotFound
from cloudtask.stores import get_store
from cloudtask.wire import payload as payloads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django.http import HttpRequest

    from cloudtask.backends.django_kind import ConfiguredBackend
    from cloudtask.conf import Settings
    from cloudtask.wire.payload import Payload


def settings_for(backend: str | None) -> Settings:
    """
    The settings by which a dispatch is let in.

    Args:
        backend: Alias of the task backend that it is for, if for any.

    Raises:
        InvalidCredentials: No backend of this package has that alias.
        ConfigurationError: The settings are wrong.
    """
    return get_settings() if backend is None else backend_of(backend).settings


def attempt_for(
    payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None = None
) -> Attempt:
    """
    The attempt to run a payload.

    Args:
        payload: What was sent.
        meta: The dispatch's headers, as in `HttpRequest.META`.
        request: The dispatch itself.

    Raises:
        TaskNotFound: This process has no such task.
    """
    if payload.kind == payloads.DJANGO and payload.backend is not None:
        from cloudtask.backends.django_kind import DjangoAttempt

        return DjangoAttempt.of(payload, backend_of(payload.backend), meta, request)
    if payload.kind != payloads.CLOUDTASK or payload.backend is not None:
        raise TaskNotFound(f"Payloads of kind {payload.kind!r} are not run here.")
    definition = registry.get(payload.task)
    settings = get_settings()
    asked = make_request(payload, definition, settings, meta, request)
    return Attempt(definition, payload, asked, store=get_store(settings))


def own_backends() -> list[ConfiguredBackend]:
    """The task backends of this package that TASKS has."""
    try:
        from cloudtask.backends.django_kind import ConfiguredBackend
        from cloudtask.framework import task_backends
    except ImportError:
        return []  # A Django without tasks.
    found = []
    for alias in task_backends:
        # What cannot be made is another package's, and Django tells of it.
        with suppress(ImproperlyConfigured):
            found.append(task_backends[alias])
    return [each for each in found if isinstance(each, ConfiguredBackend)]


def backend_of(alias: str) -> ConfiguredBackend:
    """
    The task backend of this package that has an alias.

    Raises:
        InvalidCredentials: There is none.
    """
    # Anyone may name any alias: whatever goes wrong with it is a refusal.
    try:
        from cloudtask.backends.django_kind import ConfiguredBackend
        from cloudtask.framework import task_backends

        backend = task_backends[alias]
    except Exception as error:
        kind = type(error).__qualname__
        raise InvalidCredentials(f"no task backend {alias!r} here: {kind}") from error
    if not isinstance(backend, ConfiguredBackend):
        raise InvalidCredentials(f"the task backend {alias!r} is another package's")
    return backend


def find_all_settings() -> Iterator[Settings]:
    """CLOUDTASK's, and those of the backends that have their own."""
    yield get_settings()
    for backend in own_backends():
        if backend.settings.backend is not None:
            yield backend.settings
