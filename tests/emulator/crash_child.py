"""
The emulator's command line in a process that can be told when to die.

    python -m tests.emulator.crash_child ARGUMENT...

It loads all modules and then waits for a line on its standard input, so that
the next process gets ready while one still runs. A second line, `MOMENT STEP
NUMBER`, makes it kill itself at the commit of the NUMBERth step of that kind
from then on: `before`, when nothing of it is on disk, or `after`, when all of
it is and nobody was told.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import cloudtask.emulator.embedded  # noqa: F401 - loaded ahead
from cloudtask.emulator import commandline
from cloudtask.emulator.storage.file import StoreFile
from cloudtask.emulator.tasks.api.methods import Api
from cloudtask.emulator.tasks.engine.launcher import Launcher
from cloudtask.emulator.tasks.engine.sweeper import Sweeper

# What was sent too early gets out meanwhile.
_LINGER_SECONDS = 0.05
_STDIN = 0


class Death:
    """Counts steps and knows at whose commit to die."""

    def __init__(self) -> None:
        self._moment = self._step = ""
        self._left = -1

    def plan(self, line: str) -> None:
        self._moment, self._step, number = line.split()
        self._left = int(number)

    def count(self, step: str) -> None:
        if step == self._step and self._left > 0:
            self._left -= 1

    def commit(self, store: StoreFile, commit: Callable[[StoreFile], None]) -> None:
        if self._left == 0 and self._moment == "before":
            threading.Event().wait(_LINGER_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)
        commit(store)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def install(death: Death) -> None:
    """Let the emulator's classes count their steps."""
    commit, call, sweep = StoreFile.commit, Api.call, Sweeper.sweep
    take_due, complete = Launcher.take_due, Launcher.complete

    def watched_commit(self: StoreFile) -> None:
        if self.is_dirty:
            death.commit(self, commit)

    async def counted_call(self: Api, method: str, request: Any) -> Any:
        death.count(method)
        return await call(self, method, request)

    def counted_sweep(self: Sweeper, now: int) -> None:
        death.count("sweep")
        sweep(self, now)

    def counted_take_due(self: Launcher, now: int) -> Any:
        taken = take_due(self, now)
        if taken:
            death.count("take_due")
        return taken

    def counted_complete(self: Launcher, *args: Any) -> Any:
        death.count("complete")
        return complete(self, *args)

    StoreFile.commit, Api.call, Sweeper.sweep = (
        watched_commit,
        counted_call,
        counted_sweep,
    )
    Launcher.take_due = counted_take_due
    Launcher.complete = counted_complete


def main() -> int:
    death = Death()
    install(death)

    def wait_for_plan() -> None:
        # Unbuffered: a thread that holds a buffer's lock spoils a clean exit.
        if line := os.read(_STDIN, 100):
            death.plan(line.decode())

    os.read(_STDIN, 100)
    threading.Thread(target=wait_for_plan, daemon=True).start()
    return commandline.main()


if __name__ == "__main__":
    sys.exit(main())
