"""Task backends of this package: what they share, and which are there."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from cloudtask.conf import get_backend_settings
from cloudtask.exceptions import InvalidCredentials
from cloudtask.framework import BaseTaskBackend, InvalidTask, task_backends
from cloudtask.privacy.redaction import find_sensitive_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.framework import Task
    from cloudtask.stores import StoredResult
    from cloudtask.wire.outgoing import OutgoingTask, Route
    from cloudtask.wire.payload import Payload


class ConfiguredBackend(BaseTaskBackend):
    """A task backend whose OPTIONS stand in for keys of CLOUDTASK."""

    @property
    def settings(self) -> Settings:
        """
        CLOUDTASK, with OPTIONS in place of some of its keys.

        Raises:
            ConfigurationError: One of them is wrong.
        """
        return get_backend_settings(self.alias, self.options)

    def validate_task(self, task: Task[..., Any]) -> None:
        """
        Refuse a task whose function cannot run as one.

        Raises:
            InvalidTask: It is a generator, or `sensitive` does not fit it.
        """
        super().validate_task(task)
        if isgeneratorfunction(task.func) or isasyncgenfunction(task.func):
            raise InvalidTask(
                f"{task.module_path} is a generator: calling it runs nothing of it."
            )
        names = getattr(task, "sensitive", ())
        problem = find_sensitive_problem(task.func, names, int(task.takes_context))
        if problem is not None:
            raise InvalidTask(f"{task.module_path}: sensitive= {problem}")

    @abstractmethod
    def attempt(
        self, payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None
    ) -> Attempt:
        """The attempt to run a payload. See Kind.attempt()."""

    @abstractmethod
    def route(self, payload: Payload) -> Route:
        """Where the task of a payload goes, once more."""

    @abstractmethod
    def tell_sent(self, payload: Payload, task: OutgoingTask, name: str) -> None:
        """Tell of a task that was enqueued by its payload."""

    @abstractmethod
    def tell_finished(self, stored: StoredResult) -> None:
        """Tell of a task that ended without an attempt."""


def find_backend(alias: str) -> ConfiguredBackend:
    """
    The task backend of this package that has an alias.

    Raises:
        InvalidCredentials: There is none.
    """
    # Anyone may name any alias: whatever goes wrong with it is a refusal.
    try:
        backend = task_backends[alias]
    except Exception as error:
        kind = type(error).__qualname__
        raise InvalidCredentials(f"no task backend {alias!r} here: {kind}") from error
    if not isinstance(backend, ConfiguredBackend):
        raise InvalidCredentials(f"the task backend {alias!r} is another package's")
    return backend


def list_backends() -> list[ConfiguredBackend]:
    """The task backends of this package that TASKS has."""
    found = []
    for alias in task_backends:
        # What cannot be made is another package's, and Django tells of it.
        with suppress(ImproperlyConfigured):
            found.append(task_backends[alias])
    return [each for each in found if isinstance(each, ConfiguredBackend)]
