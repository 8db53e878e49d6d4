"""The backend that enqueues Django's tasks to Google Cloud Tasks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from asgiref.sync import sync_to_async

from cloudtask import checks
from cloudtask.backends import kind  # noqa: F401 - registers itself
from cloudtask.backends.attempts import make_attempt
from cloudtask.backends.base import ConfiguredBackend
from cloudtask.backends.borders import check_border, find_border_problem
from cloudtask.backends.definitions import CloudTask
from cloudtask.backends.finding import check_path, restore_task
from cloudtask.backends.options import check_policies, find_queue, find_task_time
from cloudtask.backends.results import (
    CloudTaskResult,
    make_ready_result,
    make_result,
)
from cloudtask.backends.signals import TaskSignals
from cloudtask.conf import clock
from cloudtask.enqueue.handover import Handover
from cloudtask.enqueue.outgoing import make_outgoing
from cloudtask.enqueue.routes import make_route
from cloudtask.exceptions import (
    ConfigurationError,
    MetadataUnavailable,
    TaskNotFound,
)
from cloudtask.framework import (
    InvalidTask,
    Task,
    TaskResultDoesNotExist,
)
from cloudtask.privacy.frames import hide_values
from cloudtask.stores import get_store
from cloudtask.transports import get_transport
from cloudtask.transports.away import AwayTransport
from cloudtask.wire.headers import BACKEND_HEADER
from cloudtask.wire.payload import DJANGO, Payload, Using, encode, new_id
from cloudtask.wire.stored_size import check_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.checks import CheckMessage
    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.stores import ResultStore, StoredResult
    from cloudtask.transports.base import Transport
    from cloudtask.wire.outgoing import OutgoingTask, Route

#: Tasks that a backend remembers.
_MAX_PLANS = 1024


class _Plan(NamedTuple):
    """What is found out once of a task, and never changes."""

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
        self._plans: dict[int, _Plan] = {}

    @property
    def supports_priority(self) -> bool:  # type: ignore[override]
        """Whether PRIORITY_QUEUES says which queue serves a priority."""
        settings = self._find_settings()
        return settings is None or bool(settings.priority_queues)

    @property
    def supports_get_result(self) -> bool:  # type: ignore[override]
        """Whether results are kept: by the app `cloudtask.results`."""
        settings = self._find_settings()
        return settings is not None and get_store(settings).keeps

    def validate_task(self, task: Task[..., Any]) -> None:
        """
        Refuse a task that this backend, or Cloud Tasks, would not take.

        Raises:
            InvalidTask: Django's.
        """
        super().validate_task(task)
        find_task_time(task)
        check_policies(task)
        settings = self._find_settings()
        if settings is not None:
            find_queue(settings, task)

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
            TypeError: An argument is not JSON.
            PayloadTooLarge: The stored task would be over 1,048,569 bytes.
            ConfigurationError: A setting that is needed is missing.
            EnqueueError: Cloud Tasks refused the task; see `retryable`.
        """
        try:
            settings = self.settings
            transport = get_transport(settings)
            result, handover = self._prepare(settings, transport, task, args, kwargs)
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
            result, handover = self._prepare(settings, transport, task, args, kwargs)
            await handover.amake(waits=settings.on_commit)
        except Exception as error:
            hide_values(error, of_others=False)
            raise
        return result

    def get_result(self, result_id: str) -> CloudTaskResult:
        """
        What became of a task.

        Raises:
            TaskResultDoesNotExist: Nothing is known of it, it belongs to
                another backend, or its code is not loaded. Without
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
            return make_result(stored)
        except TaskNotFound as error:
            raise TaskResultDoesNotExist(str(error)) from error

    async def aget_result(self, result_id: str) -> CloudTaskResult:
        """See get_result()."""
        if not get_store(self.settings).keeps:
            return self.get_result(result_id)
        return await sync_to_async(self.get_result)(result_id)

    def attempt(
        self, payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None
    ) -> Attempt:
        """The attempt to run a payload, if it may. See Kind.attempt()."""
        attempt = make_attempt(self, payload, meta, request)
        check_border(payload, self.alias)
        return attempt

    def tell_sent(self, payload: Payload, task: OutgoingTask, name: str) -> None:
        """Send `task_enqueued` for a task that was enqueued by its payload."""
        result = make_ready_result(
            *(self.alias, restore_task(payload), payload.id),
            *(list(payload.args), payload.kwargs),
        )
        TaskSignals(type(self), result).sent(task, name)

    def tell_finished(self, stored: StoredResult) -> None:
        """Send `task_finished` for a task that ended without an attempt."""
        TaskSignals(type(self), make_result(stored)).tell_finished()

    def route(self, payload: Payload) -> Route:
        """See ConfiguredBackend.route()."""
        settings = self.settings
        return self._find_route(
            settings, get_transport(settings), restore_task(payload)
        )

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """Check the backend: what Django does, and its settings."""
        return [
            *super().check(**kwargs),
            *checks.check_backend(self.alias, self.options, self.queues),
        ]

    def _find_settings(self) -> Settings | None:
        # Tasks are defined while modules load, which wrong settings must not
        # break: the checks tell of them, and so does the first enqueue().
        try:
            return self.settings
        except ConfigurationError:
            return None

    def _prepare(
        self,
        settings: Settings,
        transport: Transport,
        task: Task[..., Any],
        args: Any,
        kwargs: dict[str, Any],
    ) -> tuple[CloudTaskResult, Handover]:
        """What the caller gets, and what sends the task."""
        store = get_store(settings)
        transport, plan = self._choose_plan(settings, transport, store, task)
        result = make_ready_result(self.alias, task, new_id(), args, kwargs)
        payload = self._make_payload(plan, result)
        outgoing = make_outgoing(
            settings,
            payload,
            plan.route,
            encode(payload),
            schedule_time=find_task_time(task),
        )
        check_size(outgoing, spare=store.spare_bytes)
        signals = TaskSignals(type(self), result)
        handover = Handover(
            transport,
            outgoing,
            payload,
            store=store,
            using=None,
            on_sent=partial(signals.sent, outgoing),
            aon_sent=partial(signals.asent, outgoing),
        )
        return result, handover

    def _choose_plan(
        self,
        settings: Settings,
        transport: Transport,
        store: ResultStore,
        task: Task[..., Any],
    ) -> tuple[Transport, _Plan]:
        """What sends the task, and where; an outage is told, or outlived."""
        try:
            return transport, self._find_plan(settings, transport, task)
        except MetadataUnavailable as error:
            away = AwayTransport(settings, error)
            route = away.route(task.module_path, find_queue(settings, task), store)
            return away, _make_plan(task, settings, route)

    def _make_payload(self, plan: _Plan, result: CloudTaskResult) -> Payload:
        return Payload(
            id=result.id,
            task=plan.path,
            args=tuple(result.args),
            kwargs=result.kwargs,
            enqueued_at=clock.now(),
            kind=DJANGO,
            backend=self.alias,
            using=plan.using,
        )

    def _find_plan(
        self, settings: Settings, transport: Transport, task: Task[..., Any]
    ) -> _Plan:
        """What is found out of a task, if it is valid."""
        plan = self._plans.get(id(task))
        if plan is not None and plan.task is task and plan.settings is settings:
            return plan
        self.validate_task(task)
        check_path(task)
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        route = self._find_route(settings, transport, task)
        plan = self._plans[id(task)] = _make_plan(task, settings, route)
        return plan

    def _find_route(
        self, settings: Settings, transport: Transport, task: Task[..., Any]
    ) -> Route:
        problem = find_border_problem(task, self.alias)
        if problem is not None:
            raise InvalidTask(problem)
        target = transport.target(settings)
        return make_route(
            settings,
            target,
            queue=find_queue(settings, task),
            url=target.url or settings.require_url(),
            headers={
                "Content-Type": "application/json",
                BACKEND_HEADER: quote(self.alias),
            },
            deadline=getattr(task, "timeout", None),
            retry=getattr(task, "retry", None),
        )


def _make_plan(task: Task[..., Any], settings: Settings, route: Route) -> _Plan:
    # Django takes 12.0 for a whole number, too.
    using = Using(task.queue_name, int(task.priority), task.run_after)
    return _Plan(task, settings, route, task.module_path, using)
