"""Makes the outgoing task of a payload, with its own headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.auth.signing import make_signature_headers
from cloudtask.wire.arming import FIRST, make_arming_headers
from cloudtask.wire.outgoing import OutgoingTask

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.conf import Settings
    from cloudtask.wire.arming import Arming
    from cloudtask.wire.outgoing import Route
    from cloudtask.wire.payload import Payload


def make_outgoing(
    settings: Settings,
    payload: Payload,
    route: Route,
    body: bytes,
    *,
    task_id: str | None = None,
    schedule_time: datetime | None = None,
    arming: Arming = FIRST,
) -> OutgoingTask:
    """
    Make the task of a payload, with the headers that it alone carries.

    Args:
        settings: By which it is enqueued.
        payload: What `body` says.
        route: Where it goes.
        body: The payload, encoded.
        task_id: See OutgoingTask.
        schedule_time: See OutgoingTask.
        arming: Which alarm of the task it is.

    Raises:
        ConfigurationError: It cannot be signed.
    """
    return OutgoingTask(
        id=payload.id,
        path=payload.task,
        route=route,
        body=body,
        task_id=task_id,
        schedule_time=schedule_time,
        headers={
            **make_signature_headers(settings, payload, body, schedule_time),
            **make_arming_headers(arming),
        },
    )
