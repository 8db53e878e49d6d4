"""
The options of the command line, which are environment variables, too.

What is given on the command line goes before the environment, that before what
the caller implies, such as a project's settings, and that before the defaults.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from cloudtask.emulator.identity.tokens import DEFAULT_ISSUER
from cloudtask.emulator.tasks.declarations import parse_queue
from cloudtask.emulator.tasks.limits import MAX_CONCURRENT_DISPATCHES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: What the variables of the environment begin with.
PREFIX = "CLOUDTASK_EMULATOR_"
#: What tells other emulators, too, where App Engine tasks are sent.
APP_ENGINE_VARIABLE = "APP_ENGINE_EMULATOR_HOST"

_HIGHEST_PORT = 65_535
_SWITCH = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class UsageError(Exception):
    """What was given cannot be; the message says why."""


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _HIGHEST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {_HIGHEST_PORT}.")
    return int(text)


def _duration(text: str) -> timedelta:
    try:
        duration = timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        duration = timedelta(-1)
    if duration < timedelta(0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds.")
    return duration


def _count(text: str) -> int:
    most = MAX_CONCURRENT_DISPATCHES
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}.")
    return int(text)


def _queue(text: str) -> str:
    try:
        parse_queue(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither on nor off: {', '.join(_SWITCH)}."
        )
    return _SWITCH[text.lower()]


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no URL such as http://127.0.0.1:8080."
        )
    return text.rstrip("/")


def _address(text: str) -> str:
    # Some emulators take HOST:PORT there, others a URL.
    return _url(text if "://" in text else f"http://{text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option, and the environment variable of the same name."""

    flag: str
    dest: str
    help: str
    form: Literal["value", "list", "switch"] = "value"
    read: Callable[[str], Any] = str  # Raises ArgumentTypeError.
    metavar: str | None = None
    default: Any = None

    @property
    def variable(self) -> str:
        return PREFIX + self.flag.removeprefix("--").upper().replace("-", "_")

    def add_to(self, group: argparse._ArgumentGroup) -> None:
        # What is not given is left out, so that it can be looked up elsewhere.
        keywords: dict[str, Any] = {"dest": self.dest, "default": argparse.SUPPRESS}
        if self.form == "switch":
            keywords["action"] = "store_true"
        else:
            keywords |= {"type": self.read, "metavar": self.metavar}
        if self.form == "list":
            keywords["action"] = "append"
        group.add_argument(self.flag, help=self.help, **keywords)

    def from_environment(self) -> Any:
        """
        Return what the variable says, None if it is not set or empty.

        Raises:
            UsageError: The variable cannot be read.
        """
        text = os.environ.get(self.variable)
        if not text:
            return None
        try:
            if self.form == "list":
                return [self.read(each) for each in text.split()]
            return _switch(text) if self.form == "switch" else self.read(text)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"{self.variable}: {error}") from None


STORE = Option(
    flag="--store",
    dest="store",
    metavar="PATH",
    read=Path,
    default=Path("cloudtask-emulator.sqlite3"),
    help="file that keeps queues, tasks and keys; it is made if there is none "
    "(default: cloudtask-emulator.sqlite3 in the working directory)",
)
EPHEMERAL = Option(
    flag="--ephemeral",
    dest="ephemeral",
    form="switch",
    help="keep nothing: all is gone when the emulator stops",
)

GROUPS: dict[str, tuple[Option, ...]] = {
    "queues": (
        Option(
            flag="--queue",
            dest="queues",
            form="list",
            metavar="NAME[:OPTION=VALUE,...]",
            read=_queue,
            default=["default"],
            help="queue that has to be there, see below; may be repeated. One "
            "that the store has keeps its tasks and gets the options, if any "
            "(default: default)",
        ),
        Option(
            flag="--create-queues",
            dest="create_queues",
            form="switch",
            default=False,
            help="make a queue when a task names one that is not there; Cloud "
            "Tasks answers NOT_FOUND, and so does this without the option",
        ),
        Option(
            flag="--concurrency",
            dest="concurrency",
            metavar="N",
            read=_count,
            help="dispatches at a time of each queue that is made at the start, or "
            "by --create-queues, and declares no limit (default: 1000, as in Cloud "
            "Tasks; from manage.py 10, which a desk's server and database bear)",
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
    "what is kept": (
        STORE,
        EPHEMERAL,
        Option(
            flag="--tombstone-ttl",
            dest="tombstone_ttl",
            metavar="SECONDS",
            read=_duration,
            default=timedelta(hours=24),
            help="how long the name of a finished or deleted task stays blocked "
            "(default: 86400, a day)",
        ),
        Option(
            flag="--queue-tombstone-ttl",
            dest="queue_tombstone_ttl",
            metavar="SECONDS",
            read=_duration,
            default=timedelta(days=7),
            help="likewise the name of a deleted queue (default: 604800, a week)",
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
            read=_port,
            default=8123,
            help="port for gRPC; 0 takes a free one (default: 8123)",
        ),
        Option(
            flag="--http-port",
            dest="http_port",
            metavar="PORT",
            read=_port,
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
            read=_url,
            help="where App Engine tasks are sent; without it their attempts fail. "
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
            read=_duration,
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
            help="write no line for each attempt",
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


def effective(given: Mapping[str, Any], implied: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the value of every option but `ephemeral`: then `store` is None.

    Args:
        given: What was given on the command line, by `dest`. It may have
            other keys, too.
        implied: What stands in for defaults. Its queues are declared first,
            then those that were given.

    Raises:
        UsageError: An environment variable is wrong, or two things exclude
            each other.
    """
    arguments = {key: given[key] for key in OPTIONS if key in given}
    chosen = {
        **_decided(_environment(), "variable"),
        **_decided(arguments, "flag"),
    }
    values = {
        **{option.dest: option.default for option in OPTIONS.values()},
        **implied,
        **chosen,
    }
    del values[EPHEMERAL.dest]
    if "queues" in implied:
        values["queues"] = [*implied["queues"], *chosen.get("queues", ())]
    if values["http_port"] is None:
        values["http_port"] = _port_after(values["port"])
    return values


def _environment() -> dict[str, Any]:
    found = {key: option.from_environment() for key, option in OPTIONS.items()}
    address = os.environ.get(APP_ENGINE_VARIABLE)
    if found["app_engine_url"] is None and address:
        try:
            found["app_engine_url"] = _address(address)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"{APP_ENGINE_VARIABLE}: {error}") from None
    return {key: value for key, value in found.items() if value is not None}


def _decided(
    values: dict[str, Any], shown: Literal["flag", "variable"]
) -> dict[str, Any]:
    if not values.get(EPHEMERAL.dest):
        return values
    if STORE.dest in values:
        raise UsageError(
            f"{getattr(STORE, shown)} and {getattr(EPHEMERAL, shown)} exclude each "
            "other: tasks are kept in a file or not at all."
        )
    return {**values, STORE.dest: None}


def _port_after(port: int) -> int:
    if port == _HIGHEST_PORT:
        raise UsageError(f"There is no port after {port}: set --http-port.")
    return port + 1 if port else 0
