"""Changes: what is to be done so that one side is as the other one says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Change:
    """
    One thing that is not as it should be.

    Attributes:
        field: What it is, as people call it.
        old: How it is. None where that is not shown, a secret perhaps.
        new: How it should be. None where that is not shown.
    """

    field: str
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        if self.old is None or self.new is None:
            return f"{self.field} changed"
        return f"{self.field}: {self.old or '(none)'} -> {self.new or '(none)'}"


class Verb(StrEnum):
    """What is done to something."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is to be done."""

    verb: Verb
    what: str  # What kind of thing it is done to.
    name: str  # Which one.
    changes: tuple[Change, ...] = ()
    take: Callable[[], object] = field(repr=False)  # Does it.


@dataclass(slots=True)
class Comparison:
    """
    What a comparison has found.

    Attributes:
        steps: What is to be done, in this order.
        orphans: How things are deleted that belong to nothing any more. They
            may be another project's, so that only people decide it.
        notes: What could not be compared, and why.
        problems: What cannot be done, and why.
    """

    steps: list[Step] = field(default_factory=list)
    orphans: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Comparison) -> None:
        """Take over what another one has found."""
        self.steps += other.steps
        self.orphans += other.orphans
        self.notes += other.notes
        self.problems += other.problems
