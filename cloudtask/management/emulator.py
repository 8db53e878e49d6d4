"""`manage.py cloudtask emulator`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from cloudtask.actions import Action
from cloudtask.conf import get_settings
from cloudtask.dispatch.kinds import find_backends
from cloudtask.emulator import commandline
from cloudtask.management.declarations import get_emulator_defaults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper

#: Dispatches at a time that a development server and its database bear.
DESK_CONCURRENCY = 10


_HELP = "Run the Cloud Tasks emulator with the queues of this project."


class EmulatorAction(Action):
    """Runs the emulator with what the settings say of this project."""

    name = "emulator"
    help = _HELP
    description = (
        f"{_HELP} The defaults of --project, --location, --host and the ports come "
        "from the CLOUDTASK setting; --queue adds to its queues or declares one of "
        f"them differently. A queue without a limit gets {DESK_CONCURRENCY} "
        "dispatches at a time."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        commandline.add_arguments(parser)

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        backends = [(each.settings, each.queues) for each in find_backends()]
        defaults = get_emulator_defaults(get_settings(), backends)
        defaults["concurrency"] = DESK_CONCURRENCY
        status = commandline.run(argparse.Namespace(**options), defaults)
        if status:
            sys.exit(status)
