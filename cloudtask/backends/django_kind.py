"""
Tasks of Django's framework: how they are found, run and reported.

Nothing is imported for a payload. A task is found where its dotted path leads
in modules that are loaded, and a second name for it, left where it was
renamed, leads there just as well.
"""

from __future__ import annotations

import logging
import sys
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass, fields
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from traceback import format_exception
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.utils import timezone

from cloudtask.conf import get_backend_settings
from cloudtask.dispatch import execution
from cloudtask.dispatch.execution import Attempt, Outcome, Status, make_request
from cloudtask.dispatch.workers import worker_id
from cloudtask.exceptions import TaskNotFound
from cloudtask.framework import (
    TASK_REFRESH_ATTRS,
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from cloudtask.privacy.frames import hide_values
from cloudtask.privacy.redaction import sensitive_problem
from cloudtask.stores import get_store
from cloudtask.wire.limits import MAX_PATH_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.stores import StoredResult
    from cloudtask.wire.attempts import CloudTaskRequest
    from cloudtask.wire.outgoing import Route
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.retry import RetryPolicy

logger = logging.getLogger("cloudtask")


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
        super().validate_task(task)
        if isgeneratorfunction(task.func) or isasyncgenfunction(task.func):
            raise InvalidTask(
                f"{task.module_path} is a generator: calling it runs nothing of it."
            )
        names = getattr(task, "sensitive", ())
        problem = sensitive_problem(task.func, names, int(task.takes_context))
        if problem is not None:
            raise InvalidTask(f"{task.module_path}: sensitive= {problem}")

    @abstractmethod
    def route(self, payload: Payload) -> Route:
        """Where the task of a payload goes, once more."""


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
        return execution.call(DjangoDefinition.of(self), *args, **kwargs)

    async def acall(self, /, *args: Any, **kwargs: Any) -> Any:
        """See call()."""
        return await execution.acall(DjangoDefinition.of(self), *args, **kwargs)


# By alias, with the TASKS that they were made of.
_shared: dict[str, tuple[object, ConfiguredBackend]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTaskResult(TaskResult):  # type: ignore[misc,type-arg]
    """A Django task result that knows its task at Cloud Tasks."""

    name: str | None = None  # Full resource name; None until it is sent.
    attempt: int = 0  # The one that runs or ran, 1 for the first.

    def __repr__(self) -> str:
        # Without arguments, which may be sensitive.
        return (
            f"<CloudTaskResult {self.task.module_path} id={self.id} "
            f"status={self.status.value}>"
        )

    @property
    def attempts(self) -> int:
        return self.attempt

    def refresh(self) -> None:
        self._take(self.task.get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        self._take(await self.task.get_backend().aget_result(self.id))

    def _take(self, fresh: Any) -> None:
        # All but what the task was enqueued with.
        for name in {*TASK_REFRESH_ATTRS, "name", "attempt"}:
            object.__setattr__(self, name, getattr(fresh, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTaskContext(TaskContext):  # type: ignore[misc,type-arg]
    """A Django task context with the request that SDK tasks get."""

    request: CloudTaskRequest


@dataclass(frozen=True, slots=True)
class DjangoDefinition:
    """A Django task, as the executor sees it."""

    path: str
    func: Callable[..., Any]
    is_async: bool
    retry: RetryPolicy | None
    deadline: timedelta | None
    sensitive: tuple[str, ...]

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


class SensitiveError(Exception):
    """Stands for an exception that tells what is sensitive."""


@dataclass(frozen=True, slots=True)
class DjangoAttempt(Attempt):
    """An attempt that Django's signals tell of."""

    backend: ConfiguredBackend
    result: CloudTaskResult

    # Django's own logger does.
    reports_failure: ClassVar[bool] = False

    @classmethod
    def of(
        cls,
        payload: Payload,
        backend: ConfiguredBackend,
        meta: Mapping[str, Any],
        request: HttpRequest | None,
    ) -> DjangoAttempt:
        """
        The attempt to run a payload.

        Raises:
            TaskNotFound: No such task is loaded in this process.
        """
        task = task_of(payload)
        definition = DjangoDefinition.of(task)
        settings = backend.settings
        asked = make_request(payload, definition, settings, meta, request)
        now = timezone.now()
        result = CloudTaskResult(
            task=task,
            id=payload.id,
            status=TaskResultStatus.RUNNING,
            enqueued_at=_as_django_has_it(payload.enqueued_at),
            started_at=now,
            last_attempted_at=now,
            finished_at=None,
            args=list(payload.args),
            kwargs=payload.kwargs,
            backend=backend.alias,
            errors=[],
            worker_ids=[worker_id()],
            attempt=asked.attempt,
        )
        store = get_store(settings)
        return cls(definition, payload, asked, backend, result, store=store)

    def arguments(self) -> tuple[Any, ...]:
        if not self.result.task.takes_context:
            return self.payload.args
        context = CloudTaskContext(task_result=self.result, request=self.request)
        return (context, *self.payload.args)

    def started(self) -> None:
        task_started.send_robust(type(self.backend), task_result=self.result)

    async def astarted(self) -> None:
        await task_started.asend_robust(type(self.backend), task_result=self.result)

    def ended(self, outcome: Outcome, error: BaseException | None = None) -> None:
        self._settle(outcome, error)
        if self.result.is_finished:
            self._tell_finished(error)

    async def aended(
        self, outcome: Outcome, error: BaseException | None = None
    ) -> None:
        self._settle(outcome, error)
        if self.result.is_finished:
            # Not by asend_robust(), which before Django 6.1 hides from
            # receivers, loggers above all, the exception that is handled.
            await sync_to_async(self._tell_finished)(error)

    def _tell_finished(self, error: BaseException | None) -> None:
        trace = self.scrubbed_trace(error)
        if trace is None:
            task_finished.send_robust(type(self.backend), task_result=self.result)
            return
        # Django's logger logs the exception that is handled.
        try:
            raise SensitiveError(trace)
        except SensitiveError as shown:
            # They have what is hidden here.
            shown.__context__ = shown.__traceback__ = None
            task_finished.send_robust(type(self.backend), task_result=self.result)

    def _settle(self, outcome: Outcome, error: BaseException | None) -> None:
        if outcome.status is Status.RETRY:
            _change(self.result, status=TaskResultStatus.READY)
            return
        if error is not None:
            self.result.errors.append(self._task_error(error))
        is_done = outcome.status is Status.DONE
        _change(
            self.result,
            status=TaskResultStatus.SUCCESSFUL if is_done else TaskResultStatus.FAILED,
            finished_at=timezone.now(),
            _return_value=self._normalized(outcome.value),
        )

    def _task_error(self, error: BaseException) -> TaskError:
        kind = type(error)
        return TaskError(
            exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
            traceback=self.scrubbed("".join(format_exception(error))),
        )

    def _normalized(self, value: Any) -> Any:
        try:
            return normalize_json(value)
        except (TypeError, ValueError, RecursionError) as error:
            # The work is done, and doing it again would not change this.
            logger.warning(
                "task=%s id=%s its return value is no JSON and is dropped: %s",
                self.definition.path,
                self.payload.id,
                error,
            )
            return None


def result_of(stored: StoredResult) -> CloudTaskResult:
    """
    What Django makes of what is known of a task.

    Raises:
        TaskNotFound: No module that is loaded has the task.
    """
    payload = stored.payload
    result = CloudTaskResult(
        task=task_of(payload),
        id=payload.id,
        status=TaskResultStatus(stored.status),
        enqueued_at=_as_django_has_it(stored.enqueued_at),
        started_at=_as_django_has_it(stored.started_at),
        last_attempted_at=_as_django_has_it(stored.last_attempted_at),
        finished_at=_as_django_has_it(stored.finished_at),
        args=list(payload.args),
        kwargs=payload.kwargs,
        backend=payload.backend or "",
        errors=[
            TaskError(exception_class_path=each.type, traceback=each.traceback)
            for each in stored.errors
        ],
        worker_ids=[stored.worker_id] if stored.worker_id else [],
        attempt=stored.attempt,
        name=stored.name,
    )
    with suppress(TypeError, ValueError):
        _change(result, _return_value=normalize_json(stored.value))
    return result


def find_task(path: str) -> Task[..., Any]:
    """
    The Django task that a dotted path leads to.

    Raises:
        TaskNotFound: No module that is loaded has it.
    """
    value = _loaded(path) if len(path) <= MAX_PATH_LENGTH else None
    # By its type: isinstance() would evaluate a lazy object.
    if not issubclass(type(value), Task):
        raise TaskNotFound(
            f"No Django task is loaded as {path!r}. If it exists, move it to the "
            "tasks.py of an app, or list its module in CLOUDTASK['IMPORTS']."
        )
    return cast("Task[..., Any]", value)


def check_path(task: Task[..., Any]) -> None:
    """
    Refuse a task that its dispatch would not find.

    Raises:
        InvalidTask: Django's. Its path leads to something else.
    """
    with suppress(TaskNotFound):
        if find_task(task.module_path).func is task.func:
            return
    raise InvalidTask(
        f"{task.module_path} does not lead to this task, so no process could run it. "
        "Decorate the function where it is defined, at the top of a module, and "
        "let no other name or decorator stand in its place."
    )


def _change(result: CloudTaskResult, **values: Any) -> None:
    # Frozen for all but its backend.
    for name, value in values.items():
        object.__setattr__(result, name, value)


def _loaded(path: str) -> object:
    names = path.split(".")
    for end in range(len(names) - 1, 0, -1):
        module = sys.modules.get(".".join(names[:end]))
        if isinstance(module, ModuleType):
            return _member(module, names[end:])
    return None


def _member(module: ModuleType, names: list[str]) -> object:
    # Not by getattr(), which may run a module's own __getattr__.
    value: object = vars(module).get(names[0])
    for name in names[1:]:
        value = vars(value).get(name) if isinstance(value, type) else None
    return value


def task_of(payload: Payload) -> Task[..., Any]:
    """
    The task of a payload, as using() had changed it.

    Raises:
        TaskNotFound: No module that is loaded has it.
    """
    task = find_task(payload.task)
    changes: dict[str, Any] = {"backend": payload.backend}
    if payload.using is not None:
        changes |= payload.using._asdict()
    if all(getattr(task, name) == value for name, value in changes.items()):
        return task
    # Not by replace(): a queue that was dropped from QUEUES since would make
    # it refuse what is under way.
    changed: Task[..., Any] = object.__new__(type(task))
    for field in fields(task):
        value = changes.get(field.name, getattr(task, field.name))
        object.__setattr__(changed, field.name, value)
    return changed


def _as_django_has_it(moment: datetime | None) -> datetime | None:
    """A time as Django's own backends give it: without USE_TZ naive."""
    if moment is None or django_settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
