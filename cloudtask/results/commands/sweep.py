"""`manage.py cloudtask sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.results.commands.arguments import read_limit
from cloudtask.results.commands.base import ResultsAction
from cloudtask.results.sweeping import LIMIT, Swept, sweep

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper


class SweepAction(ResultsAction):
    """Sends and frees what has stayed behind."""

    name = "sweep"
    help = "Send tasks that were not sent, and free those whose worker died."
    description = (
        "Makes passes until there is nothing left to do. Any number of sweepers may "
        "run at once. Have Cloud Scheduler or cron run it now and then."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the limit, and `--once`."""
        parser.add_argument(
            "--limit",
            type=read_limit,
            default=LIMIT,
            metavar="N",
            help="tasks of one pass (default: %(default)s)",
        )
        parser.add_argument("--once", action="store_true", help="make one pass only")

    def run(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """Sweep until nothing is left, or once, and say what was done."""
        total = Swept()
        while True:
            swept = sweep(options["limit"])
            total.sent += swept.sent
            total.unsent += swept.unsent
            total.freed += swept.freed
            total.others += swept.others
            # What could not be sent now waits for a while.
            if options["once"] or not (swept.sent or swept.freed or swept.others):
                break
        ticks = f", ticked {total.others} schedules" if total.others else ""
        stdout.write(
            f"Sent {total.sent} tasks, freed {total.freed}{ticks}; "
            f"{total.unsent} could not be sent."
        )
