"""Resource names of all services: projects, locations, and the last part."""

from __future__ import annotations

import re

from cloudtask.emulator.values import errors

#: What the ids of projects and locations may be, as regular expressions.
PROJECT = r"[A-Za-z0-9:.-]+"
LOCATION = r"[A-Za-z0-9-]+"

_PROJECT_PATH = re.compile(rf"projects/{PROJECT}")
_LOCATION_PATH = re.compile(rf"projects/{PROJECT}/locations/{LOCATION}")


def is_location_path(text: str) -> bool:
    """Whether a text is `projects/PROJECT/locations/LOCATION`."""
    return _LOCATION_PATH.fullmatch(text) is not None


def last_part(name: str) -> str:
    """Return the id that ends a resource name."""
    return name.rpartition("/")[2]


def read_location(name: str, ending: str) -> str:
    """
    Return the location in a name like `projects/P/locations/L/ending`.

    Raises:
        ApiError: The name is not like that.
    """
    location = name.removesuffix(ending)
    check_parent(location)
    if location == name:
        raise errors.bad_parent()
    return location


def check_project_path(name: str) -> None:
    """Raise ApiError unless `name` is `projects/P`."""
    if _PROJECT_PATH.fullmatch(name) is None:
        raise errors.bad_parent()


def check_parent(parent: str) -> None:
    """Raise ApiError unless `parent` is `projects/P/locations/L`."""
    if not is_location_path(parent):
        raise errors.bad_parent()
