"""`manage.py cloudtask cancel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from cloudtask.results import control
from cloudtask.results.commands.arguments import add_dry_run
from cloudtask.results.commands.bar import Bar
from cloudtask.results.commands.base import ResultsAction
from cloudtask.results.commands.selection import (
    add_choices,
    has_choice,
    iterate_chunks,
    select_rows,
)
from cloudtask.results.models import TaskRecord
from cloudtask.results.verbs.cancel import select_cancellable

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper


class CancelAction(ResultsAction):
    """Cancels the tasks that are chosen."""

    name = "cancel"
    help = "Cancel tasks."
    description = (
        "Those that wait never run, and leave their queues. Those that run are told."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add options that choose tasks."""
        add_choices(parser)
        parser.add_argument(
            "--status",
            choices=[
                TaskRecord.Status.READY.value,
                TaskRecord.Status.RUNNING.value,
            ],
            help="tasks that wait, or that run",
        )
        add_dry_run(parser)

    def run(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """
        Cancel the tasks, and show how many there were.

        Raises:
            CommandError: Nothing is chosen.
        """
        if not has_choice(options):
            raise CommandError("Say which tasks: --id, --path, --queue or --status.")
        rows = select_cancellable(select_rows(options))
        if options["status"] is not None:
            rows = rows.filter(status=options["status"])
        count = rows.count()
        if options["dry_run"]:
            stdout.write(f"{count} tasks would be cancelled.")
            return
        bar = Bar(stdout, count)
        for ids in iterate_chunks(rows, control.CHUNK):
            bar.add(len(control.cancel_many(ids)))
        bar.end("cancelled")
