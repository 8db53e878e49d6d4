"""Names of queues and tasks, as Cloud Tasks spells them."""

from __future__ import annotations

import hashlib
import re

from cloudtask.exceptions import InvalidTask
from cloudtask.wire.limits import MAX_QUEUE_NAME_LENGTH, MAX_TASK_ID_LENGTH

#: Characters of the hash in front of a task id.
_PREFIX_LENGTH = 16
#: Characters that an id may have when the hash stands in front of it.
MAX_KEY_LENGTH = MAX_TASK_ID_LENGTH - _PREFIX_LENGTH - 1

_QUEUE = re.compile(rf"[A-Za-z0-9-]{{1,{MAX_QUEUE_NAME_LENGTH}}}")
_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_KEY_LENGTH}}}")
_PROJECT = re.compile(r"[A-Za-z0-9.:-]{1,100}")
_LOCATION = re.compile(r"[a-z0-9-]{1,63}")


def is_queue_name(name: str) -> bool:
    return _QUEUE.fullmatch(name) is not None


def is_project(name: str) -> bool:
    return _PROJECT.fullmatch(name) is not None


def is_location(name: str) -> bool:
    return _LOCATION.fullmatch(name) is not None


def make_queue_path(project: str, location: str, queue: str) -> str:
    return f"projects/{project}/locations/{location}/queues/{queue}"


def find_queue_path(task_name: str) -> str:
    """Find the queue's full name in that of a task."""
    return task_name.partition("/tasks/")[0]


def make_task_id(path: str, key: str | None = None) -> str:
    """
    Make the id of a named task: `<hash>-<readable>`.

    The hash covers the task's path, so equal keys of two tasks never meet,
    and it stands in front because ids with a common prefix slow the queue.

    Args:
        path: The task's registered path.
        key: What makes this task unique among those of its path. Without it
            the path alone does.

    Raises:
        InvalidTask: The key has other characters than Cloud Tasks allows.
    """
    if key is not None:
        check_key(path, key)
    digest = hashlib.sha256(f"{path}\0{key or ''}".encode()).hexdigest()
    readable = key or re.sub(r"[^A-Za-z0-9_-]", "-", path)[-MAX_KEY_LENGTH:]
    return f"{digest[:_PREFIX_LENGTH]}-{readable}"


def check_key(path: str, key: object) -> None:
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise InvalidTask(
            f"{path}: the task id {key!r} must be 1 to {MAX_KEY_LENGTH} letters, "
            "digits, hyphens or underscores. Hash longer or other keys first."
        )
