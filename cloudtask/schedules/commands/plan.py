"""`manage.py cloudtask schedules plan` and `apply`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from cloudtask.actions import Action
from cloudtask.results.commands.arguments import add_dry_run
from cloudtask.schedules.commands.output import (
    add_json,
    describe_step,
    to_document,
    write_comparison,
    write_json,
    write_rest,
)
from cloudtask.schedules.reconciling import apply_all, compare_all

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper

    from cloudtask.schedules.changes import Comparison

#: The exit status of a plan that is not empty.
CHANGES = 2


class PlanAction(Action):
    """Shows what `apply` would do."""

    name = "plan"
    help = "Show how schedules differ from what the code declares."
    description = (
        "Compares the schedules of the code with their rows, and rows with what "
        "brings their ticks. Nothing is changed. The exit status is 0 if there is "
        "nothing to do, 2 if there is, and 1 if it cannot be told."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add `--json`."""
        add_json(parser)

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """
        Compare and show. See Action.handle().

        Raises:
            SystemExit: There is something to do.
        """
        if _show(options, stdout).steps:
            sys.exit(CHANGES)


class ApplyAction(Action):
    """Does what a plan shows."""

    name = "apply"
    help = "Have schedules be as the code declares them."
    description = (
        "Makes, changes and deletes the rows of schedules that the code declares, and "
        "has what brings ticks follow all rows. What people paused stays paused. "
        "Applied again, it does nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add `--dry-run` and `--json`."""
        add_dry_run(parser)
        parser.add_argument(
            "--json", action="store_true", help="with --dry-run: for a program to read"
        )

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """Compare, and do what is to be done. See Action.handle()."""
        if options["dry_run"]:
            _show(options, stdout)
            return
        comparison = compare_all()
        _check(comparison)
        _apply(comparison, stdout)


def _show(options: Mapping[str, Any], stdout: OutputWrapper) -> Comparison:
    comparison = compare_all()
    if options["json"]:
        write_json(to_document(comparison), stdout)
    else:
        write_comparison(comparison, stdout)
    _check(comparison)
    return comparison


def _check(comparison: Comparison) -> None:
    if comparison.problems:
        raise CommandError("Nothing can be applied. " + "\n".join(comparison.problems))


def _apply(comparison: Comparison, stdout: OutputWrapper) -> None:
    """Do what a comparison has found, and say so step by step."""
    count, failures = 0, []
    for step, error in apply_all(comparison):
        if error is None:
            count += 1
            stdout.write("\n".join(describe_step(step)))
        else:
            failures.append(f"{step.what} {step.name}: {error}")
    write_rest(comparison, stdout)
    stdout.write(f"{count} done." if count else "Nothing was to be done.")
    if failures:
        raise CommandError(f"{len(failures)} not done. " + "\n".join(failures))
