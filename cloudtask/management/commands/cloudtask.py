"""`manage.py cloudtask emulator`: what a project needs beside its code."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandParser

from cloudtask.conf import Settings, get_settings
from cloudtask.emulator import commandline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtask.validation import QueueConfig


class Command(BaseCommand):
    help = "Run the Cloud Tasks emulator with the queues of this project."
    # The emulator is wanted most while the settings are not complete yet.
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django has it

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        emulator = actions.add_parser(
            "emulator",
            help=self.help,
            description=f"{self.help} The defaults of --project, --location, --host "
            "and the ports come from the CLOUDTASK setting; --queue adds to its "
            "queues or declares one of them differently.",
        )
        commandline.add_arguments(emulator)

    def handle(self, *args: Any, **options: Any) -> None:
        implied = emulator_defaults(get_settings())
        status = commandline.run(argparse.Namespace(**options), implied)
        if status:
            sys.exit(status)


def emulator_defaults(settings: Settings) -> dict[str, Any]:
    """The emulator's options that a project's settings imply."""
    host, _, port = (settings.emulator_host or "").rpartition(":")
    http_port = (settings.emulator_http_host or "").rpartition(":")[2]
    implied = {
        "host": host,
        "port": int(port or 0),
        "http_port": int(http_port or 0),
        "project": settings.project,
        "location": settings.location,
        "queues": list(queue_declarations(settings)),
    }
    return {name: value for name, value in implied.items() if value}


def queue_declarations(settings: Settings) -> Iterator[str]:
    """Every queue that the settings name, as `NAME:option=value,...`."""
    named = {
        settings.queue_aliases.get(name, name)
        for name in (settings.queue, *settings.priority_queues.values())
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
