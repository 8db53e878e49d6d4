"""`manage.py cloudtask`: what a project needs beside its code."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandParser

from cloudtask.conf import Settings, get_settings
from cloudtask.dispatch.kinds import find_backends
from cloudtask.emulator import commandline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudtask.conf.validation import QueueConfig


#: Dispatches at a time that a development server and its database bear.
DESK_CONCURRENCY = 10

_EMULATOR = "Run the Cloud Tasks emulator with the queues of this project."


class Command(BaseCommand):
    help = "What a project with cloudtask needs beside its code."
    # The emulator is wanted most while the settings are not complete yet.
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django has it

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        emulator = actions.add_parser(
            "emulator",
            help=_EMULATOR,
            description=f"{_EMULATOR} The defaults of --project, --location, --host "
            "and the ports come from the CLOUDTASK setting; --queue adds to its "
            "queues or declares one of them differently. A queue without a limit gets "
            f"{DESK_CONCURRENCY} dispatches at a time.",
        )
        commandline.add_arguments(emulator)
        if apps.is_installed("cloudtask.results"):
            from cloudtask.results import commands

            commands.add_actions(actions)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] != "emulator":
            from cloudtask.results import commands

            commands.run(options, self.stdout)
            return
        backends = [(each.settings, each.queues) for each in find_backends()]
        implied = emulator_defaults(get_settings(), backends)
        implied["concurrency"] = DESK_CONCURRENCY
        status = commandline.run(argparse.Namespace(**options), implied)
        if status:
            sys.exit(status)


def emulator_defaults(
    settings: Settings, backends: Iterable[tuple[Settings, Iterable[str]]] = ()
) -> dict[str, Any]:
    """
    The emulator's options that a project's settings imply.

    Args:
        settings: CLOUDTASK.
        backends: The settings of each task backend, and its QUEUES.
    """
    declared: dict[str, str] = {}
    for each, names in ((settings, ()), *backends):
        for text in queue_declarations(each, names):
            declared.setdefault(text.partition(":")[0], text)
    host, _, port = (settings.emulator_host or "").rpartition(":")
    http_port = (settings.emulator_http_host or "").rpartition(":")[2]
    implied = {
        "host": host,
        "port": int(port or 0),
        "http_port": int(http_port or 0),
        "project": settings.project,
        "location": settings.location,
        "queues": list(declared.values()),
    }
    return {name: value for name, value in implied.items() if value}


def queue_declarations(settings: Settings, names: Iterable[str] = ()) -> Iterator[str]:
    """
    Every queue that the settings name, as `NAME:option=value,...`.

    Args:
        settings: Where queues are named.
        names: Further queues, or aliases of queues.
    """
    named = {
        settings.queue_aliases.get(name, name)
        for name in (settings.queue, *settings.priority_queues.values(), *names)
        if name
    }
    for name in sorted({*named, *settings.queue_aliases.values(), *settings.queues}):
        config = settings.queues.get(name)
        options = ",".join(_options(config)) if config else ""
        yield f"{name}:{options}" if options else name


def _options(config: QueueConfig) -> Iterator[str]:
    fields = asdict(config)
    for field, value in {**fields, **(fields.pop("retry") or {})}.items():
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if value is not None and field != "retry":
            yield f"{field}={value}"
