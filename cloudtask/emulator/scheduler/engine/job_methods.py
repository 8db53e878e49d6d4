"""What the API does to jobs, except for running them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.scheduler import names, refusals
from cloudtask.emulator.scheduler.limits import MAX_JOBS_PAGE
from cloudtask.emulator.scheduler.model import jobs
from cloudtask.emulator.values import instants, locations, paging
from cloudtask.emulator.values.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudtask.emulator.scheduler.engine.agenda import Agenda
    from cloudtask.emulator.scheduler.model.jobs import StoredJob
    from cloudtask.emulator.scheduler.tables.store import Store

# How many names are remembered that nobody could create.
_MOST_REFUSED = 1000
_ALL_LOCATIONS = "/locations/-"


class JobMethods:
    """
    Creates, shows, changes and removes jobs.

    Messages that it returns are the caller's.

    Args:
        store: Where they are kept.
        agenda: When they are due.
        new_id: Returns a fresh random id for a job without a name.
    """

    def __init__(self, store: Store, agenda: Agenda, new_id: Callable[[], str]) -> None:
        self._store = store
        self._agenda = agenda
        self._new_id = new_id
        self._refused: dict[str, None] = {}

    def create(self, parent: str, message: Any, now: int) -> Any:
        """
        Add the job of a CreateJob, which is filled in place.

        Raises:
            ApiError: The job is refused.
        """
        locations.check_parent(parent)
        message.name = message.name or f"{parent}/jobs/{self._new_id()}"
        if names.split_job_name(message.name) != parent:
            raise refusals.bad_job_name()
        if self._store.jobs.find(message.name) is not None:
            raise refusals.job_exists(message.name)
        try:
            slot = self._agenda.find_first(message, now)
            jobs.check(message)
        except ApiError:
            self._remember_refused(message.name)
            raise
        self._refused.pop(message.name, None)
        jobs.fill(message, now)
        return self.view(self._store.jobs.add(message, slot))

    def get(self, name: str) -> Any:
        """Return a job, or raise ApiError."""
        names.split_job_name(name)
        job = self._store.jobs.find(name)
        if job is None and name in self._refused:
            raise refusals.resource_not_found(name)
        return self.view(self.find(name))

    def list(
        self, parent: str, now: int, *, size: int = 0, token: str = ""
    ) -> tuple[list[Any], str]:
        """
        Return one page of a location's jobs, by name.

        Args:
            parent: The location; `-` is any.
            size: At most this many; 0 means the maximum.
            token: What the previous page gave.

        Returns:
            The jobs, and the token for the next page or "".
        """
        locations.check_parent(parent)
        size = paging.page_size(size, MAX_JOBS_PAGE)
        after = paging.decode(token, parent, now)
        is_any = parent.endswith(_ALL_LOCATIONS)
        prefix = parent.removesuffix("-") if is_any else f"{parent}/jobs/"
        found = self._store.jobs.list_after(prefix, after, size + 1)
        page = [self.view(job) for job in found[:size]]
        is_last = len(found) <= size
        return page, "" if is_last else paging.encode(page[-1].name, parent, now)

    def update(self, given: Any, paths: Sequence[str], now: int) -> Any:
        """
        Change a job as an UpdateJob says.

        Args:
            given: The job of the request.
            paths: Of its mask; an empty one is all that is set.

        Raises:
            ApiError: There is no such job, or it would not be valid.
        """
        names.split_job_name(given.name)
        job = self.find(given.name)
        before = job.message.schedule, job.message.time_zone
        jobs.update(job.message, given, paths)
        slot = self._agenda.find_first(job.message, now)
        jobs.check(job.message)
        jobs.fill_settings(job.message, now)
        if before != (job.message.schedule, job.message.time_zone):
            job.phase = None
            job.next_slot = slot if job.is_enabled else None
        self._store.jobs.keep(job)
        return self.view(job)

    def delete(self, name: str) -> None:
        """Remove a job with its log; nobody waits for its attempts."""
        job = self.find(name)
        self._store.executions.remove_all(job.id)
        self._store.logs.remove_all(job.id)
        self._store.jobs.remove(job.id)

    def pause(self, name: str, now: int) -> Any:
        """Keep a job from running by its schedule, and from its retries."""
        job = self.find(name)
        if not job.is_enabled:
            raise refusals.not_enabled()
        job.message.state = jobs.PAUSED
        job.next_slot = None
        self._store.executions.remove_waiting(job.id)
        return self._change(job, now)

    def resume(self, name: str, now: int) -> Any:
        """Let a paused job run again; what it missed is gone."""
        job = self.find(name)
        if job.is_enabled:
            raise refusals.not_paused()
        job.message.state = jobs.ENABLED
        job.next_slot = self._agenda.find_next(job, now)
        return self._change(job, now)

    def find(self, name: str) -> StoredJob:
        """Return a job as it is stored, or raise ApiError."""
        names.split_job_name(name)
        job = self._store.jobs.find(name)
        if job is None:
            raise refusals.job_not_found()
        return job

    def view(self, job: StoredJob) -> Any:
        """Return a job's message as callers see it, with its next time."""
        if job.is_enabled:
            waiting = self._store.executions.find_waiting(job.id)
            times = [each.due for each in waiting[:1]] + [job.next_slot]
            known = [time for time in times if time is not None]
            if known:
                instants.write(job.message.schedule_time, min(known))
        return job.message

    def forget(self) -> None:
        """Forget the names that were refused."""
        self._refused.clear()

    def _remember_refused(self, name: str) -> None:
        self._refused[name] = None
        if len(self._refused) > _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]

    def _change(self, job: StoredJob, now: int) -> Any:
        instants.write(job.message.user_update_time, now)
        self._store.jobs.keep(job)
        return self.view(job)
