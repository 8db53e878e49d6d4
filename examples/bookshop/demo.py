"""
The bookshop's main job, from the order to the last e-mail, on this machine.

Starts the emulator and the shop's server, enqueues tasks, writes each dispatch
as it happens, and checks what it did. Needs no account and no other service.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
from typing import TYPE_CHECKING

from demonstration.screen import Screen
from demonstration.services import (
    PROJECT_DIR,
    SERVER_LOG,
    Deadline,
    NotStarted,
    environment,
    free_address,
    log_tail,
    make_database,
    only_one,
    running_server,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtask.emulator import Attempt, Emulator
    from demonstration.services import Server
    from demonstration.steps import Finding
    from demonstration.watch import Watch

SUCCESS, FAILURE, INTERRUPTED = 0, 1, 130
QUEUES = ("default", "emails")
#: Seconds that the server gets to answer.
START_SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    screen = Screen(sys.stdout)
    try:
        with only_one():
            return _run(options, screen)
    except KeyboardInterrupt:
        screen.line("Stopped.")
        return INTERRUPTED
    except NotStarted as error:
        screen.line(f"Nothing was seen: {error}.")
        for line in log_tail():
            screen.line(f"  {line}")
        return FAILURE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="go on afterwards, with a page to enqueue orders and to watch",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        default=60,
        help="give the main job this long (default: %(default)s)",
    )
    return parser


def _run(options: argparse.Namespace, screen: Screen) -> int:
    SERVER_LOG.unlink(missing_ok=True)
    screen.progress("starting the emulator")
    attempts: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
    with _emulator(attempts) as emulator:
        address = free_address()
        os.environ.update(environment(emulator, address))
        _set_up_django()
        screen.progress("migrating the database")
        make_database()
        screen.progress("starting the server")
        with running_server(address, Deadline(START_SECONDS)) as server:
            _introduce(screen, emulator, server)
            from demonstration.watch import Watch

            deadline = Deadline(options.timeout)
            watch = Watch(attempts, screen, deadline)
            code = _do_main_job(emulator, server, watch, screen, deadline)
            if options.serve and not _serve(server, watch, screen):
                return FAILURE
            return code


def _emulator(attempts: queue.SimpleQueue[Attempt]) -> Emulator:
    try:
        from cloudtask.emulator import Emulator
    except ImportError as error:
        raise NotStarted(
            f"{error}. Install the emulator: pip install '.[emulator]'"
        ) from None
    return Emulator(
        QUEUES, project="bookshop", location="europe-west1", on_attempt=attempts.put
    )


def _set_up_django() -> None:
    import django

    django.setup()


def _introduce(screen: Screen, emulator: Emulator, server: Server) -> None:
    import django

    import cloudtask

    python = ".".join(map(str, sys.version_info[:3]))
    screen.line(
        f"The bookshop on cloudtask {cloudtask.__version__}, "
        f"Django {django.__version__}, Python {python}"
    )
    screen.line(f"  emulator  {emulator.host} (gRPC), {emulator.http_url} (keys)")
    screen.line(f"  server    {server.url} (manage.py runserver)")
    screen.line(f"  database, e-mails and the server's log are in {_relative()}")
    screen.line()


def _relative() -> str:
    return os.path.relpath(PROJECT_DIR / "var")


def _do_main_job(
    emulator: Emulator,
    server: Server,
    watch: Watch,
    screen: Screen,
    deadline: Deadline,
) -> int:
    from demonstration.steps import MainJob

    job = MainJob(emulator, server, watch, screen)
    late = None
    try:
        job.run()
    except TimeoutError as error:
        late = f"{error} after {deadline.seconds:g} s; the rest did not run"
    _summarise(job.findings, screen)
    problems = [
        f"{f.what} ({f.task}): {text}" for f in job.findings for text in f.missing
    ]
    problems += [late] if late else []
    for problem in problems:
        screen.line(f"MISSING  {problem}")
    if problems:
        return FAILURE
    screen.line(f"All {len(job.findings)} were seen, in {deadline.elapsed:.1f} s.")
    return SUCCESS


def _summarise(findings: list[Finding], screen: Screen) -> None:
    rows = [("what", "task", "HTTP", "checked", "seen")]
    for f in findings:
        statuses = " ".join(str(status or "none") for status in f.statuses) or "-"
        rows.append((f.what, f.task, statuses, f.effect, "NO" if f.missing else "yes"))
    screen.table(rows)
    screen.line()


def _serve(server: Server, watch: Watch, screen: Screen) -> bool:
    """Go on until Ctrl-C. False if the server ended before."""
    screen.line()
    screen.line(f"Open {server.url} and order a book. Ctrl-C ends it.")
    try:
        while server.is_running:
            watch.next(timeout=1)
    except KeyboardInterrupt:
        screen.line("Stopped.")
        return True
    screen.line("The server ended.")
    return False


if __name__ == "__main__":
    sys.exit(main())
