"""
Kinds of tasks: what the `kind` of a payload means.

A kind registers itself when its module is loaded, which the app does at the
start. What no kind knows is refused, and nothing is loaded for a request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from cloudtask.conf import get_settings
from cloudtask.exceptions import InvalidCredentials, TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.stores import StoredResult
    from cloudtask.wire.outgoing import OutgoingTask, Route
    from cloudtask.wire.payload import Payload


class Backend(Protocol):
    """What tasks of a kind are enqueued through, with settings of its own."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What it has in place of keys of CLOUDTASK."""

    @property
    def queues(self) -> Collection[str]:
        """The queues that its tasks may name; none allows any."""

    @property
    def settings(self) -> Settings:
        """
        CLOUDTASK, with its options in place of some keys.

        Raises:
            ConfigurationError: One of them is wrong.
        """


class Kind(ABC):
    """One kind of tasks."""

    name: ClassVar[str]  # What payloads call it.

    def backends(self) -> Collection[Backend]:
        """All backends that its tasks may be enqueued through."""
        return ()

    @abstractmethod
    def settings(self, backend: str | None) -> Settings | None:
        """
        The settings by which a dispatch is let in.

        Args:
            backend: Alias of the backend that it is for, if for any.

        Returns:
            None if that is for another kind to say.

        Raises:
            InvalidCredentials: There is no such backend.
            ConfigurationError: The settings are wrong.
        """

    @abstractmethod
    def attempt(
        self, payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None
    ) -> Attempt:
        """
        The attempt to run a payload, whose backend has accepted it.

        Raises:
            TaskNotFound: This process has no such task.
            InvalidCredentials: Those of its backend do not reach the task.
            MetadataUnavailable: Nobody can tell that now.
        """

    @abstractmethod
    def route(self, payload: Payload) -> Route:
        """
        Where the task of a payload goes, once more.

        Raises:
            TaskNotFound: This process has no such task.
        """

    def tell_sent(  # noqa: B027 - most tell nobody
        self, payload: Payload, task: OutgoingTask, name: str
    ) -> None:
        """
        Tell of a task that was enqueued by its payload.

        Args:
            payload: What was enqueued.
            task: As it was sent.
            name: Its full name at Cloud Tasks.
        """

    def tell_finished(self, stored: StoredResult) -> bool:
        """
        Tell of a task that ended without an attempt.

        Returns:
            Whether a failure is logged thereby.
        """
        return False


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Have a kind asked for the payloads that have its name."""
    _kinds[kind.name] = kind


def find_kind(name: str) -> Kind:
    """
    The kind that a payload names.

    Raises:
        TaskNotFound: There is none of this name.
    """
    try:
        return _kinds[name]
    except KeyError:
        raise TaskNotFound(f"Payloads of kind {name!r} are not run here.") from None


def find_settings(backend: str | None) -> Settings:
    """
    The settings by which a dispatch is let in, of whatever kind it will be.

    Args:
        backend: Alias of the backend that it is for, if for any.

    Raises:
        InvalidCredentials: There is no such backend.
        ConfigurationError: The settings are wrong.
    """
    for kind in _kinds.values():
        settings = kind.settings(backend)
        if settings is not None:
            return settings
    raise InvalidCredentials(f"no task backend {backend!r} here")


def make_attempt(
    payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None = None
) -> Attempt:
    """
    The attempt to run a payload. See Kind.attempt().

    Args:
        payload: What was sent.
        meta: The dispatch's headers, as in `HttpRequest.META`.
        request: The dispatch itself.
    """
    return find_kind(payload.kind).attempt(payload, meta, request)


def find_all_settings() -> Iterator[Settings]:
    """CLOUDTASK's, and those of the backends that have their own."""
    yield get_settings()
    for backend in find_backends():
        if backend.settings.backend is not None:
            yield backend.settings


def find_backends() -> Iterator[Backend]:
    """All backends of all kinds."""
    for kind in _kinds.values():
        yield from kind.backends()
