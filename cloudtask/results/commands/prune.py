"""`manage.py cloudtask prune`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cloudtask.conf import clock
from cloudtask.results import pruning
from cloudtask.results.commands.arguments import add_dry_run, read_age
from cloudtask.results.commands.bar import Bar
from cloudtask.results.commands.base import ResultsAction

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper


class PruneAction(ResultsAction):
    """Deletes what is known of old tasks."""

    name = "prune"
    help = "Delete old tasks."
    description = "Deletes what is known of tasks that have finished long ago."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the ages, and `--dry-run`."""
        parser.add_argument(
            "--older-than",
            type=read_age,
            default=timedelta(days=30),
            metavar="AGE",
            help="successful ones (default: 30d)",
        )
        parser.add_argument(
            "--failed-older-than",
            type=read_age,
            default=timedelta(days=90),
            metavar="AGE",
            help="failed ones (default: 90d)",
        )
        add_dry_run(parser)

    def run(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """Delete old tasks in chunks, and show how many there were."""
        now = clock.now()
        rows = pruning.select_prunable(
            now - options["older_than"], now - options["failed_older_than"]
        )
        count = rows.count()
        if options["dry_run"]:
            stdout.write(f"{count} tasks would be deleted.")
            return
        bar = Bar(stdout, count)
        for deleted in pruning.prune(rows):
            bar.add(deleted)
        bar.end("deleted")
