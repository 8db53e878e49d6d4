"""`manage.py cloudtask sweep`, `cancel`, `redrive` and `prune`."""

from __future__ import annotations

import argparse
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from cloudtask.exceptions import ConfigurationError
from cloudtask.results import control, pruning
from cloudtask.results.database.errors import explain_missing_tables
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import LIMIT, Swept, sweep
from cloudtask.results.verbs.cancel import select_cancellable
from cloudtask.results.verbs.redrive import select_redrivable
from cloudtask.wire.payload import as_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.core.management.base import OutputWrapper
    from django.db.models import QuerySet

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_BAR = 30
#: Options that say which tasks.
_CHOICES = ("id", "path", "queue", "status", "failed_within")
#: The longest age: further back there is no calendar.
_MAX_AGE = timedelta(days=36_500)
#: The most tasks of one pass.
_MAX_LIMIT = 10_000


def add_actions(actions: Any) -> None:
    """Add the actions to the parsers of `manage.py cloudtask`."""
    _add_sweep(actions)
    _add_cancel(actions)
    _add_redrive(actions)
    _add_prune(actions)


def run(options: dict[str, Any], stdout: OutputWrapper) -> None:
    """Do what the command line says."""
    try:
        with explain_missing_tables():
            _ACTIONS[options["action"]](options, stdout)
    except ConfigurationError as error:
        raise CommandError(str(error)) from error


