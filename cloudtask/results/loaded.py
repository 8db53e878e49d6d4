"""What the code that is loaded here says of a kept task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.dispatch.kinds import make_attempt
from cloudtask.exceptions import CloudTaskError
from cloudtask.privacy.redaction import ALL_SENSITIVE
from cloudtask.wire.payload import Payload

if TYPE_CHECKING:
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.privacy.redaction import Sensitive
    from cloudtask.results.models import TaskRecord


def sensitive_of(payload: Payload) -> Sensitive:
    """Which of its arguments nobody is to see; all if its code is not here."""
    attempt = _attempt_of(payload)
    return ALL_SENSITIVE if attempt is None else attempt.sensitive


def runs_once(payload: Payload) -> bool:
    """Whether it never runs again once it began. False, where nobody knows."""
    attempt = _attempt_of(payload)
    return attempt is not None and attempt.request.run_once


def payload_of(row: TaskRecord) -> Payload:
    """A row's payload without its arguments, which may be unreadable."""
    return Payload(
        id=row.pk,
        task=row.path,
        kwargs={},
        enqueued_at=row.enqueued_at,
        kind=row.kind,
        backend=row.backend or None,
    )


def _attempt_of(payload: Payload) -> Attempt | None:
    try:
        return make_attempt(payload, {})
    except CloudTaskError:
        return None  # No such task, or none that may run here.
