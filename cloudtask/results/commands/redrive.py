"""`manage.py cloudtask redrive`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from cloudtask.conf import clock
from cloudtask.results import control
from cloudtask.results.commands.arguments import add_dry_run, read_age, read_rate
from cloudtask.results.commands.bar import Bar
from cloudtask.results.commands.base import ResultsAction
from cloudtask.results.commands.selection import (
    add_choices,
    has_choice,
    iterate_chunks,
    select_rows,
)
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import LIMIT, sweep
from cloudtask.results.verbs.redrive import select_redrivable

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper
    from django.db.models import QuerySet


class RedriveAction(ResultsAction):
    """Has failed tasks run again, at a rate."""

    name = "redrive"
    help = "Retry permanently failed tasks."
    description = "They are sent again as they were, with all their attempts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add options that choose tasks, and the rate."""
        add_choices(parser)
        parser.add_argument(
            "--failed-within",
            type=read_age,
            metavar="AGE",
            help="as in 12h; default is any",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help="all that failed, where nothing is chosen",
        )
        parser.add_argument(
            "--rate",
            type=read_rate,
            default=100.0,
            metavar="N",
            help="a second (default: 100)",
        )
        add_dry_run(parser)

    def run(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """Send failed tasks again, no faster than the rate allows."""
        rows = _select(options)
        count = rows.count()
        if options["dry_run"]:
            stdout.write(f"{count} tasks would run again.")
            return
        bar = Bar(stdout, count)
        pause = threading.Event()
        chunk = max(1, min(LIMIT, int(options["rate"])))
        for ids in iterate_chunks(rows, chunk):
            bar.add(control.redrive(TaskRecord.objects.filter(pk__in=ids)))
            sweep(chunk)
            pause.wait(min(len(ids) / options["rate"], threading.TIMEOUT_MAX))
        bar.end("run again")


def _select(options: Mapping[str, Any]) -> QuerySet[TaskRecord]:
    if options["all"] == has_choice(options):
        raise CommandError(
            "Say which tasks: --id, --path, --queue or --failed-within; or --all "
            "without any of them."
        )
    rows = select_redrivable(select_rows(options))
    if options["failed_within"] is not None:
        rows = rows.filter(finished_at__gte=clock.now() - options["failed_within"])
    return rows
