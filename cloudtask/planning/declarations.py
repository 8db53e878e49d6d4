"""The schedules that code declares, and the tasks that people may schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cloudtask.planning.plans import Plan
    from cloudtask.wire.payload import Using

#: Characters of a schedule's name.
MAX_NAME_LENGTH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedulable:
    """A task that may be scheduled, of whatever kind."""

    kind: str  # As payloads have it.
    path: str
    backend: str | None = None
    using: Using | None = None
    func: Callable[..., Any] = field(repr=False)
    leading: int = 0  # How many arguments come before those of a caller.
    sensitive: tuple[str, ...] = ()  # Arguments whose values nobody sees.

    @property
    def origin(self) -> str:
        """Where its function is defined, as in `shop.tasks.add`."""
        return f"{self.func.__module__}.{self.func.__qualname__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A schedule that code declares."""

    name: str
    task: Schedulable
    plan: Plan
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def uid(self) -> str:
        """128 bits in hex, the same for this name in all processes."""
        return make_uid(self.name)


def make_uid(name: str) -> str:
    """Make the id of a declared schedule of its name: 128 bits in hex."""
    return sha256(f"cloudtask schedule\0{name}".encode()).hexdigest()[:32]


_declared: dict[str, Declaration] = {}
_schedulable: dict[tuple[str, str, str | None], Schedulable] = {}
_problems: dict[tuple[str, str], str] = {}


def declare(declaration: Declaration) -> None:
    """
    Keep a schedule of the code.

    The same function may declare it again, as when its module is reloaded. A
    name that another one has is told by the checks.
    """
    owner = _declared.get(declaration.name)
    task = declaration.task
    if owner is None or (owner.task.origin == task.origin and owner.task != task):
        _declared[declaration.name] = declaration
        return
    note_problem(
        task,
        declaration.name,
        f"another schedule, of {owner.task.path}, is called {declaration.name!r}. "
        "Give one of them another name=.",
    )


def allow(task: Schedulable) -> None:
    """Let people schedule a task."""
    _schedulable[task.kind, task.path, task.backend] = task


def note_problem(task: Schedulable, name: str, problem: str) -> None:
    """Keep what is wrong with a schedule, for the checks to tell."""
    _problems[task.origin, name] = f"{task.path}: the schedule {name!r}: {problem}"


def list_declared() -> list[Declaration]:
    """List the schedules of the code, by name."""
    return sorted(_declared.values(), key=lambda each: each.name)


def list_schedulable() -> list[Schedulable]:
    """List the tasks that people may schedule, by path."""
    return sorted(_schedulable.values(), key=lambda each: (each.path, each.kind))


def list_problems() -> list[str]:
    """List what is wrong with schedules of the code."""
    return sorted(_problems.values())
