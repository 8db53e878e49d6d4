"""The kind of ticks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from cloudtask.dispatch import kinds
from cloudtask.dispatch.attempts import Attempt, make_request
from cloudtask.dispatch.reporting import LogObserver
from cloudtask.exceptions import InvalidCredentials, InvalidSchedule, TaskNotFound
from cloudtask.results.store import DATABASE_STORE
from cloudtask.schedules.models import ScheduledTask
from cloudtask.schedules.runs import make_payload
from cloudtask.schedules.ticks import TICK, TICK_PATH, run_tick
from cloudtask.stores import NO_STORE
from cloudtask.wire.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.http import HttpRequest

    from cloudtask.conf import Settings
    from cloudtask.wire.outgoing import Route
    from cloudtask.wire.payload import Payload

_OBSERVERS = (LogObserver(reports_failures=True),)


@dataclass(frozen=True, slots=True)
class TickDefinition:
    """A tick, as the executor sees it."""

    path: ClassVar[str] = TICK_PATH
    func: ClassVar[Callable[..., Any]] = staticmethod(run_tick)
    is_async: ClassVar[bool] = False
    #: It comes until it is answered: the queue's own limit would lose slots.
    retry: ClassVar[RetryPolicy] = RetryPolicy(
        max_attempts=-1,
        min_backoff=timedelta(seconds=1),
        max_backoff=timedelta(minutes=1),
    )
    deadline: ClassVar[timedelta] = timedelta(minutes=1)
    run_once: ClassVar[bool] = False
    sensitive: ClassVar[tuple[str, ...]] = ()


_DEFINITION = TickDefinition()


class TickKind(kinds.Kind):
    """Ticks of schedules. They go where the task of the schedule goes."""

    name = TICK

    def settings(self, backend: str | None) -> Settings | None:
        """None: the kind of the scheduled task knows them."""
        return None

    def attempt(
        self, payload: Payload, meta: Mapping[str, Any], request: HttpRequest | None
    ) -> Attempt:
        """The attempt to decide about slots. See Kind.attempt()."""
        row = _find_row(payload)
        # Of a schedule that was deleted it does nothing.
        if row is not None and (row.backend or None) != payload.backend:
            raise InvalidCredentials("the tick is for a schedule of another backend")
        # Cloud Scheduler's comes again and again as the same task.
        is_armed = "generation" in payload.kwargs
        return Attempt(
            _DEFINITION,
            payload,
            make_request(
                payload,
                _DEFINITION,
                kinds.find_settings(payload.backend),
                meta,
                request,
            ),
            store=DATABASE_STORE if is_armed else NO_STORE,
            observers=_OBSERVERS,
        )

    def route(self, payload: Payload) -> Route:
        """The route of the schedule's task, patiently. See Kind.route()."""
        row = _find_row(payload)
        if row is None:
            raise TaskNotFound("The schedule of the tick was deleted.")
        return make_tick_route(row, payload)


def make_tick_route(row: ScheduledTask, tick: Payload) -> Route:
    """
    Make the route of a schedule's tick, whose row may not be kept yet.

    Raises:
        TaskNotFound: This process has no such task.
    """
    try:
        task = make_payload(row, tick.id)
    except InvalidSchedule as error:
        raise TaskNotFound(f"The schedule {row.name!r}: {error}") from error
    route = kinds.find_kind(row.kind).route(task)
    return replace(
        route,
        retry=_DEFINITION.retry,
        deadline=_DEFINITION.deadline,
        prepared=None,
    )


def _find_row(payload: Payload) -> ScheduledTask | None:
    uid = str(payload.args[0]) if payload.args else ""
    return ScheduledTask.objects.filter(uid=uid).first()


kinds.register(TickKind())
