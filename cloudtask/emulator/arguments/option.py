"""One option, whether it comes from the command line or the environment."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cloudtask.emulator.arguments.readers import read_switch

if TYPE_CHECKING:
    from collections.abc import Callable

#: What the variables of the environment begin with.
PREFIX = "CLOUDTASK_EMULATOR_"


class UsageError(Exception):
    """An option cannot have this value; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option, and the environment variable of the same name."""

    flag: str
    dest: str
    help: str
    form: Literal["value", "list", "switch"] = "value"
    read: Callable[[str], Any] = str  # Raises ArgumentTypeError.
    metavar: str | None = None
    default: Any = None

    @property
    def variable(self) -> str:
        """The environment variable that has the same meaning."""
        return PREFIX + self.flag.removeprefix("--").upper().replace("-", "_")

    def add_to(self, group: argparse._ArgumentGroup) -> None:
        """Add the option to a group of a parser."""
        # What is not given is left out, so that it can be looked up elsewhere.
        keywords: dict[str, Any] = {"dest": self.dest, "default": argparse.SUPPRESS}
        if self.form == "switch":
            keywords["action"] = "store_true"
        else:
            keywords |= {"type": self.read, "metavar": self.metavar}
        if self.form == "list":
            keywords["action"] = "append"
        group.add_argument(self.flag, help=self.help, **keywords)

    def read_environment(self) -> Any:
        """
        Return what the variable says, None if it is not set or empty.

        Raises:
            UsageError: The variable cannot be read.
        """
        text = os.environ.get(self.variable)
        if not text:
            return None
        try:
            if self.form == "list":
                return [self.read(each) for each in text.split()]
            return read_switch(text) if self.form == "switch" else self.read(text)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"{self.variable}: {error}") from None
