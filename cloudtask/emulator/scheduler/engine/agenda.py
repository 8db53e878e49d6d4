"""When jobs are due by their schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.scheduler import refusals
from cloudtask.emulator.scheduler.schedules.reading import (
    InvalidSchedule,
    read_schedule,
)

if TYPE_CHECKING:
    from cloudtask.cron import Doubled
    from cloudtask.emulator.scheduler.model.jobs import StoredJob
    from cloudtask.emulator.scheduler.schedules.kinds import Schedule


class Agenda:
    """
    The slots of jobs, in microseconds.

    Args:
        doubled: Which passes of a doubled time count.
    """

    def __init__(self, doubled: Doubled) -> None:
        self._doubled = doubled

    def find_first(self, message: Any, now: int) -> int:
        """
        Find the first slot of a job that is new, or has a new schedule.

        Raises:
            ApiError: Its schedule or its zone are not valid, or there is none.
        """
        try:
            schedule = read_schedule(message.schedule, message.time_zone, self._doubled)
        except InvalidSchedule:
            raise refusals.bad_schedule() from None
        slot = schedule.next(now, None)
        if slot is None:
            raise refusals.bad_schedule()
        return slot

    def find_next(self, job: StoredJob, after: int) -> int | None:
        """Find a job's next slot; None if there is none any more."""
        return self._read(job).next(after, job.phase)

    def has_phase(self, job: StoredJob) -> bool:
        """Whether a job's slots are counted from one of its runs."""
        return self._read(job).has_phase

    def preview(self, job: StoredJob, count: int) -> list[int]:
        """Return the next slots of a job; none while it is paused."""
        slots: list[int] = []
        slot = job.next_slot
        # Before its first run, that is what an interval counts from.
        phase = slot if job.phase is None else job.phase
        while slot is not None and len(slots) < count:
            slots.append(slot)
            slot = self._read(job).next(slot, phase)
        return slots

    def _read(self, job: StoredJob) -> Schedule:
        message = job.message
        return read_schedule(message.schedule, message.time_zone, self._doubled)
