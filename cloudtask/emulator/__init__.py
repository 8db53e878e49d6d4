"""
A local Google Cloud Tasks: the v2 API, real dispatches, no Google project.

It stands alone: any client of Cloud Tasks may use it, and it imports nothing
else of `cloudtask`. The packages of its extra are loaded with the first use of
`Emulator`, so that importing this package is always possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtask.emulator.embedded import Emulator
    from cloudtask.emulator.tasks.sending.journal import Attempt
    from cloudtask.emulator.values.errors import ApiError

__all__ = ["ApiError", "Attempt", "Emulator"]


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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
