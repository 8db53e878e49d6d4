"""What a test can see of jobs, and do to them, besides calling the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtask.emulator.changes import Records
    from cloudtask.emulator.scheduler.engine.engine import Engine
    from cloudtask.emulator.scheduler.model.jobs import StoredJob
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt

#: How many of the next slots are shown.
NEXT_SLOTS = 5
_EVERY_JOB = "projects/"
_NO_LIMIT = -1


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it is now. Times in microseconds since the epoch."""

    message: Any  # The google.cloud.scheduler.v1.Job.
    next_slots: list[int]  # The next five by the schedule; none if paused.
    in_flight: int  # Attempts under way.
    attempts: list[JobAttempt]  # Since the start, oldest first.

    @property
    def name(self) -> str:
        """Its full name."""
        name: str = self.message.name
        return name


class Instrument:
    """
    The jobs and their records, on the event loop.

    Attributes:
        attempts: What was sent so far.
    """

    def __init__(self, engine: Engine, attempts: Records[JobAttempt]) -> None:
        self.attempts = attempts
        self._engine = engine

    def jobs(self) -> list[JobView]:
        """Return all jobs, ordered by their names."""
        stored = self._engine.store.jobs.list_after(_EVERY_JOB, "", _NO_LIMIT)
        by_job: dict[str, list[JobAttempt]] = {}
        for attempt in self.attempts.list_all():
            by_job.setdefault(attempt.name, []).append(attempt)
        return [self._view(job, by_job.get(job.name, [])) for job in stored]

    def job(self, name: str) -> JobView:
        """Return a job, or raise ApiError."""
        attempts = [each for each in self.attempts.list_all() if each.name == name]
        return self._view(self._engine.jobs.find(name), attempts)

    def log(self, name: str) -> list[dict[str, Any]]:
        """Return the execution log of a job, oldest first."""
        return self._engine.store.logs.list_all(self._engine.jobs.find(name).id)

    def _view(self, job: StoredJob, attempts: list[JobAttempt]) -> JobView:
        return JobView(
            message=self._engine.jobs.view(job),
            next_slots=self._engine.agenda.preview(job, NEXT_SLOTS),
            in_flight=self._engine.store.executions.count_under_way(job.id),
            attempts=attempts,
        )
