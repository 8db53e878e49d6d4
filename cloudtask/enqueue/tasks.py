"""Task definitions, and the tasks that are made of them."""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from cloudtask.conf import clock, get_settings
from cloudtask.dispatch import calling
from cloudtask.enqueue import kind, registry  # noqa: F401 - registers itself
from cloudtask.enqueue.enqueued import EnqueuedTask
from cloudtask.enqueue.handover import Handover
from cloudtask.enqueue.options import TaskOptions, check_options, check_url
from cloudtask.enqueue.outgoing import make_outgoing
from cloudtask.enqueue.routes import make_route
from cloudtask.enqueue.schedule_time import read_schedule_time
from cloudtask.enqueue.signatures import Arguments
from cloudtask.exceptions import InvalidTask, MetadataUnavailable
from cloudtask.privacy.frames import hide_values
from cloudtask.stores import get_store
from cloudtask.transports import get_transport
from cloudtask.transports.away import AwayTransport
from cloudtask.wire import naming
from cloudtask.wire.payload import Payload, encode, new_id
from cloudtask.wire.request import CloudTaskRequest
from cloudtask.wire.retry import ONE_ATTEMPT
from cloudtask.wire.stored_size import check_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from cloudtask.conf import Settings
    from cloudtask.transports.base import Transport
    from cloudtask.wire.outgoing import OutgoingTask, Route

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class TaskDefinition(Generic[P, R]):
    """
    A decorated function. Calling it binds arguments and gives a `Task`.

    Attributes:
        func: The plain function.
        path: What payloads call it, as in `shop.tasks.add`.
        options: What the decorator was given.
        headers: Sent with every dispatch.
    """

    def __init__(self, func: Callable[..., Any], options: TaskOptions) -> None:
        functools.update_wrapper(self, func, updated=())
        self.func = func
        self.options = options
        self.aliases = options.aliases
        self.deadline = options.deadline
        self.retry = ONE_ATTEMPT if options.run_once else options.retry
        self.run_once = options.run_once
        self.sensitive = options.sensitive
        self.path = options.path or f"{func.__module__}.{func.__qualname__}"
        self.is_async = inspect.iscoroutinefunction(func)
        self._arguments = Arguments(self.path, func)
        check_options(self.path, options)
        self.headers = {"Content-Type": "application/json", **(options.headers or {})}
        self._route: tuple[Settings, Route] | None = None
        self._adopt_attributes(func)
        registry.register(self)

    def _adopt_attributes(self, func: Callable[..., Any]) -> None:
        """Have what the function was given, but for what a definition has."""
        for name, value in vars(func).items():
            if not hasattr(self, name):
                setattr(self, name, value)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """
        Bind arguments. Nothing runs yet.

        Raises:
            TypeError: The function does not take these arguments.
        """
        try:
            self._arguments.check(args, kwargs)
        except TypeError as error:
            hide_values(error, of_others=True)
            # This frame is in the traceback, too.
            del args, kwargs
            raise
        return Task(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<TaskDefinition {self.path}>"

    def task_id(self, args: Any, kwargs: Any) -> str | None:
        """The id of a named task with these arguments, or None."""
        named = self.options.named
        if named is False:
            return None
        if named is True:
            return naming.make_task_id(self.path)
        if isinstance(named, str):
            return naming.make_task_id(self.path, named)
        key = named(**self._arguments.by_name(args, kwargs))
        # Checked here, too: a None would stand for the function's own name.
        naming.check_key(self.path, key)
        return naming.make_task_id(self.path, key)

    def route(self, settings: Settings, transport: Transport) -> Route:
        """Where its tasks go. Found once for each settings object."""
        if self._route is None or self._route[0] is not settings:
            self._route = (settings, self._find_route(settings, transport))
        return self._route[1]

    def _find_route(self, settings: Settings, transport: Transport) -> Route:
        options, target = self.options, transport.target(settings)
        return make_route(
            settings,
            target,
            queue=settings.queue_for(options.queue, options.priority),
            url=options.url or target.url or "",
            headers=self.headers,
            deadline=self.deadline,
            retry=self.retry,
        )


class Task(Generic[R_co]):
    """
    A definition bound to arguments: one piece of work.

    Attributes:
        definition: What it was made from.
        args: Positional arguments, the request left out.
        kwargs: Keyword arguments.
        url: Where it will be dispatched. May be changed until it is enqueued.
    """

    __slots__ = ("_enqueued", "_url", "args", "definition", "kwargs")

    def __init__(
        self,
        definition: TaskDefinition[..., R_co],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.definition = definition
        self.args, self.kwargs = args, kwargs
        self._url = definition.options.url
        self._enqueued = False

    @property
    def queue(self) -> str:
        """Name of the queue it goes to."""
        options = self.definition.options
        return get_settings().queue_for(options.queue, options.priority)

    @property
    def url(self) -> str:
        """Where it will be dispatched."""
        return self._url or get_settings().require_url()

    @url.setter
    def url(self, url: str) -> None:
        if self._enqueued:
            raise InvalidTask(
                f"{self.definition.path}: the URL cannot change, the task is enqueued."
            )
        check_url(self.definition.path, url)
        self._url = url

    def __repr__(self) -> str:
        return f"<Task {self.definition.path}>"

    def delay(
        self, *, on_commit: bool | None = None, using: str | None = None
    ) -> EnqueuedTask:
        """
        Enqueue this task, to be run as soon as possible.

        Inside a transaction it is sent after the commit, and never after a
        rollback. Errors of the sending then surface at the commit.

        Args:
            on_commit: False sends at once, whatever the settings say.
            using: Alias of the database whose transaction counts.

        Raises:
            EncodeError: An argument cannot be carried.
            PayloadTooLarge: The stored task would be over 1,048,569 bytes.
            ConfigurationError: A setting that is needed is missing.
            EnqueueError: Cloud Tasks refused the task; see `retryable`.
        """
        return self._enqueue(None, on_commit, using)

    push = delay

    def schedule(
        self,
        at: datetime | None = None,
        *,
        after: timedelta | None = None,
        on_commit: bool | None = None,
        using: str | None = None,
    ) -> EnqueuedTask:
        """
        Enqueue this task, to be run no earlier than a given time.

        Args:
            at: Aware datetime, at most 30 days ahead. A past one means "now".
            after: Time from now, in place of `at`.
            on_commit: See delay().
            using: See delay().

        Raises:
            InvalidTask: The time is naive, too far ahead, or missing.
            EnqueueError: See delay().
        """
        schedule_time = read_schedule_time(self.definition.path, at, after)
        return self._enqueue(schedule_time, on_commit, using)

    def execute(self) -> R_co:
        """
        Run the function here and now, without the queue.

        Returns:
            What the function returns.
        """
        value: R_co = calling.call(
            self.definition, self._make_request_in_place(), *self.args, **self.kwargs
        )
        return value

    __call__ = execute

    async def adelay(
        self, *, on_commit: bool | None = None, using: str | None = None
    ) -> EnqueuedTask:
        """See delay()."""
        return await self._aenqueue(None, on_commit, using)

    apush = adelay

    async def aschedule(
        self,
        at: datetime | None = None,
        *,
        after: timedelta | None = None,
        on_commit: bool | None = None,
        using: str | None = None,
    ) -> EnqueuedTask:
        """See schedule()."""
        schedule_time = read_schedule_time(self.definition.path, at, after)
        return await self._aenqueue(schedule_time, on_commit, using)

    async def aexecute(self) -> R_co:
        """See execute()."""
        value: R_co = await calling.acall(
            self.definition, self._make_request_in_place(), *self.args, **self.kwargs
        )
        return value

    def _enqueue(
        self, schedule_time: datetime | None, on_commit: bool | None, using: str | None
    ) -> EnqueuedTask:
        try:
            settings = get_settings()
            enqueued, handover = self._prepare(settings, schedule_time, using)
            handover.make(waits=self._waits(settings, on_commit))
        except Exception as error:
            hide_values(error, of_others=False)
            raise
        self._enqueued = True
        return enqueued

    async def _aenqueue(
        self, schedule_time: datetime | None, on_commit: bool | None, using: str | None
    ) -> EnqueuedTask:
        try:
            settings = get_settings()
            enqueued, handover = self._prepare(settings, schedule_time, using)
            await handover.amake(waits=self._waits(settings, on_commit))
        except Exception as error:
            hide_values(error, of_others=False)
            raise
        self._enqueued = True
        return enqueued

    def _waits(self, settings: Settings, on_commit: bool | None) -> bool:
        """Whether it is held back until the commit, if there is to be one."""
        for choice in (on_commit, self.definition.options.on_commit):
            if choice is not None:
                return choice
        return settings.on_commit

    def _prepare(
        self, settings: Settings, schedule_time: datetime | None, using: str | None
    ) -> tuple[EnqueuedTask, Handover]:
        """What the caller gets, and what sends the task."""
        transport, store = get_transport(settings), get_store(settings)
        try:
            route = self._find_route_with_url(settings, transport)
        except MetadataUnavailable as error:
            transport = AwayTransport(settings, error)
            route = transport.route(self.definition.path, self.queue, store)
            route = replace(route, url=self._url or "")
        payload, outgoing = self._make_outgoing(settings, route, schedule_time)
        check_size(outgoing, spare=store.spare_bytes)
        enqueued = EnqueuedTask(outgoing.id, route.queue, schedule_time=schedule_time)
        handover = Handover(
            *(transport, outgoing, payload),
            store=store,
            using=using,
            on_sent=enqueued.note_sent,
        )
        return enqueued, handover

    def _make_outgoing(
        self, settings: Settings, route: Route, schedule_time: datetime | None
    ) -> tuple[Payload, OutgoingTask]:
        definition = self.definition
        registry.check_owner(definition)
        payload = Payload(
            id=new_id(),
            task=definition.path,
            args=self.args,
            kwargs=self.kwargs,
            enqueued_at=clock.now(),
        )
        return payload, make_outgoing(
            settings,
            payload,
            route,
            encode(payload),
            task_id=definition.task_id(self.args, self.kwargs),
            schedule_time=schedule_time,
        )

    def _find_route_with_url(self, settings: Settings, transport: Transport) -> Route:
        route = self.definition.route(settings, transport)
        url = self._url or route.url or settings.require_url()
        return route if url == route.url else replace(route, url=url, prepared=None)

    def _make_request_in_place(self) -> CloudTaskRequest:
        return CloudTaskRequest(id=new_id(), last_attempt=1)
