"""Calls to Cloud Tasks about kept tasks: send, delete, run, look for them."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cloudtask.conf import clock, get_settings
from cloudtask.dispatch.kinds import find_kind, find_settings
from cloudtask.enqueue.outgoing import make_outgoing
from cloudtask.exceptions import CloudTaskError
from cloudtask.results.records import HOP
from cloudtask.transports import get_transport
from cloudtask.transports.base import QueueTransport
from cloudtask.transports.patience import Patience
from cloudtask.wire.arming import Arming
from cloudtask.wire.naming import make_rearmed_id
from cloudtask.wire.payload import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from cloudtask.results.models import TaskRecord
    from cloudtask.transports.base import Transport
    from cloudtask.wire.outgoing import OutgoingTask

logger = logging.getLogger("cloudtask")


def send_many(
    rows: Iterable[TaskRecord], patience: Patience, queue_time: datetime | None = None
) -> Iterator[list[tuple[TaskRecord, str | Exception]]]:
    """
    Send tasks as they were enqueued, by as few calls as that takes.

    Args:
        rows: The tasks.
        patience: For all calls of the caller.
        queue_time: A time that has come for the queue, whose clock may be
            ahead of this one, as that of an emulator is. Aware.

    Yields:
        After each call its tasks, each with its name at Cloud Tasks, or with
        what kept it from being sent.
    """
    sendable: dict[Transport, list[tuple[TaskRecord, OutgoingTask]]]
    sendable = defaultdict(list)
    now = max(clock.now(), queue_time or clock.now())
    for row in rows:
        try:
            sendable[_find_transport(row)].append((row, _make_task(row, now)))
        except Exception as error:
            # Whatever is wrong with one row, the others are sent.
            yield [(row, error)]
    for transport, tasks in sendable.items():
        for start in range(0, len(tasks), transport.batch_size):
            some = tasks[start : start + transport.batch_size]
            answers = _send_batch(transport, [task for _, task in some], patience)
            yield [(row, each) for (row, _), each in zip(some, answers, strict=True)]


def _send_batch(
    transport: Transport, tasks: list[OutgoingTask], patience: Patience
) -> Sequence[str | Exception]:
    try:
        return transport.send_many(tasks, patience)
    except Exception as error:
        if len(tasks) == 1 or isinstance(error, CloudTaskError):
            return [error] * len(tasks)
    # One of them is broken.
    return [_send_batch(transport, [task], patience)[0] for task in tasks]


def _make_task(row: TaskRecord, now: datetime) -> OutgoingTask:
    transport = _find_transport(row)
    settings = find_settings(row.backend or None)
    queue_path = transport.target(settings).queue_path(row.queue)
    body = row.body.encode()
    payload = decode(body)
    route = find_kind(payload.kind).route(payload)
    alarm, arming = _make_alarm(row, now + HOP)
    return make_outgoing(
        settings,
        payload,
        replace(
            route,
            # The row has none if nobody knew it when the task was enqueued.
            url=row.url or route.url or settings.require_url(),
            queue_path=queue_path,
            prepared=None,
        ),
        body,
        task_id=_make_task_id(row),
        schedule_time=alarm,
        arming=arming,
    )


def _make_alarm(row: TaskRecord, limit: datetime) -> tuple[datetime | None, Arming]:
    """Make the time to schedule a task for, and what it says of that."""
    due = row.schedule_time
    is_far = due is not None and due > limit
    arming = Arming(
        number=row.arming,
        attempts=row.attempts_before,
        due=due if is_far else None,
    )
    return limit if is_far else due, arming


def _make_task_id(row: TaskRecord) -> str | None:
    if row.arming and row.task_id:
        return make_rearmed_id(row.task_id, row.pk, row.arming)
    return row.task_id or None


def delete_many(rows: Iterable[TaskRecord], patience: Patience) -> None:
    """
    Take tasks out of their queues, and log those that may still be there.

    Such a task is dispatched, and then answered as one that is over.
    """
    named: dict[QueueTransport, dict[str, TaskRecord]] = defaultdict(dict)
    for row in rows:
        try:
            if (queues := _find_queues(row)) is not None:
                named[queues][_make_full_name(row)] = row
        except CloudTaskError as error:
            _log_leftover(row, error)
    for transport, by_name in named.items():
        for name, reason in _delete_batch(transport, list(by_name), patience).items():
            _log_leftover(by_name[name], reason)


def _delete_batch(
    transport: QueueTransport, names: list[str], patience: Patience
) -> Mapping[str, CloudTaskError]:
    try:
        return transport.delete_many(names, patience)
    except CloudTaskError as error:
        return dict.fromkeys(names, error)


def _log_leftover(row: TaskRecord, reason: CloudTaskError) -> None:
    logger.warning("task=%s id=%s is still in the queue: %s", row.path, row.pk, reason)


def run_now(row: TaskRecord, patience: Patience) -> bool | CloudTaskError:
    """
    Have Cloud Tasks dispatch a task now, whenever it is scheduled.

    Returns:
        Whether its queue had it, or why nobody knows.
    """
    return _ask(row, patience, lambda transport: transport.run)


def is_queued(row: TaskRecord, patience: Patience) -> bool | CloudTaskError:
    """Whether Cloud Tasks still has a task, or why nobody knows."""
    return _ask(row, patience, lambda transport: transport.has)


def _ask(
    row: TaskRecord,
    patience: Patience,
    question: Callable[[QueueTransport], Callable[[str, float], bool]],
) -> bool | CloudTaskError:
    try:
        queues = _find_queues(row)
        if queues is None:
            return False
        return patience.ask(partial(question(queues), _make_full_name(row)))
    except CloudTaskError as error:
        return error


def make_patience() -> Patience:
    """Make the patience that all calls of one caller share."""
    return Patience(get_settings().rpc_timeout)


def _make_full_name(row: TaskRecord) -> str:
    name: str = row.name
    if "/" in name:
        return name
    # The task was known only by its dispatch, which has only the last part.
    target = _find_transport(row).target(find_settings(row.backend or None))
    return f"{target.queue_path(row.queue)}/tasks/{name}"


def _find_queues(row: TaskRecord) -> QueueTransport | None:
    """Find the transport that knows a task; None if no queue can have it."""
    transport = _find_transport(row) if row.name else None
    return transport if isinstance(transport, QueueTransport) else None


def _find_transport(row: TaskRecord) -> Transport:
    return get_transport(find_settings(row.backend or None))
