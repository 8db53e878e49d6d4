"""Attempts at tasks of Django's framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloudtask.backends.definitions import DjangoDefinition
from cloudtask.backends.finding import restore_task
from cloudtask.backends.results import CloudTaskResult, to_django_time
from cloudtask.backends.signals import TaskSignals
from cloudtask.conf import clock
from cloudtask.dispatch.attempts import Attempt, make_request
from cloudtask.dispatch.reporting import FAILURE_SIGNAL, LogObserver
from cloudtask.dispatch.workers import worker_id
from cloudtask.framework import TaskContext, TaskResultStatus
from cloudtask.stores import get_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

    from cloudtask.backends.base import ConfiguredBackend
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest

#: Django's own logger reports failures.
_LOG = LogObserver(reports_failures=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTaskContext(TaskContext):  # type: ignore[misc,type-arg]
    """A Django task context with the request that SDK tasks get."""

    request: CloudTaskRequest


@dataclass(frozen=True, slots=True)
class DjangoAttempt(Attempt):
    """An attempt whose function may get a context."""

    result: CloudTaskResult

    def arguments(self) -> tuple[Any, ...]:
        if not self.result.task.takes_context:
            return self.payload.args
        context = CloudTaskContext(task_result=self.result, request=self.request)
        return (context, *self.payload.args)


def make_attempt(
    backend: ConfiguredBackend,
    payload: Payload,
    meta: Mapping[str, Any],
    request: HttpRequest | None,
) -> DjangoAttempt:
    """
    The attempt to run a payload of a backend.

    Raises:
        TaskNotFound: No such task is loaded in this process.
    """
    task = restore_task(payload)
    definition = DjangoDefinition.of(task)
    settings = backend.settings
    asked = make_request(payload, definition, settings, meta, request)
    now = to_django_time(clock.now())
    result = CloudTaskResult(
        task=task,
        id=payload.id,
        status=TaskResultStatus.RUNNING,
        enqueued_at=to_django_time(payload.enqueued_at),
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
    return DjangoAttempt(
        definition,
        payload,
        asked,
        result,
        store=get_store(settings),
        observers=(_LOG, TaskSignals(type(backend), result), FAILURE_SIGNAL),
    )
