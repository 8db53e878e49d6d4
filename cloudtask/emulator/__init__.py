"""
A local Google Cloud Tasks and Cloud Scheduler: the APIs, real dispatches.

It stands alone: any client of them may use it, without a Google project, and
it imports nothing else of `cloudtask` but the slots of `cloudtask.cron`. The
packages of its extra are loaded with the first use of `Emulator`, so that
importing this package is always possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtask.emulator.embedded import Emulator
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt
    from cloudtask.emulator.tasks.sending.journal import Attempt
    from cloudtask.emulator.values.errors import ApiError

__all__ = ["ApiError", "Attempt", "Emulator", "JobAttempt"]


def __getattr__(name: str) -> Any:
    # The outer modules import aiohttp and grpc. The command line has to say if
    # they are missing, so nothing here imports them.
    if name == "ApiError":
        from cloudtask.emulator.values.errors import ApiError

        return ApiError
    if name == "Attempt":
        from cloudtask.emulator.tasks.sending.journal import Attempt

        return Attempt
    if name == "Emulator":
        from cloudtask.emulator.embedded import Emulator

        return Emulator
    if name == "JobAttempt":
        from cloudtask.emulator.scheduler.sending.attempts import JobAttempt

        return JobAttempt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
