"""Results of Django tasks: when they are enqueued, run and asked for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.utils import timezone

from cloudtask.backends.finding import restore_task
from cloudtask.framework import (
    TASK_REFRESH_ATTRS,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
)

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.framework import Task
    from cloudtask.stores import StoredResult


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
        """How many attempts there were, the present one included."""
        return self.attempt

    def refresh(self) -> None:
        """Take over what is known of the task by now."""
        self._copy(self.task.get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        """See refresh()."""
        self._copy(await self.task.get_backend().aget_result(self.id))

    def _copy(self, fresh: Any) -> None:
        # All but what the task was enqueued with.
        names = {*TASK_REFRESH_ATTRS, "name", "attempt"}
        change_result(self, **{name: getattr(fresh, name) for name in names})


def change_result(result: CloudTaskResult, **values: Any) -> None:
    """Change a result, which is frozen for all but its backend."""
    for name, value in values.items():
        object.__setattr__(result, name, value)


def make_ready_result(
    alias: str,
    task: Task[..., Any],
    id: str,  # noqa: A002 - the result's field
    args: Any,
    kwargs: dict[str, Any],
) -> CloudTaskResult:
    """
    What Django makes of a task that is to be enqueued.

    Args:
        alias: Of its backend.
        task: What is enqueued.
        id: That it has everywhere.
        args: Positional arguments, the context left out.
        kwargs: Keyword arguments.
    """
    return CloudTaskResult(
        task=task,
        id=id,
        status=TaskResultStatus.READY,
        enqueued_at=None,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=[],
        worker_ids=[],
    )


def make_result(stored: StoredResult) -> CloudTaskResult:
    """
    What Django makes of what is known of a task.

    Raises:
        TaskNotFound: No module that is loaded has the task.
    """
    payload = stored.payload
    result = CloudTaskResult(
        task=restore_task(payload),
        id=payload.id,
        status=TaskResultStatus(stored.status),
        enqueued_at=to_django_time(stored.enqueued_at),
        started_at=to_django_time(stored.started_at),
        last_attempted_at=to_django_time(stored.last_attempted_at),
        finished_at=to_django_time(stored.finished_at),
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
        change_result(result, _return_value=normalize_json(stored.value))
    return result


def to_django_time(moment: datetime | None) -> datetime | None:
    """A time as Django's own backends give it: without USE_TZ naive."""
    if moment is None or django_settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
