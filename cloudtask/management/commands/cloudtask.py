"""`manage.py cloudtask`: the actions of the installed apps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cloudtask.actions import find_actions
from cloudtask.exceptions import ConfigurationError

if TYPE_CHECKING:
    from cloudtask.actions import Action


class Command(BaseCommand):
    help = "What a project with cloudtask needs beside its code."
    # The emulator is wanted most while the settings are not complete yet.
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django has it

    def add_arguments(self, parser: CommandParser) -> None:
        self._actions: dict[str, Action] = {}
        parsers = parser.add_subparsers(dest="action", required=True)
        for action in find_actions():
            self._actions[action.name] = action
            action.add_arguments(
                parsers.add_parser(
                    action.name, help=action.help, description=action.description
                )
            )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._actions[options["action"]].handle(options, self.stdout)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
