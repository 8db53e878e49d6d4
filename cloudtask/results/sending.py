"""Sends kept tasks to Cloud Tasks once more, and takes them out of there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cloudtask import registry
from cloudtask.conf import get_settings
from cloudtask.dispatches import backend_of, settings_for
from cloudtask.payload import decode
from cloudtask.transports import get_transport
from cloudtask.transports.base import OutgoingTask

if TYPE_CHECKING:
    from cloudtask.payload import Payload
    from cloudtask.results.models import TaskRecord
    from cloudtask.transports.base import Route, Transport


def send(row: TaskRecord) -> str:
    """
    Send a task as it was enqueued.

    Returns:
        Its name at Cloud Tasks.

    Raises:
        TaskNotFound: This process has no such task.
        EnqueueError: It was not accepted.
    """
    transport = _transport_of(row)
    settings = settings_for(row.backend or None)
    queue_path = transport.target(settings).queue_path(row.queue)
    route = _route(decode(row.body.encode()), transport)
    task = OutgoingTask(
        id=row.pk,
        path=row.path,
        route=replace(
            route, url=row.url or route.url, queue_path=queue_path, prepared=None
        ),
        body=row.body.encode(),
        task_id=row.task_id or None,
        schedule_time=row.schedule_time,
    )
    return transport.send(task)


def delete(row: TaskRecord) -> None:
    """
    Take a task out of its queue, if it is there.

    Raises:
        EnqueueError: Cloud Tasks did not answer.
    """
    if row.name:
        _transport_of(row).delete(_full_name(row))


def is_queued(row: TaskRecord) -> bool:
    """
    Whether Cloud Tasks has a task still.

    Raises:
        EnqueueError: Cloud Tasks did not answer.
    """
    return bool(row.name) and _transport_of(row).has(_full_name(row))


def _route(payload: Payload, transport: Transport) -> Route:
    if payload.backend is not None:
        return backend_of(payload.backend).route(payload)
    return registry.get(payload.task).route(get_settings(), transport)


def _full_name(row: TaskRecord) -> str:
    if "/" in row.name:
        return row.name
    # Known by its dispatch alone, which tells the last part.
    target = _transport_of(row).target(settings_for(row.backend or None))
    return f"{target.queue_path(row.queue)}/tasks/{row.name}"


def _transport_of(row: TaskRecord) -> Transport:
    return get_transport(settings_for(row.backend or None))
