"""Names of queues and tasks: what is well formed, and the parts of it."""

from __future__ import annotations

import re

from cloudtask.emulator.tasks import refusals
from cloudtask.emulator.values.locations import LOCATION, PROJECT

_OF_PROJECT = re.compile(rf"projects/{PROJECT}(?:/.*)?", re.DOTALL)
_QUEUE_ID = re.compile(r"[A-Za-z0-9-]{1,100}")
_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
# Only the structure: what the ids may hold has messages of its own.
_QUEUE_PATH = re.compile(
    rf"projects/{PROJECT}/locations/{LOCATION}/queues/(?P<id>[^/]*)"
)
_TASK_NAME = re.compile(r"(projects/[^/]+/locations/[^/]+/queues/[^/]+)/tasks/([^/]*)")


def is_queue_id(text: str) -> bool:
    """Whether a text is well formed as the last part of a queue's name."""
    return _QUEUE_ID.fullmatch(text) is not None


def check_permission(resource: str) -> None:
    """
    Raise ApiError unless a resource is in a project.

    A caller has every permission in every project. The service checks
    permissions before it checks shapes: a name without a project is taken
    for a project in which nobody has any.
    """
    if _OF_PROJECT.fullmatch(resource) is None:
        project = resource.removeprefix("projects/").partition("/")[0]
        raise refusals.permission_denied(project)


def check_queue_path(path: str) -> None:
    """Raise ApiError unless `path` is `projects/P/locations/L/queues/Q`."""
    match = _QUEUE_PATH.fullmatch(path)
    if match is None:
        raise refusals.bad_queue_name()
    if not is_queue_id(match["id"]):
        raise refusals.bad_queue_id(match["id"])


def split_task_name(name: str) -> tuple[str, str]:
    """
    Return the queue path and the task id of a task's name.

    Raises:
        ApiError: The name is not structured like a task's. The id itself is
            not checked, see check_task_id().
    """
    match = _TASK_NAME.fullmatch(name)
    if match is None:
        raise refusals.bad_task_name()
    return match[1], match[2]


def check_task_id(task_id: str) -> None:
    """
    Check the last part of a task's name.

    Raises:
        ApiError: It is malformed.
    """
    if _TASK_ID.fullmatch(task_id) is None:
        raise refusals.bad_task_id(task_id)
