"""Google's errors, and ours in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc import StatusCode

from cloudtask.exceptions import (
    EnqueueError,
    PermissionDenied,
    QueueNotFound,
    ServiceUnavailable,
)
from cloudtask.transports.base import make_duplicate_error
from cloudtask.wire import naming

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.wire.outgoing import OutgoingTask

#: Google's refusals that mean one thing. Others are a plain EnqueueError.
_CLASSES: Mapping[StatusCode, type[EnqueueError]] = {
    StatusCode.NOT_FOUND: QueueNotFound,
    StatusCode.PERMISSION_DENIED: PermissionDenied,
    StatusCode.UNAUTHENTICATED: PermissionDenied,
    StatusCode.ABORTED: ServiceUnavailable,
    StatusCode.CANCELLED: ServiceUnavailable,
    StatusCode.DEADLINE_EXCEEDED: ServiceUnavailable,
    StatusCode.INTERNAL: ServiceUnavailable,
    StatusCode.RESOURCE_EXHAUSTED: ServiceUnavailable,
    StatusCode.UNAVAILABLE: ServiceUnavailable,
    StatusCode.UNKNOWN: ServiceUnavailable,
}


class Refused(Exception):
    """
    A call that was refused, or that nobody answered.

    Attributes:
        code: Google's.
        details: What Google says, or what is wrong here.
        was_repeated: Whether the answer to an earlier call was lost.
    """

    def __init__(
        self, code: StatusCode, details: str | None, *, was_repeated: bool = False
    ) -> None:
        self.code = code
        self.details = details
        self.was_repeated = was_repeated
        super().__init__(code, details)


def is_retryable(code: StatusCode) -> bool:
    """Whether the same call may succeed later."""
    return _find_class(code).retryable


def make_error(
    what: str, code: StatusCode, details: str | None, queue_path: str
) -> EnqueueError:
    """Make our error for one of Google's: only here they are mapped."""
    message = f"{what}: {code.name}: {details}"
    return _find_class(code)(message, queue_path=queue_path)


def make_send_error(
    task: OutgoingTask, code: StatusCode, details: str | None
) -> EnqueueError:
    """Make our error for a task that was not accepted."""
    if code is StatusCode.ALREADY_EXISTS and task.name is not None:
        return make_duplicate_error(task, task.name)
    queue_path = task.route.queue_path
    what = f"{task.path}: {queue_path} did not take the task"
    return make_error(what, code, details, queue_path)


def make_task_error(name: str, code: StatusCode, details: str | None) -> EnqueueError:
    """Make our error for a call about a task that was sent before."""
    return make_error(name, code, details, naming.find_queue_path(name))


def _find_class(code: StatusCode) -> type[EnqueueError]:
    return _CLASSES.get(code, EnqueueError)
