"""
How tasks of Django's framework are found.

Nothing is imported for a payload. A task is found where its dotted path leads
in modules that are loaded, and a second name for it, left where it was
renamed, leads there just as well.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import fields
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from cloudtask.exceptions import TaskNotFound
from cloudtask.framework import InvalidTask, Task
from cloudtask.wire.payload import MAX_PATH_LENGTH

if TYPE_CHECKING:
    from cloudtask.wire.payload import Payload


def find_task(path: str) -> Task[..., Any]:
    """
    The Django task that a dotted path leads to.

    Raises:
        TaskNotFound: No module that is loaded has it.
    """
    value = _find_object(path) if len(path) <= MAX_PATH_LENGTH else None
    # By its type: isinstance() would evaluate a lazy object.
    if not issubclass(type(value), Task):
        raise TaskNotFound(
            f"No Django task is loaded as {path!r}. If it exists, move it to the "
            "tasks.py of an app, or list its module in CLOUDTASK['IMPORTS']."
        )
    return cast("Task[..., Any]", value)


def restore_task(payload: Payload) -> Task[..., Any]:
    """
    The task of a payload, as using() had changed it.

    Raises:
        TaskNotFound: No module that is loaded has it.
    """
    task = find_task(payload.task)
    changes: dict[str, Any] = {"backend": payload.backend}
    if payload.using is not None:
        changes |= payload.using._asdict()
    if all(getattr(task, name) == value for name, value in changes.items()):
        return task
    # Not by replace(): a queue that was dropped from QUEUES since would make
    # it refuse what is under way.
    changed: Task[..., Any] = object.__new__(type(task))
    for field in fields(task):
        value = changes.get(field.name, getattr(task, field.name))
        object.__setattr__(changed, field.name, value)
    return changed


def check_path(task: Task[..., Any]) -> None:
    """
    Refuse a task that its dispatch would not find.

    Raises:
        InvalidTask: Django's. Its path leads to something else.
    """
    with suppress(TaskNotFound):
        if find_task(task.module_path).func is task.func:
            return
    raise InvalidTask(
        f"{task.module_path} does not lead to this task, so no process could run it. "
        "Decorate the function where it is defined, at the top of a module, and "
        "let no other name or decorator stand in its place."
    )


def _find_object(path: str) -> object:
    names = path.split(".")
    for end in range(len(names) - 1, 0, -1):
        module = sys.modules.get(".".join(names[:end]))
        if isinstance(module, ModuleType):
            return _find_member(module, names[end:])
    return None


def _find_member(module: ModuleType, names: list[str]) -> object:
    # Not by getattr(), which may run a module's own __getattr__.
    value: object = vars(module).get(names[0])
    for name in names[1:]:
        value = vars(value).get(name) if isinstance(value, type) else None
    return value
