"""What the actions of this app share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from cloudtask.actions import Action
from cloudtask.results.database.errors import explain_missing_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper


class ResultsAction(Action):
    """An action that says how to make the tables, where there are none."""

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """Run the action. See Action.handle()."""
        with explain_missing_tables():
            self.run(options, stdout)

    @abstractmethod
    def run(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """Do it, with the tables there."""
