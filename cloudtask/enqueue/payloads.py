"""Enqueues a payload of any kind, where no definition is called."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cloudtask.dispatch.kinds import find_kind, find_settings
from cloudtask.enqueue.handover import Handover
from cloudtask.enqueue.outgoing import make_outgoing
from cloudtask.stores import get_store
from cloudtask.transports import get_transport
from cloudtask.wire.payload import encode
from cloudtask.wire.stored_size import check_size

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.stores import ResultStore
    from cloudtask.wire.payload import Payload


def enqueue_payload(
    payload: Payload,
    *,
    task_id: str | None = None,
    schedule_time: datetime | None = None,
    store: ResultStore | None = None,
    using: str | None = None,
) -> None:
    """
    Enqueue the task of a payload, at the commit if a transaction is open.

    Args:
        payload: What to run.
        task_id: Its id at Cloud Tasks; None lets Cloud Tasks choose one.
        schedule_time: Aware; None is "at once".
        store: What keeps it, in place of what its settings say.
        using: Alias of the database whose transaction counts.

    Raises:
        TaskNotFound: This process has no such task.
        EncodeError: An argument cannot be carried.
        PayloadTooLarge: The stored task would be over 1,048,569 bytes.
        ConfigurationError: A setting that is needed is missing.
        MetadataUnavailable: Nobody can tell where it goes now.
        EnqueueError: Cloud Tasks refused the task; see `retryable`.
    """
    settings = find_settings(payload.backend)
    kind = find_kind(payload.kind)
    route = kind.route(payload)
    outgoing = make_outgoing(
        settings,
        payload,
        replace(route, url=route.url or settings.require_url(), prepared=None),
        encode(payload),
        task_id=task_id,
        schedule_time=schedule_time,
    )
    check_size(outgoing)
    Handover(
        get_transport(settings),
        outgoing,
        payload,
        store=store or get_store(settings),
        using=using,
        on_sent=partial(kind.tell_sent, payload, outgoing),
    ).make(waits=True)
