"""Resource names: what is well formed, and the parts of it."""

from __future__ import annotations

import re

from cloudtask.emulator.values import errors

_PROJECT = r"[A-Za-z0-9:.-]+"
_LOCATION = r"[A-Za-z0-9-]+"
_QUEUE_ID = re.compile(r"[A-Za-z0-9-]{1,100}")
_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
_PROJECT_PATH = re.compile(rf"projects/{_PROJECT}")
_LOCATION_PATH = re.compile(rf"projects/{_PROJECT}/locations/{_LOCATION}")
_OF_PROJECT = re.compile(rf"projects/{_PROJECT}(?:/.*)?", re.DOTALL)
# Only the structure: what the ids may hold has messages of its own.
_QUEUE_PATH = re.compile(
    rf"projects/{_PROJECT}/locations/{_LOCATION}/queues/(?P<id>[^/]*)"
)
_TASK_NAME = re.compile(r"(projects/[^/]+/locations/[^/]+/queues/[^/]+)/tasks/([^/]*)")


def is_queue_id(text: str) -> bool:
    return _QUEUE_ID.fullmatch(text) is not None


def is_location_path(text: str) -> bool:
    return _LOCATION_PATH.fullmatch(text) is not None


def last_part(name: str) -> str:
    """Return the id that ends a resource name."""
    return name.rpartition("/")[2]


def location_of(name: str, ending: str) -> str:
    """
    Return the location that a name like `projects/P/locations/L/ending` is of.

    Raises:
        ApiError: It is no such name.
    """
    location = name.removesuffix(ending)
    check_parent(location)
    if location == name:
        raise errors.bad_parent()
    return location


def check_permission(resource: str) -> None:
    """
    Raise ApiError unless a resource is in a project.

    A caller has every permission in every project. The service looks at
    permissions before it looks at shapes: a name without a project is taken
    for a project in which nobody has any.
    """
    if _OF_PROJECT.fullmatch(resource) is None:
        project = resource.removeprefix("projects/").partition("/")[0]
        raise errors.permission_denied(project)


def check_project_path(name: str) -> None:
    """Raise ApiError unless `name` is `projects/P`."""
    if _PROJECT_PATH.fullmatch(name) is None:
        raise errors.bad_parent()


def check_parent(parent: str) -> None:
    """Raise ApiError unless `parent` is `projects/P/locations/L`."""
    if not is_location_path(parent):
        raise errors.bad_parent()


def check_queue_path(path: str) -> None:
    """Raise ApiError unless `path` is `projects/P/locations/L/queues/Q`."""
    match = _QUEUE_PATH.fullmatch(path)
    if match is None:
        raise errors.bad_queue_name()
    if not is_queue_id(match["id"]):
        raise errors.bad_queue_id(match["id"])


def split_task_name(name: str) -> tuple[str, str]:
    """
    Return the queue path and the task id of a task's name.

    Raises:
        ApiError: The name is not structured like a task's. The id itself is
            not looked at, see check_task_id().
    """
    match = _TASK_NAME.fullmatch(name)
    if match is None:
        raise errors.bad_task_name()
    return match[1], match[2]


def check_task_id(task_id: str) -> None:
    if _TASK_ID.fullmatch(task_id) is None:
        raise errors.bad_task_id(task_id)
