"""
What became of each task, kept in the database. An optional Django app.

    INSTALLED_APPS += ["cloudtask.results"]

The rows of tasks belong here, what may happen to them, and what people see of
them and do with them. How a task is sent and run does not: the core does that,
and knows no more of this app than a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from cloudtask.wire.request import CloudTaskRequest

if TYPE_CHECKING:
    from uuid import UUID

    from cloudtask.framework import TaskContext
    from cloudtask.stores import StoredResult

# Models cannot be imported before the apps are ready, and this module is
# imported to make them so.

__all__ = [
    "acancel",
    "aget_result",
    "ais_cancelled",
    "cancel",
    "get_result",
    "is_cancelled",
]


def get_result(id: str | UUID) -> StoredResult:  # noqa: A002
    """
    Get what is known of a task, whichever layer enqueued it.

    Args:
        id: Its id, as `delay()` and `enqueue()` return it, or as a UUID.

    Raises:
        ResultNotFound: Nothing is known of it.
    """
    from cloudtask.results import reading

    return reading.get_result(id)


async def aget_result(id: str | UUID) -> StoredResult:  # noqa: A002
    """See get_result()."""
    return await sync_to_async(get_result)(id)


def cancel(id: str | UUID) -> bool:  # noqa: A002
    """
    Cancel a task.

    One that waits never runs, and leaves the queue. One that runs is told, by
    `is_cancelled()`. One that is over stays as it is.

    Args:
        id: Its id, as `delay()` and `enqueue()` return it, or as a UUID.

    Returns:
        Whether there was anything to cancel.
    """
    from cloudtask.results import control

    return control.cancel(id)


async def acancel(id: str | UUID) -> bool:  # noqa: A002
    """See cancel()."""
    return await sync_to_async(cancel)(id)


def is_cancelled(
    context: TaskContext[Any, Any] | CloudTaskRequest, *, refresh: bool = False
) -> bool:
    """
    Whether the running task should stop: it was cancelled, or lost its lease.

    Args:
        context: What the task got: a Django task's context, or the request.
        refresh: Ask the database now. Without it the answer costs nothing and
            is a few seconds late.

    Returns:
        False, always, under task backends of other packages.
    """
    request = _find_request(context)
    if request is None:
        return False
    return request.check_cancelled() if refresh else request.cancelled


async def ais_cancelled(
    context: TaskContext[Any, Any] | CloudTaskRequest, *, refresh: bool = False
) -> bool:
    """See is_cancelled()."""
    if not refresh:
        return is_cancelled(context)
    return await sync_to_async(is_cancelled)(context, refresh=True)


def _find_request(
    context: TaskContext[Any, Any] | CloudTaskRequest,
) -> CloudTaskRequest | None:
    if isinstance(context, CloudTaskRequest):
        return context
    request: CloudTaskRequest | None = getattr(context, "request", None)
    return request
