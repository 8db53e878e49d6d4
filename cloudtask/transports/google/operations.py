"""Batch calls: each starts an operation, which is waited for."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from cloudtask.transports.google.calls import Calls
from cloudtask.transports.google.errors import Refused, is_retryable
from cloudtask.transports.google.messages import GetOperation, make_metadata

if TYPE_CHECKING:
    from cloudtask.transports.google.channel import Link

logger = logging.getLogger("cloudtask")

#: What is told of a batch as it would be of each of its tasks. After all else
#: a queue gets single calls for a while: batches are not to be had, or come to
#: harm.
_SAME_FOR_SINGLES = (
    StatusCode.NOT_FOUND,
    StatusCode.UNAUTHENTICATED,
    StatusCode.UNAVAILABLE,
)
#: Seconds that a queue gets single calls for.
_SINGLES_SECONDS = 3600.0


class Operations:
    """
    Makes batch calls, and knows which queues are to get single calls instead.

    Args:
        link: What they are made over.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        #: Until when a method and a queue get single calls.
        self._unbatched: dict[tuple[str, str], float] = {}

    def run(self, method: str, request: Any, timeout: float) -> Any:
        """
        Make a batch call, and wait for its operation.

        Args:
            method: Its name.
            request: Its message, which names the queue.
            timeout: Seconds for all of it.

        Raises:
            Refused: It was not carried out, or nobody tells if it was.
        """
        if monotonic() < self._unbatched.get((method, request.parent), 0):
            raise Refused(StatusCode.UNIMPLEMENTED, None)
        calls = Calls(self._link, timeout, may_repeat=True)
        metadata = make_metadata(parent=request.parent)
        try:
            operation = calls.make(method, request, metadata)
            while not operation.done:
                operation = _ask_again(operation.name, calls)
        except Refused as refused:
            if refused.code not in _SAME_FOR_SINGLES:
                why = f"{refused.code.name}: {refused.details}"
                self.give_up(method, request.parent, why)
            raise
        return operation

    def give_up(self, method: str, queue_path: str, why: str) -> None:
        """Have a queue get single calls for a while."""
        logger.info("%s: single calls in place of %s: %s", queue_path, method, why)
        self._unbatched[method, queue_path] = monotonic() + _SINGLES_SECONDS


def may_work_singly(code: StatusCode) -> bool:
    """Whether calls for one task each may do what a batch call did not."""
    # One task may have spoilt it for all; and of what may have been done
    # nothing is done again.
    return code not in _SAME_FOR_SINGLES and not is_retryable(code)


def _ask_again(operation: str, calls: Calls) -> Any:
    """Return an operation as it is after a while."""
    request = GetOperation(name=operation)
    try:
        calls.wait()
        return calls.make("GetOperation", request, make_metadata(name=operation))
    except Refused as refused:
        details = f"what became of {operation} is unknown: {refused.details}"
        raise Refused(StatusCode.UNKNOWN, details) from refused
