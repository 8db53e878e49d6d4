"""`manage.py cloudtask schedules list`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db.models import OuterRef, Subquery

from cloudtask.actions import Action
from cloudtask.exceptions import InvalidSchedule
from cloudtask.schedules.commands.output import add_json, write_json
from cloudtask.schedules.models import ScheduledTask, Slot

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from django.core.management.base import OutputWrapper

_COLUMNS = ("name", "task", "cron", "time_zone", "next", "state", "last")


class ListAction(Action):
    """Lists schedules."""

    name = "list"
    help = "List schedules."
    description = "Lists all schedules, with the next run in the schedule's zone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add `--json`."""
        add_json(parser)

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        """List the schedules. See Action.handle()."""
        slots = Slot.objects.filter(schedule=OuterRef("pk")).order_by("-instant")
        rows = ScheduledTask.objects.annotate(
            last_instant=Subquery(slots.values("instant")[:1]),
            last_state=Subquery(slots.values("state")[:1]),
        )
        described = [_describe(row) for row in rows]
        if options["json"]:
            write_json(described, stdout)
        else:
            _write_table(described, stdout)


def _describe(row: Any) -> dict[str, str | None]:
    last = _show(row, row.last_instant)
    return {
        "name": row.name,
        "task": row.path,
        "cron": row.cron,
        "time_zone": row.time_zone,
        "next": _show(row, row.next_at),
        "state": _find_state(row),
        "last": last and f"{last} {row.last_state}",
    }


def _find_state(row: ScheduledTask) -> str:
    if row.is_paused:
        return "paused"
    return "active" if row.next_at is not None else "ended"


def _show(row: ScheduledTask, moment: datetime | None) -> str | None:
    """Show a moment in the schedule's zone; in UTC where that is not valid."""
    if moment is None:
        return None
    with suppress(InvalidSchedule):
        moment = moment.astimezone(row.plan.zone)
    return moment.isoformat(" ", "minutes")


def _write_table(
    described: Sequence[Mapping[str, str | None]], stdout: OutputWrapper
) -> None:
    titles = [each.upper().replace("_", " ") for each in _COLUMNS]
    lines = [titles, *([each[c] or "-" for c in _COLUMNS] for each in described)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (text.ljust(n) for text, n in zip(line, widths, strict=True))
        stdout.write("  ".join(cells).rstrip())
