"""`manage.py cloudtask schedules prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from cloudtask.actions import Action
from cloudtask.results.commands.arguments import add_dry_run
from cloudtask.schedules.engines.cloud_scheduler import CloudSchedulerEngine

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper


class PruneAction(Action):
    """Deletes jobs at Cloud Scheduler that no schedule has."""

    name = "prune"
    help = "Delete our jobs at Cloud Scheduler that no schedule has any more."
    description = (
        "Only jobs that have SCHEDULER_PREFIX in their id and in their description. "
        "Where SCHEDULER is not 'scheduler', those are all of them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add `--yes` and `--dry-run`."""
        parser.add_argument("--yes", action="store_true", help="do not ask")
        add_dry_run(parser)

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """
        Delete the jobs, after a question. See Action.handle().

        Raises:
            CommandError: Nobody said yes.
        """
        orphans = CloudSchedulerEngine().find_orphans()
        for orphan in orphans:
            stdout.write(f"- {orphan.what} {orphan.name}")
        if options["dry_run"] or not orphans:
            stdout.write(f"{len(orphans)} jobs to delete.")
            return
        if not options["yes"] and not _ask(f"Delete {len(orphans)} jobs? [y/N] "):
            raise CommandError(
                "Nothing was deleted. Say --yes to do it without asking."
            )
        for count, orphan in enumerate(orphans, 1):
            orphan.take()
            stdout.write(f"{count}/{len(orphans)} deleted.")


def _ask(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False  # Nobody is there.
