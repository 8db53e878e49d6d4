"""
The command line of the emulator.

`add_arguments()` and `run()` serve `python -m cloudtask.emulator` and whoever
wants to offer the same under another name.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cloudtask.emulator.declarations import parse_queue
from cloudtask.emulator.errors import ApiError
from cloudtask.emulator.tokens import DEFAULT_ISSUER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtask.emulator.embedded import Emulator
    from cloudtask.emulator.journal import Attempt

__all__ = ["add_arguments", "main", "parse_queue", "run"]

DEFAULT_PORT = 8123

_DESCRIPTION = """\
Run a local Google Cloud Tasks. It accepts tasks over gRPC as the real service
does, sends them to their URLs at their time, retries what does not answer 2xx,
and signs OIDC tokens with a key of its own. Tasks are kept in memory.
"""

_EPILOG = """\
examples:
  python -m cloudtask.emulator --queue default --queue emails:max_attempts=5
  python -m cloudtask.emulator --queue "slow:min_backoff=0.2,max_backoff=2"

queue options (the rest as in Cloud Tasks; durations in seconds):
  max_attempts, max_retry_duration, min_backoff, max_backoff, max_doublings,
  max_dispatches_per_second (not enforced yet), max_concurrent_dispatches

Point clients to it with CLOUD_TASKS_EMULATOR_HOST=HOST:PORT and an insecure
channel. Verify tokens with http://HOST:HTTP_PORT/certs (PEM) or /jwks.

Every option can be set as CLOUDTASK_EMULATOR_<OPTION>, for example
CLOUDTASK_EMULATOR_HTTP_PORT=9000; CLOUDTASK_EMULATOR_QUEUE and
CLOUDTASK_EMULATOR_ALLOWED_HOST take several values, separated by spaces.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the emulator's options; their defaults come from the environment."""
    parser.add_argument(
        "--host",
        default=_environ("HOST", "127.0.0.1"),
        help="address to listen on; there is no access control, so keep it "
        "local (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=_environ("PORT", str(DEFAULT_PORT)),
        help="gRPC port; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--http-port",
        type=_port,
        default=_environ("HTTP_PORT"),
        help="port for keys and discovery; 0 takes a free one (default: PORT + 1)",
    )
    parser.add_argument(
        "--queue",
        dest="queues",
        metavar="NAME[:OPTION=VALUE,...]",
        type=_queue,
        action="append",
        help="queue to create; may be repeated (default: default)",
    )
    _add_naming_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """
    Serve until SIGINT or SIGTERM. Call it from the main thread.

    Args:
        options: What a parser with add_arguments() returned.

    Returns:
        The exit code: 0 after a signal, 1 if it could not start, 2 if
        something is missing or wrong.
    """
    if importlib.util.find_spec("aiohttp") is None:
        return _fail(
            2, "aiohttp is not installed. Run: pip install 'dj-cloudtask[emulator]'"
        )
    from cloudtask.emulator.embedded import Emulator

    try:
        emulator = Emulator(**_emulator_arguments(options)).start()
    except (ApiError, OverflowError, ValueError) as error:
        return _fail(2, str(error))
    except OSError as error:
        return _fail(1, str(error))
    stopping = _stop_on_signals()
    _write(_ready_text(emulator))
    stopping.wait()
    emulator.stop()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with these arguments or the process's."""
    parser = argparse.ArgumentParser(
        prog="python -m cloudtask.emulator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def describe(attempt: Attempt) -> str:
    """Return an attempt as one line of `key=value` pairs."""
    took = attempt.response_time - attempt.dispatch_time
    line = (
        f"task={attempt.task_id} queue={attempt.queue} attempt={attempt.number} "
        f"status={attempt.status or 'none'} "
        f"duration={took / timedelta(milliseconds=1):.0f}ms "
        f"outcome={attempt.outcome.replace(' ', '-')}"
    )
    if attempt.retry_time is not None:
        line += f" next={attempt.retry_time.isoformat(timespec='milliseconds')}"
    if attempt.error is not None:
        line += f" error={attempt.error!r}"
    return line


def _add_naming_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--project",
        default=_environ("PROJECT", "demo"),
        help="project of the declared queues (default: %(default)s)",
    )
    parser.add_argument(
        "--location",
        default=_environ("LOCATION", "local"),
        help="location of the declared queues (default: %(default)s)",
    )
    parser.add_argument(
        "--issuer",
        default=_environ("ISSUER", DEFAULT_ISSUER),
        help="`iss` of the OIDC tokens; the default is one that no production "
        "settings accept (default: %(default)s)",
    )
    parser.add_argument(
        "--tombstone-ttl",
        metavar="SECONDS",
        type=_duration,
        default=_environ("TOMBSTONE_TTL", "86400"),
        help="how long the name of a finished or deleted task stays blocked "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--allowed-host",
        dest="allowed_hosts",
        metavar="NAME",
        action="append",
        help="name under which the HTTP port may be called besides localhost, "
        "such as the container's; may be repeated",
    )
    parser.add_argument(
        "--allow-public-targets",
        action="store_true",
        default=bool(_environ("ALLOW_PUBLIC_TARGETS")),
        help="dispatch to public addresses, too, and not only to this machine "
        "and its private network",
    )


def _emulator_arguments(options: argparse.Namespace) -> dict[str, Any]:
    port, http_port = options.port, options.http_port
    if http_port is None:
        http_port = port + 1 if port else 0
    hosts = options.allowed_hosts or _environ("ALLOWED_HOST", "").split()
    return {
        "queues": options.queues or _environ("QUEUE", "default").split(),
        "project": options.project,
        "location": options.location,
        "host": options.host,
        "port": port,
        "http_port": http_port,
        "issuer": options.issuer,
        "tombstone_ttl": options.tombstone_ttl,
        "allowed_hosts": tuple(hosts),
        "allow_public_targets": options.allow_public_targets,
        "on_attempt": lambda attempt: _write(describe(attempt)),
    }


def _stop_on_signals() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _ready_text(emulator: Emulator) -> str:
    return (
        f"Cloud Tasks emulator ready: gRPC {emulator.host}, "
        f"keys {emulator.http_url}. Point clients to it:\n"
        f"export CLOUD_TASKS_EMULATOR_HOST={emulator.host}"
    )


def _environ(option: str, default: Any = None) -> Any:
    # argparse runs a default that is a string through `type`, so a bad value
    # is reported like one from the command line.
    return os.environ.get(f"CLOUDTASK_EMULATOR_{option}") or default


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535.")
    return int(text)


def _duration(text: str) -> timedelta:
    try:
        duration = timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        duration = timedelta(-1)
    if duration < timedelta(0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds.")
    return duration


def _queue(text: str) -> str:
    try:
        parse_queue(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _write(text: str) -> None:
    # Flushed line by line: a log that is piped somewhere is read live.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"cloudtask.emulator: {message}\n")
    return code
