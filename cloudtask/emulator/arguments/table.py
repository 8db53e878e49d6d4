"""The options of the command line, in groups."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtask.emulator.arguments.option import Option
from cloudtask.emulator.arguments.readers import (
    read_choice,
    read_count,
    read_duration,
    read_port,
    read_queue,
    read_url,
)
from cloudtask.emulator.identity.tokens import DEFAULT_ISSUER

if TYPE_CHECKING:
    import argparse

#: What tells other emulators, too, where App Engine tasks are sent.
APP_ENGINE_VARIABLE = "APP_ENGINE_EMULATOR_HOST"


STORE = Option(
    flag="--store",
    dest="store",
    metavar="PATH",
    read=Path,
    default=Path("cloudtask-emulator.sqlite3"),
    help="file that keeps queues, tasks and keys, created if it is missing "
    "(default: cloudtask-emulator.sqlite3 in the working directory)",
)
EPHEMERAL = Option(
    flag="--ephemeral",
    dest="ephemeral",
    form="switch",
    help="keep nothing: everything is gone when the emulator stops",
)

GROUPS: dict[str, tuple[Option, ...]] = {
    "queues": (
        Option(
            flag="--queue",
            dest="queues",
            form="list",
            metavar="NAME[:OPTION=VALUE,...]",
            read=read_queue,
            default=["default"],
            help="queue that is created if it is missing, see below; may be "
            "repeated. One that is in the store keeps its tasks and gets the "
            "options, if there are any (default: default)",
        ),
        Option(
            flag="--create-queues",
            dest="create_queues",
            form="switch",
            default=False,
            help="create a missing queue when a task names it; without this the answer "
            "is NOT_FOUND, as in Cloud Tasks",
        ),
        Option(
            flag="--concurrency",
            dest="concurrency",
            metavar="N",
            read=read_count,
            help="dispatches at a time of each queue that is created at the start or "
            "by --create-queues and declares no limit (default: 1000, as in Cloud "
            "Tasks; 10 from manage.py, which a development server can bear)",
        ),
        Option(
            flag="--project",
            dest="project",
            metavar="ID",
            default="demo",
            help="project of the declared queues (default: demo)",
        ),
        Option(
            flag="--location",
            dest="location",
            metavar="ID",
            default="local",
            help="location of the declared queues (default: local)",
        ),
    ),
    "jobs of Cloud Scheduler, where its documents are silent or were not kept to": (
        Option(
            flag="--doubled-times",
            dest="doubled_times",
            metavar="WHICH",
            read=read_choice("first", "both"),
            default="first",
            help="when a job runs whose time the clock shows twice: at the first, or "
            "at both (default: first)",
        ),
        Option(
            flag="--retry-growth",
            dest="retry_growth",
            metavar="RULE",
            read=read_choice("recorded", "documented"),
            default="recorded",
            help="how the delay between retries grows after its doublings: recorded, "
            "by 2 seconds each; documented, by the last doubling (default: recorded)",
        ),
        Option(
            flag="--busy-slots",
            dest="busy_slots",
            metavar="RULE",
            read=read_choice("skip", "end-retries"),
            default="skip",
            help="what becomes of a slot while the one before is retried: skip leaves "
            "it out, end-retries ends the retries (default: skip)",
        ),
        Option(
            flag="--rephase-intervals",
            dest="rephase_intervals",
            form="switch",
            default=False,
            help="count the next slot of `every 5 minutes` from a forced run",
        ),
    ),
    "what is kept": (
        STORE,
        EPHEMERAL,
        Option(
            flag="--tombstone-ttl",
            dest="tombstone_ttl",
            metavar="SECONDS",
            read=read_duration,
            default=timedelta(hours=24),
            help="how long the name of a finished or deleted task stays blocked "
            "(default: 86400, a day)",
        ),
        Option(
            flag="--queue-tombstone-ttl",
            dest="queue_tombstone_ttl",
            metavar="SECONDS",
            read=read_duration,
            default=timedelta(days=7),
            help="how long the name of a deleted queue stays blocked "
            "(default: 604800, a week)",
        ),
    ),
    "addresses": (
        Option(
            flag="--host",
            dest="host",
            default="127.0.0.1",
            metavar="ADDRESS",
            help="address to listen on; there is no access control, so keep it "
            "local (default: 127.0.0.1)",
        ),
        Option(
            flag="--port",
            dest="port",
            metavar="PORT",
            read=read_port,
            default=8123,
            help="port for gRPC; 0 takes a free one (default: 8123)",
        ),
        Option(
            flag="--http-port",
            dest="http_port",
            metavar="PORT",
            read=read_port,
            help="port for REST, the page and the keys; 0 takes a free one "
            "(default: the one after --port)",
        ),
        Option(
            flag="--allowed-host",
            dest="allowed_hosts",
            form="list",
            metavar="NAME",
            default=[],
            help="name under which the HTTP port may be called besides "
            "localhost, such as the container's; may be repeated",
        ),
    ),
    "dispatching": (
        Option(
            flag="--allow-public-targets",
            dest="allow_public_targets",
            form="switch",
            default=False,
            help="dispatch to public addresses, too, and not only to this machine "
            "and its private network",
        ),
        Option(
            flag="--require-https",
            dest="require_https",
            form="switch",
            default=False,
            help="refuse a task with a token for an http:// URL on this machine or "
            "network, too, as Cloud Tasks does",
        ),
        Option(
            flag="--app-engine-url",
            dest="app_engine_url",
            metavar="URL",
            read=read_url,
            help="where tasks and jobs for App Engine are sent; without it their "
            "attempts fail. "
            f"{APP_ENGINE_VARIABLE}=HOST:PORT in the environment does the same",
        ),
        Option(
            flag="--issuer",
            dest="issuer",
            metavar="URL",
            default=DEFAULT_ISSUER,
            help="`iss` of the OIDC tokens; the default is one that no production "
            f"settings accept (default: {DEFAULT_ISSUER})",
        ),
        Option(
            flag="--stop-grace",
            dest="stop_grace",
            metavar="SECONDS",
            read=read_duration,
            default=timedelta(seconds=5),
            help="how long attempts under way get to finish when it stops; the "
            "rest run again after the next start (default: 5)",
        ),
    ),
    "output": (
        Option(
            flag="--quiet",
            dest="quiet",
            form="switch",
            default=False,
            help="do not write a line for each attempt",
        ),
    ),
}

OPTIONS = {option.dest: option for group in GROUPS.values() for option in group}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; what is not given is not in the namespace."""
    for title, options in GROUPS.items():
        group = parser.add_argument_group(title)
        for option in options:
            option.add_to(group)