def age(text: str) -> timedelta:
    """Read `30d`, `12h`, `90m` or `45s`."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no age. Write 30d, 12h, 90m or 45s."
        )
    found = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if found > _MAX_AGE:
        raise argparse.ArgumentTypeError(
            f"{text!r} is too long ago. Write {_MAX_AGE.days}d at the most."
        )
    return found


def _limit(text: str) -> int:
    if re.fullmatch("[0-9]{1,9}", text) is None or not 1 <= int(text) <= _MAX_LIMIT:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of tasks from 1 to {_MAX_LIMIT}."
        )
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0 < rate <= 500:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no rate: above 0, up to 500 a second."
        )
    return rate


def _add_sweep(actions: Any) -> None:
    parser = actions.add_parser(
        "sweep",
        help="Send tasks that were not sent, and free those whose worker died.",
        description="Makes passes until there is nothing left to do. Any number of "
        "sweepers may run at once. Have Cloud Scheduler or cron run it now and then.",
    )
    parser.add_argument(
        "--limit",
        type=_limit,
        default=LIMIT,
        metavar="N",
        help="tasks of one pass (default: %(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="make one pass only")


def _add_cancel(actions: Any) -> None:
    parser = actions.add_parser(
        "cancel",
        help="Cancel tasks.",
        description="Those that wait never run, and leave their queues. Those that "
        "run are told.",
    )
    _add_choices(parser)
    parser.add_argument(
        "--status",
        choices=[TaskRecord.Status.READY.value, TaskRecord.Status.RUNNING.value],
        help="tasks that wait, or that run",
    )
    _add_dry_run(parser)


def _add_redrive(actions: Any) -> None:
    parser = actions.add_parser(
        "redrive",
        help="Have tasks that failed for good run again.",
        description="They are sent again as they were, with all their attempts.",
    )
    _add_choices(parser)
    parser.add_argument(
        "--failed-within", type=age, metavar="AGE", help="as in 12h; default is any"
    )
    parser.add_argument(
        "--all", action="store_true", help="all that failed, where nothing is chosen"
    )
    parser.add_argument(
        "--rate", type=_rate, default=100.0, metavar="N", help="a second (default: 100)"
    )
    _add_dry_run(parser)


def _add_prune(actions: Any) -> None:
    parser = actions.add_parser(
        "prune",
        help="Delete old tasks.",
        description="Deletes what is known of tasks that have finished long ago.",
    )
    parser.add_argument(
        "--older-than",
        type=age,
        default=timedelta(days=30),
        metavar="AGE",
        help="successful ones (default: 30d)",
    )
    parser.add_argument(
        "--failed-older-than",
        type=age,
        default=timedelta(days=90),
        metavar="AGE",
        help="failed ones (default: 90d)",
    )
    _add_dry_run(parser)


def _add_choices(parser: Any) -> None:
    parser.add_argument(
        "--id", action="append", default=[], help="this task; repeat it"
    )
    parser.add_argument("--path", help="tasks of this dotted path")
    parser.add_argument("--queue", help="tasks of this queue")


def _add_dry_run(parser: Any) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="say how many, and change nothing"
    )


def _sweep(options: dict[str, Any], stdout: OutputWrapper) -> None:
    total = Swept()
    while True:
        swept = sweep(options["limit"])
        total.sent += swept.sent
        total.unsent += swept.unsent
        total.freed += swept.freed
        # What could not be sent now waits for a while.
        if options["once"] or not (swept.sent or swept.freed):
            break
    stdout.write(
        f"Sent {total.sent} tasks, freed {total.freed}; "
        f"{total.unsent} could not be sent."
    )


def _cancel(options: dict[str, Any], stdout: OutputWrapper) -> None:
    if not _are_chosen(options):
        raise CommandError("Say which tasks: --id, --path, --queue or --status.")
    rows = select_cancellable(_chosen(options))
    if options["status"] is not None:
        rows = rows.filter(status=options["status"])
    count = rows.count()
    if options["dry_run"]:
        stdout.write(f"{count} tasks would be cancelled.")
        return
    bar = Bar(stdout, count)
    for ids in _chunks(rows, control.CHUNK):
        bar.add(len(control.cancel_many(ids)))
    bar.end("cancelled")


def _redrive(options: dict[str, Any], stdout: OutputWrapper) -> None:
    if options["all"] == _are_chosen(options):
        raise CommandError(
            "Say which tasks: --id, --path, --queue or --failed-within; or --all "
            "without any of them."
        )
    rows = select_redrivable(_chosen(options))
    if options["failed_within"] is not None:
        rows = rows.filter(
            finished_at__gte=datetime.now(UTC) - options["failed_within"]
        )
    count = rows.count()
    if options["dry_run"]:
        stdout.write(f"{count} tasks would run again.")
        return
    bar = Bar(stdout, count)
    pause = threading.Event()
    chunk = max(1, min(LIMIT, int(options["rate"])))
    for ids in _chunks(rows, chunk):
        bar.add(control.redrive(TaskRecord.objects.filter(pk__in=ids)))
        sweep(chunk)
        pause.wait(min(len(ids) / options["rate"], threading.TIMEOUT_MAX))
    bar.end("run again")


def _are_chosen(options: dict[str, Any]) -> bool:
    """Whether an option says which tasks, be it an empty text."""
    return any(options.get(name) not in (None, []) for name in _CHOICES)


def _chosen(options: dict[str, Any]) -> QuerySet[TaskRecord]:
    """The tasks that the options are about; all of them without any."""
    rows = TaskRecord.objects.all()
    if options["id"]:
        rows = rows.filter(pk__in=[as_id(each) for each in options["id"]])
    if options["path"] is not None:
        rows = rows.filter(path=options["path"])
    if options["queue"] is not None:
        rows = rows.filter(queue=options["queue"])
    return rows


def _chunks(rows: QuerySet[TaskRecord], size: int) -> Iterator[list[str]]:
    """The ids of rows, each but once: what failed may fail again meanwhile."""
    last = ""
    while ids := list(
        rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:size]
    ):
        yield ids
        last = ids[-1]


def _prune(options: dict[str, Any], stdout: OutputWrapper) -> None:
    now = datetime.now(UTC)
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


class Bar:
    """How far a long work is: a bar on a terminal, and one line at the end."""

    def __init__(self, stdout: OutputWrapper, total: int) -> None:
        self._stdout = stdout
        self._total = total
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count
        if self._stdout.isatty():
            filled = _BAR * min(self._done, self._total) // max(1, self._total)
            bar = "#" * filled + "." * (_BAR - filled)
            self._stdout.write(f"\r[{bar}] {self._done}/{self._total}", ending="")
            self._stdout.flush()

    def end(self, verb: str) -> None:
        if self._stdout.isatty():
            self._stdout.write("")
        self._stdout.write(f"{self._done} tasks {verb}.")


_ACTIONS: dict[str, Callable[[dict[str, Any], Any], None]] = {
    "sweep": _sweep,
    "cancel": _cancel,
    "redrive": _redrive,
    "prune": _prune,
}
