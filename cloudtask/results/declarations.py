"""What the code that is loaded in this process declares of a kept task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.dispatch.kinds import make_attempt
from cloudtask.exceptions import CloudTaskError
from cloudtask.privacy.redaction import ALL_SENSITIVE

if TYPE_CHECKING:
    from cloudtask.dispatch.attempts import Attempt
    from cloudtask.privacy.redaction import Sensitive
    from cloudtask.wire.payload import Payload


def find_sensitive(payload: Payload) -> Sensitive:
    """Find the arguments that nobody may see: all, without its code."""
    attempt = _find_attempt(payload)
    return ALL_SENSITIVE if attempt is None else attempt.sensitive


def runs_once(payload: Payload) -> bool:
    """Whether it never runs again once it began. False, if nobody knows."""
    attempt = _find_attempt(payload)
    return attempt is not None and attempt.request.run_once


def _find_attempt(payload: Payload) -> Attempt | None:
    try:
        return make_attempt(payload, {})
    except CloudTaskError:
        return None  # No such task, or none that may run here.
