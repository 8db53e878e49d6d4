"""
The command line of the emulator.

`add_arguments()` and `run()` serve `python -m cloudtask.emulator`, and other
programs that offer the same under another name.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import queue
import signal
import sys
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from google.rpc.code_pb2 import UNAVAILABLE

from cloudtask import __version__
from cloudtask.emulator.arguments.option import UsageError
from cloudtask.emulator.arguments.table import add_arguments
from cloudtask.emulator.arguments.values import resolve
from cloudtask.emulator.values.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import FrameType

    from cloudtask.emulator.embedded import Emulator
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt
    from cloudtask.emulator.tasks.sending.journal import Attempt

__all__ = ["add_arguments", "main", "run"]

_DESCRIPTION = """\
Run a local Google Cloud Tasks and Cloud Scheduler. It takes tasks and jobs over
gRPC and REST as the real services do, sends them to their URLs at their time,
retries what does not answer 2xx, and signs OIDC tokens with a key of its own.
All of it is kept in a file. Its HTTP port has a page to watch and steer it.
"""

_EPILOG = """\
queue options (the rest as in Cloud Tasks; durations in seconds):
  rate, concurrency (short for max_dispatches_per_second and
  max_concurrent_dispatches), max_attempts, max_retry_duration, min_backoff,
  max_backoff, max_doublings

examples:
  python -m cloudtask.emulator
      one queue called default, gRPC on port 8123, the page on
      http://127.0.0.1:8124/
  python -m cloudtask.emulator --queue default --queue emails:max_attempts=5
  python -m cloudtask.emulator --queue "slow:rate=0.5,min_backoff=10" --ephemeral
  python -m cloudtask.emulator --store var/tasks.sqlite3 --project shop \\
      --location europe-west1

Every option is an environment variable, too: CLOUDTASK_EMULATOR_HTTP_PORT=9000,
CLOUDTASK_EMULATOR_EPHEMERAL=1. CLOUDTASK_EMULATOR_QUEUE and
CLOUDTASK_EMULATOR_ALLOWED_HOST take several values, separated by spaces. The
command line goes before the environment.

