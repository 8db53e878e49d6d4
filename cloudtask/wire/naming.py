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
    """Whether Cloud Tasks takes a text as the name of a queue."""
    return _QUEUE.fullmatch(name) is not None


def is_project(name: str) -> bool:
    """Whether a text has the form of a project's id or number."""
    return _PROJECT.fullmatch(name) is not None


def is_location(name: str) -> bool:
    """Whether a text has the form of a region's name."""
    return _LOCATION.fullmatch(name) is not None


def make_queue_path(project: str, location: str, queue: str) -> str:
    """Make the full resource name of a queue."""
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


def make_rearmed_id(task_id: str, own_id: str, arming: int) -> str:
    """
    Make the id of a named task whose own name is used up.

    Args:
        task_id: What make_task_id() made.
        own_id: The payload's. A later task may have the same name.
        arming: How often the task was re-armed.
    """
    suffix = f"-{own_id}-r{arming}"
    return task_id[: MAX_TASK_ID_LENGTH - len(suffix)] + suffix


def check_key(path: str, key: object) -> None:
    """
    Check what makes a named task unique.

    Args:
        path: The task's, for the message.
        key: What to check.

    Raises:
        InvalidTask: It is too long, or has other characters than Cloud Tasks
            allows.
    """
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise InvalidTask(
            f"{path}: the task id {key!r} must be 1 to {MAX_KEY_LENGTH} letters, "
            "digits, hyphens or underscores. Hash longer or other keys first."
        )
