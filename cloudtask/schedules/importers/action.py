"""`manage.py cloudtask schedules import`."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.management.base import CommandError

from cloudtask.actions import Action
from cloudtask.results.commands.arguments import add_dry_run
from cloudtask.schedules.importers.celery_beat import read_celery_beat
from cloudtask.schedules.importers.crontab import read_crontab
from cloudtask.schedules.importers.entries import Found, Unsupported
from cloudtask.schedules.importers.rows import make_rows
from cloudtask.schedules.importers.source import write_source

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping

    from django.core.management.base import OutputWrapper

_READERS: Mapping[str, Callable[[str, str], Found]] = {
    "celery-beat": read_celery_beat,
    "crontab": read_crontab,
}


class ImportAction(Action):
    """Takes over schedules of other tools."""

    name = "import"
    help = "Take over schedules of celery-beat, or of a crontab."
    description = (
        "Prints code, or makes rows. The file is read as values: nothing of it runs."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the format, the file, and what becomes of it."""
        parser.add_argument("format", choices=sorted(_READERS))
        parser.add_argument(
            "file",
            type=Path,
            help="`dumpdata django_celery_beat`, CELERY_BEAT_SCHEDULE as JSON, or "
            "`crontab -l`",
        )
        parser.add_argument(
            "--timezone",
            metavar="ZONE",
            help="of what says none (default: UTC for Celery, else TIME_ZONE)",
        )
        parser.add_argument(
            "--rows", action="store_true", help="make rows, and print no code"
        )
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            type=_read_pair,
            metavar="NAME=PATH",
            help="with --rows, the path of a task here, by its name in the file",
        )
        add_dry_run(parser)

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """
        Read the file, and make code or rows. See Action.handle().

        Raises:
            CommandError: The file cannot be read, or not all of it.
        """
        found = _read(options)
        if options["rows"]:
            made = make_rows(found, dict(options["map"]), is_dry_run=options["dry_run"])
            would = "would be " if options["dry_run"] else ""
            stdout.write(f"{len(made)} schedules {would}kept.")
            notes = [f"{each.where}: {note}" for each in made for note in each.notes]
        else:
            stdout.write(write_source(found.entries), ending="")
            notes = [
                f"{each.where}: it is switched off, and left out."
                for each in found.entries
                if not each.is_enabled
            ]
        # Beside the code, which may go to a file.
        for line in (*notes, *map(str, found.problems)):
            sys.stderr.write(f"{line}\n")
        if found.problems:
            raise CommandError(f"{len(found.problems)} schedules are not taken over.")


def _read(options: Mapping[str, Any]) -> Found:
    chosen = options["format"]
    standard = "UTC" if chosen == "celery-beat" else django_settings.TIME_ZONE
    try:
        text = options["file"].read_text(encoding="utf-8")
        return _READERS[chosen](text, options["timezone"] or standard)
    except (OSError, UnicodeDecodeError, Unsupported) as error:
        raise CommandError(f"{options['file']}: {error}") from None


def _read_pair(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=PATH.")
    return name, path
