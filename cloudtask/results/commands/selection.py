"""The tasks that the options of an action choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.results.models import TaskRecord
from cloudtask.wire.payload import as_id

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

    from django.db.models import QuerySet

#: Options that choose tasks.
_CHOICES = ("id", "path", "queue", "status", "failed_within")


def add_choices(parser: ArgumentParser) -> None:
    """Add the options by which tasks are chosen."""
    parser.add_argument(
        "--id", action="append", default=[], help="this task; repeat it"
    )
    parser.add_argument("--path", help="tasks of this dotted path")
    parser.add_argument("--queue", help="tasks of this queue")


def has_choice(options: Mapping[str, Any]) -> bool:
    """Whether an option chooses tasks, be it with an empty text."""
    return any(options.get(name) not in (None, []) for name in _CHOICES)


def select_rows(options: Mapping[str, Any]) -> QuerySet[TaskRecord]:
    """The tasks that the options choose; all of them without any."""
    rows = TaskRecord.objects.all()
    if options["id"]:
        rows = rows.filter(pk__in=[as_id(each) for each in options["id"]])
    if options["path"] is not None:
        rows = rows.filter(path=options["path"])
    if options["queue"] is not None:
        rows = rows.filter(queue=options["queue"])
    return rows


def iterate_chunks(rows: QuerySet[TaskRecord], size: int) -> Iterator[list[str]]:
    """The ids of rows, each but once: what failed may fail again meanwhile."""
    last = ""
    while ids := list(
        rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:size]
    ):
        yield ids
        last = ids[-1]
