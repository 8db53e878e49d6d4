"""What an importer finds: schedules, and what it cannot take over."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtask.exceptions import InvalidSchedule
from cloudtask.planning.declarations import MAX_NAME_LENGTH
from cloudtask.planning.plans import Plan, make_plan
from cloudtask.schedules.arguments import write_arguments
from cloudtask.wire.payload import MAX_PATH_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A schedule as it is written elsewhere, in our words."""

    where: str  # Its place in the file, for people.
    name: str
    task: str  # What the file calls it: a task, or a management command.
    plan: Plan
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_enabled: bool = True
    is_command: bool = False  # Whether `task` is a management command.
    notes: tuple[str, ...] = ()  # What of it is lost.


class Problem(NamedTuple):
    """What cannot be taken over."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(slots=True)
class Found:
    """All that a file holds, in its order."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, where: str, read: Callable[[], Entry]) -> None:
        """Read an entry, and keep it under a name of its own, or why not."""
        try:
            entry = read()
        except Unsupported as error:
            self.problems.append(Problem(where, str(error)))
            return
        taken = {each.name for each in self.entries}
        number, name = 1, entry.name
        while name in taken:
            number += 1
            name = f"{entry.name} ({number})"
        self.entries.append(replace(entry, name=name))


class Unsupported(Exception):
    """Something has no equal here. Its text is the reason."""


def make_entry(
    where: str, name: Any, task: Any, plan: Mapping[str, Any], **values: Any
) -> Entry:
    """
    Make an entry of what a file says.

    Args:
        where: Its place in the file.
        name: Of the schedule.
        task: Of the task.
        plan: What `make_plan()` takes.
        values: Further fields.

    Raises:
        Unsupported: Something of it is not possible here.
    """
    _check_text("name", name, MAX_NAME_LENGTH)
    _check_text("task", task, MAX_PATH_LENGTH)
    try:
        made = make_plan(**plan)
    except InvalidSchedule as error:
        raise Unsupported(str(error)) from None
    entry = Entry(where=where, name=name, task=task, plan=made, **values)
    try:
        write_arguments(entry.args, entry.kwargs)
    except InvalidSchedule as error:
        raise Unsupported(str(error)) from None
    return entry


def _check_text(what: str, text: object, limit: int) -> None:
    if (
        not isinstance(text, str)
        or not text.isprintable()
        or not 0 < len(text) <= limit
    ):
        raise Unsupported(f"its {what} is not a line of 1 to {limit} characters.")
