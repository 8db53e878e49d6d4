"""
The seam of `manage.py cloudtask`: what an action is, and which there are.

An installed app brings its own: the method `cloudtask_actions()` of its
AppConfig returns them. What an action does belongs to the app that brings it,
and not here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from django.apps import apps

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

    from django.core.management.base import OutputWrapper


class Action(ABC):
    """One thing that `manage.py cloudtask` can do."""

    name: ClassVar[str]  # As it is typed.
    help: ClassVar[str]  # One line, for the list of all actions.
    description: ClassVar[str]  # What its own help begins with.

    @abstractmethod
    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add its options to its parser."""

    @abstractmethod
    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """
        Do it.

        Args:
            options: What was typed, and defaults.
            stdout: Where it says what it did.

        Raises:
            CommandError: It cannot be done.
            ConfigurationError: A setting is missing or wrong.
        """


def find_actions() -> Iterator[Action]:
    """The actions of all installed apps."""
    for config in apps.get_app_configs():
        get_actions = getattr(config, "cloudtask_actions", None)
        if get_actions is not None:
            yield from get_actions()
