"""What stands in for Cloud Tasks where tasks never leave the process."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from cloudtask.transports.base import make_duplicate_error

if TYPE_CHECKING:
    from datetime import datetime

    from cloudtask.wire.outgoing import OutgoingTask


class UsedNames:
    """
    Names of tasks, for transports without a server that keeps them.

    A name stays used after its task ran, as it does at Cloud Tasks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: set[str] = set()

    def claim(self, task: OutgoingTask) -> str:
        """
        Return the task's name, chosen here for an unnamed one.

        Raises:
            TaskAlreadyExists: It is in use.
        """
        name = task.name or f"{task.route.queue_path}/tasks/{secrets.randbits(63)}"
        with self._lock:
            if name in self._names:
                raise make_duplicate_error(task, name)
            self._names.add(name)
        return name

    def clear(self) -> None:
        with self._lock:
            self._names.clear()


def make_meta(
    task: OutgoingTask, name: str, *, due: datetime, retry_count: int = 0
) -> dict[str, str]:
    """Make the environment that a dispatch by Cloud Tasks would bring."""
    headers = {**task.route.headers, **task.headers}
    meta = {f"HTTP_{k.upper().replace('-', '_')}": v for k, v in headers.items()}
    return {
        **meta,
        "HTTP_X_CLOUDTASKS_QUEUENAME": task.route.queue,
        "HTTP_X_CLOUDTASKS_TASKNAME": name.rpartition("/")[2],
        "HTTP_X_CLOUDTASKS_TASKRETRYCOUNT": str(retry_count),
        "HTTP_X_CLOUDTASKS_TASKETA": f"{due.timestamp():.6f}",
    }
