"""A transport of this process that asks where it is, as Google's does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.transports.google import GoogleTransport
from cloudtask.transports.memory import MemoryTransport

if TYPE_CHECKING:
    from cloudtask.conf import Settings
    from cloudtask.wire.outgoing import Target

PLACED = f"{__name__}.PlacedTransport"


class PlacedTransport(MemoryTransport):
    """Keeps tasks in memory, with Google's target."""

    def target(self, settings: Settings) -> Target:
        return GoogleTransport.target(self, settings)  # type: ignore[arg-type]
