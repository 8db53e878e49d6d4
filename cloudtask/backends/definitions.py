"""Tasks of Django's framework: what `@task` makes, and how they are called."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ClassVar

from cloudtask.backends.base import ConfiguredBackend
from cloudtask.dispatch import calling
from cloudtask.framework import BaseTaskBackend, Task, task_backends
from cloudtask.privacy.frames import hide_values

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from cloudtask.wire.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTask(Task):  # type: ignore[type-arg]
    """
    A Django task with what Cloud Tasks offers beyond.

    From Django 6.1 on, and with the backport, `@task` takes the options:
    `@task(timeout=timedelta(minutes=5), retry=RetryPolicy(max_attempts=3))`.
    """

    timeout: timedelta | None = None  # For one attempt; 15 s to 30 min.
    retry: RetryPolicy | None = None  # When a failed attempt is repeated.
    sensitive: tuple[str, ...] = ()  # Arguments whose values nobody sees.

    def get_backend(self) -> BaseTaskBackend:
        """
        The backend that it is for.

        Django makes one for each thread, and under ASGI for each request.
        Those of this package are the same for all: they keep nothing that is
        one caller's.
        """
        configured = task_backends.settings
        shared = _shared.get(self.backend)
        if shared is not None and shared[0] is configured:
            return shared[1]
        backend = task_backends[self.backend]
        if isinstance(backend, ConfiguredBackend):
            _shared[self.backend] = (configured, backend)
        return backend

    # As Django's own, but that an argument of the task may be called `self`.

    def enqueue(self, /, *args: Any, **kwargs: Any) -> Any:
        # This frame has the arguments, too.
        try:
            backend: Any = self.get_backend()
            return backend.enqueue(self, args, kwargs)
        except Exception as error:
            hide_values(error, of_others=False)
            raise

    async def aenqueue(self, /, *args: Any, **kwargs: Any) -> Any:
        """See enqueue()."""
        try:
            backend: Any = self.get_backend()
            return await backend.aenqueue(self, args, kwargs)
        except Exception as error:
            hide_values(error, of_others=False)
            raise

    def call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function here and now."""
        return calling.call(DjangoDefinition.of(self), *args, **kwargs)

    async def acall(self, /, *args: Any, **kwargs: Any) -> Any:
        """See call()."""
        return await calling.acall(DjangoDefinition.of(self), *args, **kwargs)


# By alias, with the TASKS that they were made of.
_shared: dict[str, tuple[object, ConfiguredBackend]] = {}


@dataclass(frozen=True, slots=True)
class DjangoDefinition:
    """A Django task, as the executor sees it."""

    path: str
    func: Callable[..., Any]
    is_async: bool
    retry: RetryPolicy | None
    deadline: timedelta | None
    sensitive: tuple[str, ...]

    run_once: ClassVar[bool] = False  # Only settings say so.

    @classmethod
    def of(cls, task: Task[..., Any]) -> DjangoDefinition:
        # A task of another backend may have been sent here by using().
        return cls(
            path=task.module_path,
            func=task.func,
            is_async=iscoroutinefunction(task.func),
            retry=getattr(task, "retry", None),
            deadline=getattr(task, "timeout", None),
            sensitive=getattr(task, "sensitive", ()),
        )
