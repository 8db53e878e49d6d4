"""The registered task definitions. Only these are ever run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cloudtask.dispatch.attempts import Definition
from cloudtask.exceptions import InvalidTask, TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtask.conf import Settings
    from cloudtask.transports.base import Transport
    from cloudtask.wire.outgoing import Route


class Registered(Definition, Protocol):
    """What is needed of a definition that is looked up by its path."""

    @property
    def aliases(self) -> tuple[str, ...]: ...
    def route(self, settings: Settings, transport: Transport) -> Route: ...


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two functions that claim one path. The owner keeps it."""

    path: str
    owner: Registered
    claimant: Registered

    def __str__(self) -> str:
        return (
            f"{find_origin(self.claimant)}: the task path {self.path!r} belongs to "
            f"{find_origin(self.owner)}. Give one of them another path=."
        )


_definitions: dict[str, Registered] = {}
_conflicts: dict[tuple[str, str], Conflict] = {}


def register(definition: Registered) -> None:
    """
    Make a definition known under its path and aliases.

    Decorating a function of the same module and name again replaces it, as
    reloading a module does. A path that another function has stays with it;
    the conflict is kept for the system check.
    """
    for path in (definition.path, *definition.aliases):
        owner = _definitions.setdefault(path, definition)
        if find_origin(owner) == find_origin(definition):
            _definitions[path] = definition
        else:
            conflict = Conflict(path, owner, definition)
            _conflicts[path, find_origin(definition)] = conflict


def check_owner(definition: Registered) -> None:
    """
    Raises:
        InvalidTask: Another function would run in this one's place.
    """
    owner = _definitions.get(definition.path)
    if owner is not definition:
        conflict = _conflicts.get((definition.path, find_origin(definition)))
        raise InvalidTask(
            str(conflict)
            if conflict
            else f"{definition.path}: this definition was replaced by a later one."
        )


def list_conflicts() -> Iterator[Conflict]:
    """Every claim to a path that another function has."""
    return iter(_conflicts.values())


def get(path: str) -> Registered:
    """
    The definition of a path or alias. Nothing is imported.

    Raises:
        TaskNotFound: None is registered.
    """
    try:
        return _definitions[path]
    except KeyError:
        raise TaskNotFound(f"No task is registered as {path!r}.") from None


def list_definitions() -> Iterator[Registered]:
    """Every definition, once."""
    return iter(dict.fromkeys(_definitions.values()))


def find_origin(definition: Registered) -> str:
    """Where the function is defined, as in `shop.tasks.add`."""
    return f"{definition.func.__module__}.{definition.func.__qualname__}"
