"""`manage.py cloudtask schedules pause`, `resume` and `run`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from cloudtask.actions import Action
from cloudtask.schedules import control
from cloudtask.schedules.models import ScheduledTask

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper


class _NamesAction(Action):
    """Does something with schedules that are named."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the names."""
        parser.add_argument(
            "names", nargs="+", metavar="NAME", help="what a schedule is called"
        )

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """
        Do it with each, if all are there. See Action.handle().

        Raises:
            CommandError: There is no schedule of a name.
        """
        names = options["names"]
        found = dict(
            ScheduledTask.objects.filter(name__in=names).values_list("name", "pk")
        )
        missing = [repr(name) for name in names if name not in found]
        if missing:
            raise CommandError(
                f"No schedule is called {', '.join(missing)}. See `schedules list`."
            )
        for name in names:
            stdout.write(f"{name}: {self.see_to(found[name])}.")

    @abstractmethod
    def see_to(self, pk: int) -> str:
        """Do it with the schedule of a row, and say what was done."""


class PauseAction(_NamesAction):
    """Pauses schedules."""

    name = "pause"
    help = "Pause schedules."
    description = "No slot of theirs is run, or counts as missed, until resumed."

    def see_to(self, pk: int) -> str:
        """Pause it. See control.pause()."""
        return "paused" if control.pause(pk) else "was paused before"


class ResumeAction(_NamesAction):
    """Resumes schedules."""

    name = "resume"
    help = "Resume schedules."
    description = "They go on with their first slot from now on."

    def see_to(self, pk: int) -> str:
        """Resume it. See control.resume()."""
        return "resumed" if control.resume(pk) else "was not paused"


class RunAction(_NamesAction):
    """Runs the tasks of schedules."""

    name = "run"
    help = "Run the tasks of schedules now."
    description = "They run beside their slots, which stay as they are."

    def see_to(self, pk: int) -> str:
        """Enqueue a run. See control.run_now()."""
        return f"enqueued as {control.run_now(pk)}"
