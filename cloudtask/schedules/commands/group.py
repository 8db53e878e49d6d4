"""`manage.py cloudtask schedules`, which has actions of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from cloudtask.actions import Action
from cloudtask.exceptions import CloudTaskError, ConfigurationError
from cloudtask.results.database.errors import explain_missing_tables
from cloudtask.schedules.commands.listing import ListAction
from cloudtask.schedules.commands.plan import ApplyAction, PlanAction
from cloudtask.schedules.commands.prune import PruneAction
from cloudtask.schedules.commands.switches import PauseAction, ResumeAction, RunAction
from cloudtask.schedules.importers.action import ImportAction

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper

_ACTIONS: Mapping[str, Action] = {
    each.name: each
    for each in (
        PlanAction(),
        ApplyAction(),
        ListAction(),
        PauseAction(),
        ResumeAction(),
        RunAction(),
        PruneAction(),
        ImportAction(),
    )
}


class SchedulesAction(Action):
    """Runs one of the actions for schedules."""

    name = "schedules"
    help = "Compare, apply, list, pause, resume, run, prune and import schedules."
    description = "What a project with schedules needs beside its code."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add a parser for each action."""
        parsers = parser.add_subparsers(dest="schedules_action", required=True)
        for name, action in _ACTIONS.items():
            action.add_arguments(
                parsers.add_parser(
                    name, help=action.help, description=action.description
                )
            )

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """Run the action that was named. See Action.handle()."""
        try:
            with explain_missing_tables():
                _ACTIONS[options["schedules_action"]].handle(options, stdout)
        except ConfigurationError:
            raise
        except CloudTaskError as error:
            raise CommandError(str(error)) from error
