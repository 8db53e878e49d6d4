"""Sends kept tasks to Cloud Tasks once more, and takes them out of there."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudtask.dispatch.kinds import find_kind, find_settings
from cloudtask.enqueue.outgoing import make_outgoing
from cloudtask.exceptions import CloudTaskError
from cloudtask.transports import get_transport
from cloudtask.wire.payload import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cloudtask.results.models import TaskRecord
    from cloudtask.transports.base import Patience, Transport
    from cloudtask.wire.outgoing import OutgoingTask

logger = logging.getLogger("cloudtask")


def send_many(
    rows: Iterable[TaskRecord],
) -> Iterator[list[tuple[TaskRecord, str | Exception]]]:
    """
    Send tasks as they were enqueued, by as few calls as that takes.

    Yields:
        After each call its tasks, with their names at Cloud Tasks, or what
        kept them from being sent.
    """
    sendable: dict[Transport, list[tuple[TaskRecord, OutgoingTask]]]
    sendable = defaultdict(list)
    for row in rows:
        try:
            sendable[_transport_of(row)].append((row, _outgoing(row)))
        except Exception as error:
            # Whatever is wrong with one row, others are sent.
            yield [(row, error)]
    for transport, tasks in sendable.items():
        patience = transport.patience()
        for start in range(0, len(tasks), transport.batch_size):
            some = tasks[start : start + transport.batch_size]
            answers = _answers(transport, [task for _, task in some], patience)
            yield [(row, each) for (row, _), each in zip(some, answers, strict=True)]


def _answers(
    transport: Transport, tasks: list[OutgoingTask], patience: Patience
) -> Sequence[str | Exception]:
    try:
        return transport.send_many(tasks, patience)
    except Exception as error:
        if len(tasks) == 1 or isinstance(error, CloudTaskError):
            return [error] * len(tasks)
    # One of them is broken.
    return [_answers(transport, [task], patience)[0] for task in tasks]


def _outgoing(row: TaskRecord) -> OutgoingTask:
    transport = _transport_of(row)
    settings = find_settings(row.backend or None)
    queue_path = transport.target(settings).queue_path(row.queue)
    body = row.body.encode()
    payload = decode(body)
    route = find_kind(payload.kind).route(payload)
    return make_outgoing(
        settings,
        payload,
        replace(
            route,
            # It has none where nobody could tell it when it was enqueued.
            url=row.url or route.url or settings.require_url(),
            queue_path=queue_path,
            prepared=None,
        ),
        body,
        task_id=row.task_id or None,
        schedule_time=row.schedule_time,
    )


def delete_many(rows: Iterable[TaskRecord]) -> None:
    """
    Take tasks out of their queues, and log those that may be there still.

    Such a task is dispatched, and answered as the finished one it is.
    """
    named: dict[Transport, dict[str, TaskRecord]] = defaultdict(dict)
    for row in rows:
        try:
            if row.name:
                named[_transport_of(row)][_full_name(row)] = row
        except CloudTaskError as error:
            _log_left(row, error)
    for transport, by_name in named.items():
        for name, reason in _left(transport, list(by_name)).items():
            _log_left(by_name[name], reason)


def _left(transport: Transport, names: list[str]) -> Mapping[str, CloudTaskError]:
    try:
        return transport.delete_many(names)
    except CloudTaskError as error:
        return dict.fromkeys(names, error)


def _log_left(row: TaskRecord, reason: CloudTaskError) -> None:
    logger.warning("task=%s id=%s is in the queue still: %s", row.path, row.pk, reason)


def run_now(row: TaskRecord) -> bool:
    """
    Have Cloud Tasks dispatch a task now, whenever it is scheduled.

    Returns:
        Whether its queue had it.

    Raises:
        EnqueueError: Cloud Tasks did not answer, or refused.
    """
    return bool(row.name) and _transport_of(row).run(_full_name(row))


def is_queued(row: TaskRecord) -> bool:
    """
    Whether Cloud Tasks has a task still.

    Raises:
        EnqueueError: Cloud Tasks did not answer.
    """
    return bool(row.name) and _transport_of(row).has(_full_name(row))


def _full_name(row: TaskRecord) -> str:
    name: str = row.name
    if "/" in name:
        return name
    # Known by its dispatch alone, which tells the last part.
    target = _transport_of(row).target(find_settings(row.backend or None))
    return f"{target.queue_path(row.queue)}/tasks/{name}"


def _transport_of(row: TaskRecord) -> Transport:
    return get_transport(find_settings(row.backend or None))
