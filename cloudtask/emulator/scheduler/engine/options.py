"""What nobody recorded of the service, and a developer may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cloudtask.cron import Doubled

if TYPE_CHECKING:
    from cloudtask.emulator.scheduler.model.retries import Growth

#: What becomes of a slot that comes while the one before is still retried: it
#: is left out, or it ends the retries.
BusySlots = Literal["skip", "end-retries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How the jobs of an emulator behave."""

    doubled: Doubled = Doubled.FIRST  # Which passes of a doubled time count.
    growth: Growth = "recorded"  # How delays grow after their doublings.
    busy_slots: BusySlots = "skip"
    rephase: bool = False  # A forced run is what an interval counts from.
    app_engine_url: str | None = None  # Where App Engine jobs are sent.
