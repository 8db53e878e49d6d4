"""
Google Cloud Tasks as a backend of Django's tasks framework.

    TASKS = {"default": {"BACKEND": "cloudtask.backends.CloudTasksBackend"}}

A backend's OPTIONS take the keys of CLOUDTASK and stand in for them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.utils import timezone

from cloudtask import checks
from cloudtask.backends.borders import border_problem
from cloudtask.backends.django_kind import (
    CloudTask,
    CloudTaskResult,
    ConfiguredBackend,
    check_path,
    result_of,
    task_of,
)
from cloudtask.enqueue.handover import Handover
from cloudtask.enqueue.outgoing import make_outgoing
from cloudtask.enqueue.schedule_time import find_schedule_time
from cloudtask.exceptions import (
    CloudTaskError,
    ConfigurationError,
    MetadataUnavailable,
    TaskNotFound,
)
from cloudtask.framework import (
    DEFAULT_TASK_QUEUE_NAME,
    InvalidTask,
    Task,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from cloudtask.privacy.frames import hide_values
from cloudtask.stores import get_store
from cloudtask.transports import get_transport
from cloudtask.transports.away import AwayTransport
from cloudtask.wire.headers import BACKEND_HEADER
from cloudtask.wire.outgoing import Route
from cloudtask.wire.payload import DJANGO, Payload, Using, encode, new_id
from cloudtask.wire.retry import RetryPolicy
from cloudtask.wire.stored_size import check_size
from cloudtask.wire.task_fields import deadline_problem

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    from cloudtask.conf import Settings
    from cloudtask.transports.base import Transport

#: Tasks that a backend remembers.
_MAX_KNOWN = 1024


class _Known(NamedTuple):
    """What is found out once of a task, which never changes."""

    task: Task[..., Any]
    settings: Settings  # For which it was found out.
    route: Route
    path: str
    using: Using


class ResultsNotKept(TaskResultDoesNotExist, NotImplementedError):
    """
    There is no result to get: nothing keeps results.

    Django's backends without results raise NotImplementedError, those with
    results raise TaskResultDoesNotExist. Code written for either is served.
    """


class CloudTasksBackend(ConfiguredBackend):
    """
    Enqueues Django tasks to Google Cloud Tasks.

    Args:
        alias: Its key in TASKS.
        params: Its value: QUEUES and OPTIONS.
    """

    task_class = CloudTask
    supports_defer = True
    supports_async_task = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        # Tasks that were found valid, by their identity.
        self._known: dict[int, _Known] = {}

    @property
    def supports_priority(self) -> bool:  # type: ignore[override]
        """Whether PRIORITY_QUEUES says which queue serves a priority."""
        settings = self._settings_if_right()
        return settings is None or bool(settings.priority_queues)

    @property
    def supports_get_result(self) -> bool:  # type: ignore[override]
        """Whether results are kept: by the app `cloudtask.results`."""
        settings = self._settings_if_right()
        return settings is not None and get_store(settings).keeps

    def validate_task(self, task: Task[..., Any]) -> None:
        """
        Refuse a task that this backend, or Cloud Tasks, would not take.

        Raises:
            InvalidTask: Django's.
        """
        super().validate_task(task)
        _schedule_time_of(task)
        _check_policies(task)
        settings = self._settings_if_right()
        if settings is not None:
            _queue(settings, task)

    def enqueue(
        self, task: Task[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> CloudTaskResult:
        """
        Hand a task to Cloud Tasks.

        Inside a transaction it is sent after the commit, and never after a
        rollback: until then the result's `enqueued_at` is None. Errors of the
        sending then surface at the commit.

        Raises:
            InvalidTask: Django's, for a task that cannot be run.
            TypeError: An argument is no JSON.
            PayloadTooLarge: The stored task would be over 1,048,569 bytes.
            ConfigurationError: A setting that is needed is missing.
            EnqueueError: Cloud Tasks refused the task; see `retryable`.
        """
        try:
            settings = self.settings
            transport = get_transport(settings)
            result, handover = self._prepared(settings, transport, task, args, kwargs)
            handover.make(waits=settings.on_commit)
        except Exception as error:
            hide_values(error, of_others=False)
            raise
        return result

    async def aenqueue(
        self, task: Task[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> CloudTaskResult:
        """See enqueue()."""
        try:
            settings = self.settings
            transport = get_transport(settings)
            result, handover = self._prepared(settings, transport, task, args, kwargs)
            name = await handover.amake(waits=settings.on_commit)
        except Exception as error:
            hide_values(error, of_others=False)
            raise
        if name is not None:
            _mark_sent(result, name)
            await task_enqueued.asend_robust(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> CloudTaskResult:
        """
        What became of a task.

        Raises:
            TaskResultDoesNotExist: Nothing is known of it, it is none of this
                backend's, or its code is not loaded. Without
                `cloudtask.results`, always.
        """
        store = get_store(self.settings)
        if not store.keeps:
            raise ResultsNotKept(
                "This backend does not support retrieving or refreshing results."
            )
        stored = store.find(result_id)
        if stored is None or stored.payload.backend != self.alias:
            raise TaskResultDoesNotExist(result_id)
        try:
            return result_of(stored)
        except TaskNotFound as error:
            raise TaskResultDoesNotExist(str(error)) from error

    async def aget_result(self, result_id: str) -> CloudTaskResult:
        """See get_result()."""
        if not get_store(self.settings).keeps:
            return self.get_result(result_id)
        return await sync_to_async(self.get_result)(result_id)

    def route(self, payload: Payload) -> Route:
        settings = self.settings
        return self._find_route(settings, get_transport(settings), task_of(payload))

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        return [
            *super().check(**kwargs),
            *checks.check_backend(self.alias, self.options, self.queues),
        ]

    def _sent(self, result: CloudTaskResult, name: str) -> None:
        _mark_sent(result, name)
        task_enqueued.send_robust(type(self), task_result=result)

    def _settings_if_right(self) -> Settings | None:
        # Tasks are defined while modules load, which wrong settings must not
        # break: the checks tell of them, and so does the first enqueue().
        try:
            return self.settings
        except ConfigurationError:
            return None

    def _prepared(
        self,
        settings: Settings,
        transport: Transport,
        task: Task[..., Any],
        args: Any,
        kwargs: dict[str, Any],
    ) -> tuple[CloudTaskResult, Handover]:
        """What the caller gets, and what sends the task."""
        store = get_store(settings)
        try:
            known = self._know(settings, transport, task)
        except MetadataUnavailable as error:
            transport = AwayTransport(settings, error)
            queue = _queue(settings, task)
            route = transport.route(task.module_path, queue, store)
            known = _known(task, settings, route)
        result = CloudTaskResult(
            task=task,
            id=new_id(),
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        payload = Payload(
            id=result.id,
            task=known.path,
            args=tuple(result.args),
            kwargs=result.kwargs,
            enqueued_at=datetime.now(UTC),
            kind=DJANGO,
            backend=self.alias,
            using=known.using,
        )
        outgoing = make_outgoing(
            settings,
            payload,
            known.route,
            encode(payload),
            schedule_time=_schedule_time_of(task),
        )
        check_size(outgoing)
        handover = Handover(
            transport,
            outgoing,
            payload,
            store=store,
            using=None,
            on_sent=partial(self._sent, result),
        )
        return result, handover

    def _know(
        self, settings: Settings, transport: Transport, task: Task[..., Any]
    ) -> _Known:
        """What there is to know of a task, if it is valid."""
        known = self._known.get(id(task))
        if known is not None and known.task is task and known.settings is settings:
            return known
        self.validate_task(task)
        check_path(task)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        route = self._find_route(settings, transport, task)
        known = self._known[id(task)] = _known(task, settings, route)
        return known

    def _find_route(
        self, settings: Settings, transport: Transport, task: Task[..., Any]
    ) -> Route:
        problem = border_problem(task, self.alias)
        if problem is not None:
            raise InvalidTask(problem)
        target = transport.target(settings)
        return Route(
            queue_path=target.queue_path(_queue(settings, task)),
            url=target.url or settings.require_url(),
            headers={
                "Content-Type": "application/json",
                BACKEND_HEADER: quote(self.alias),
                **target.headers,
            },
            deadline=getattr(task, "timeout", None) or settings.deadline,
            retry=getattr(task, "retry", None) or settings.default_retry,
            oidc=target.oidc,
        )


def _known(task: Task[..., Any], settings: Settings, route: Route) -> _Known:
    # Django takes 12.0 for a whole number, too.
    using = Using(task.queue_name, int(task.priority), task.run_after)
    return _Known(task, settings, route, task.module_path, using)


def _mark_sent(result: CloudTaskResult, name: str) -> None:
    object.__setattr__(result, "name", name)
    object.__setattr__(result, "enqueued_at", timezone.now())


def _queue(settings: Settings, task: Task[..., Any]) -> str:
    """The queue's name at Google."""
    name: str | None = task.queue_name
    if task.priority:
        if name != DEFAULT_TASK_QUEUE_NAME:
            raise InvalidTask(
                f"{task.module_path}: priority={task.priority} chooses the queue; "
                f"leave queue_name={name!r} out, or the priority."
            )
        name = None
    try:
        return settings.queue_for(name, task.priority)
    except CloudTaskError as error:
        raise InvalidTask(f"{task.module_path}: {error}") from error


def _schedule_time_of(task: Task[..., Any]) -> datetime | None:
    if task.run_after is None:
        return None
    now = datetime.now(UTC)
    schedule_time = find_schedule_time(now, _aware(task.run_after) - now)
    if schedule_time is None:
        raise InvalidTask(
            f"run_after={task.run_after!r} is more than 30 days ahead, further than "
            "Cloud Tasks schedules."
        )
    return schedule_time


def _check_policies(task: Task[..., Any]) -> None:
    # A task of another backend, sent here by using(), has none.
    timeout, retry = getattr(task, "timeout", None), getattr(task, "retry", None)
    problem = deadline_problem(timeout) if timeout is not None else None
    if problem is not None:
        raise InvalidTask(f"{task.module_path}: timeout= {problem}")
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise InvalidTask(
            f"{task.module_path}: retry= must be a RetryPolicy, not {retry!r}."
        )


def _aware(moment: datetime) -> datetime:
    if timezone.is_aware(moment):
        return moment
    # Only without USE_TZ, where times are those of TIME_ZONE.
    return timezone.make_aware(moment, timezone.get_default_timezone())