Verify tokens with http://127.0.0.1:8124/certs (X.509) or /jwks. To stop, press
Ctrl-C or send SIGTERM; once more, and it does not wait for anything.
"""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Whoever started the process may forward a signal that it got anyway: what
# comes so soon after the first is the same signal.
_SAME_SIGNAL_SECONDS = 0.5


def run(options: argparse.Namespace, implied: Mapping[str, Any] | None = None) -> int:
    """
    Serve until SIGINT or SIGTERM. Call it from the main thread.

    Args:
        options: What a parser with add_arguments() returned.
        implied: What stands in for defaults, by the names of the options'
            destinations.

    Returns:
        The exit code: 0 after a signal, 1 if it could not start, 2 if
        something is missing or wrong.
    """
    missing = _find_missing()
    if missing is not None:
        return _fail(
            2, f"{missing} is not installed. Run: pip install 'dj-cloudtask[emulator]'"
        )
    from cloudtask.emulator.embedded import Emulator
    from cloudtask.emulator.storage.errors import StoreError

    with _Stopping() as stopping:
        try:
            values = resolve(vars(options), implied or {})
            if not values.pop("quiet"):
                values |= _HOOKS
            emulator = Emulator(**values).start()
        except (UsageError, ValueError) as error:
            return _fail(2, str(error))
        except ApiError as error:
            return _fail(1 if error.code == UNAVAILABLE else 2, str(error))
        except (StoreError, OSError) as error:
            return _fail(1, str(error))
        _serve(emulator, values, stopping)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with these arguments or the process's."""
    parser = argparse.ArgumentParser(
        prog="python -m cloudtask.emulator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"cloudtask.emulator {__version__}"
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def describe(attempt: Attempt) -> str:
    """Return an attempt as one line of `key=value` pairs."""
    line = f"task={attempt.task_id} queue={attempt.queue} {_describe_end(attempt)}"
    return line if attempt.fault is None else f"{line} fault={attempt.fault}"


def describe_job(attempt: JobAttempt) -> str:
    """Return an attempt of a job as one line of `key=value` pairs."""
    slot = attempt.schedule_time.isoformat()
    forced = " forced" if attempt.forced else ""
    return f"job={attempt.job_id} slot={slot}{forced} {_describe_end(attempt)}"


def _describe_end(attempt: Attempt | JobAttempt) -> str:
    took = attempt.response_time - attempt.dispatch_time
    line = (
        f"attempt={attempt.number} status={attempt.status or 'none'} "
        f"duration={took / timedelta(milliseconds=1):.0f}ms "
        f"outcome={attempt.outcome.replace(' ', '-')}"
    )
    if attempt.retry_time is not None:
        line += f" next={attempt.retry_time.isoformat(timespec='milliseconds')}"
    if attempt.error is not None:
        line += f" error={attempt.error!r}"
    return line


def _serve(emulator: Emulator, values: Mapping[str, Any], stopping: _Stopping) -> None:
    _write(_ready_text(emulator, values))
    stopping.wait()
    in_flight = sum(queue.in_flight for queue in emulator.queues)
    in_flight += sum(job.in_flight for job in emulator.jobs)
    if in_flight:
        grace = values["stop_grace"].total_seconds()
        _write(
            f"stopping: {_count(in_flight, 'attempt')} under way, which may take "
            f"{grace:g} s; a second signal stops at once"
        )
    emulator.stop()
    _write(_stopped_text(emulator.pending, values["store"]))


class _Stopping:
    """Waits for a signal; a second one ends the process at once."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._before = {each: signal.signal(each, self._receive) for each in _SIGNALS}
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self) -> None:
        """Wait for the first signal."""
        self._received.get()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        if self._first is None:
            self._first = now
            self._received.put(number)
        elif now - self._first >= _SAME_SIGNAL_SECONDS:
            # What is not kept by now was not acknowledged, either.
            os._exit(128 + number)


def _ready_text(emulator: Emulator, values: Mapping[str, Any]) -> str:
    address = emulator.http_url.removeprefix("http://")
    is_wildcard = emulator.host.rpartition(":")[0].strip("[]") != values["host"]
    return "\n".join(
        [
            f"Cloud Tasks emulator ready: gRPC {emulator.host}, REST and page "
            f"{emulator.http_url}/"
            + (", on all addresses of this machine" if is_wildcard else ""),
            _kept_text(emulator, values["store"]),
            f"export CLOUD_TASKS_EMULATOR_HOST={emulator.host}  # cloudtask",
            f"export CLOUD_SCHEDULER_EMULATOR_HOST={emulator.host}  # cloudtask",
            f"export CLOUDTASKS_EMULATOR_HOST={address}  # gcloud-aio",
            "export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS="
            f"{emulator.http_url}/  # gcloud",
            "export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER="
            f"{emulator.http_url}/  # gcloud",
        ]
    )


def _kept_text(emulator: Emulator, store: Path | None) -> str:
    held = (
        f"{_count(emulator.pending, 'task')} in {_count(len(emulator.queues), 'queue')}"
    )
    if emulator.jobs:
        held += f" and {_count(len(emulator.jobs), 'job')}"
    if store is None:
        return f"Holding {held}, in memory only"
    return f"Holding {held}, kept in {store.absolute()}"


def _stopped_text(pending: int, store: Path | None) -> str:
    if store is None:
        return f"stopped; {_count(pending, 'task')} forgotten"
    return f"stopped; {_count(pending, 'task')} kept in {store.absolute()}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _write_attempt(attempt: Attempt) -> None:
    _write(describe(attempt))


def _write_job_attempt(attempt: JobAttempt) -> None:
    _write(describe_job(attempt))


_HOOKS = {"on_attempt": _write_attempt, "on_job_attempt": _write_job_attempt}


def _find_missing() -> str | None:
    """Return which package of the extra is not there."""
    if importlib.util.find_spec("aiohttp") is None:
        return "aiohttp"
    if importlib.util.find_spec("google.cloud.scheduler_v1") is None:
        return "google-cloud-scheduler"
    return None


def _write(text: str) -> None:
    # Flushed line by line, so that a log in a pipe can be read as it grows.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"cloudtask.emulator: {message}\n")
    return code
