"""When jobs are sent, and what their answers mean for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.emulator.scheduler.model import logs
from cloudtask.emulator.scheduler.model.dispatch import (
    Dispatch,
    Verdict,
    make_dispatch,
    read_code,
)
from cloudtask.emulator.scheduler.model.retries import RetryPolicy
from cloudtask.emulator.values import instants

if TYPE_CHECKING:
    from cloudtask.emulator.scheduler.engine.agenda import Agenda
    from cloudtask.emulator.scheduler.engine.options import EngineOptions
    from cloudtask.emulator.scheduler.model.jobs import StoredJob
    from cloudtask.emulator.scheduler.tables.executions import Execution
    from cloudtask.emulator.scheduler.tables.store import Store
    from cloudtask.emulator.targets.messages import Answer

#: Most jobs, and most executions, that take_due() starts at once.
MAX_TAKEN = 100

_DONE, _GAVE_UP = Verdict("done"), Verdict("gave up")


class Launcher:
    """
    Starts the attempts of jobs that are due, and settles their answers.

    Args:
        store: Where jobs are kept.
        agenda: When they are due.
        options: See EngineOptions.
    """

    def __init__(self, store: Store, agenda: Agenda, options: EngineOptions) -> None:
        self._store = store
        self._agenda = agenda
        self._options = options
        # Executions whose attempt is under way, and those whose answer came
        # and was undone: by the store, they are under way, too.
        self._flying: set[int] = set()
        self._stranded: set[int] = set()

    @property
    def flights(self) -> frozenset[int]:
        """The numbers of executions with an attempt under way."""
        return frozenset(self._flying)

    def next_wake(self, now: int) -> int | None:
        """Return when take_due() has something to do next, None if never."""
        if self._stranded:
            return now
        times = (self._store.jobs.next_due(), self._store.executions.next_due())
        return min((time for time in times if time is not None), default=None)

    def take_due(self, now: int) -> list[Dispatch]:
        """
        Return attempts to send now, and count them as under way.

        Call it again at once: it returns at most MAX_TAKEN.
        """
        for execution in self._stranded:
            self._store.executions.repeat(execution)
        self._stranded.clear()
        for job in self._store.jobs.find_due(now, MAX_TAKEN):
            self._open(job, now)
        return [
            self._start(self._store.jobs.get(each.job), each, now)
            for each in self._store.executions.find_due(now, MAX_TAKEN)
        ]

    def complete(self, dispatch: Dispatch, answer: Answer, now: int) -> Verdict:
        """End an execution, or wait for another attempt, by an answer."""
        self._flying.discard(dispatch.execution)
        execution = self._store.executions.find(dispatch.execution)
        if execution is None:  # Its job was deleted meanwhile.
            return _DONE if answer.is_success else _GAVE_UP
        job = self._store.jobs.get(execution.job)
        self._record(job, dispatch, answer, now)
        if answer.is_success:
            self._store.executions.remove(execution.id)
            return _DONE
        retry_at = self._find_retry(job, execution, dispatch, answer, now)
        if retry_at is None:
            self._store.executions.remove(execution.id)
            return _GAVE_UP
        execution.due = retry_at
        self._store.executions.keep(execution)
        return Verdict("retry", retry_at)

    def run(self, job: StoredJob, now: int) -> Dispatch:
        """Start an execution now, whatever the schedule and the state say."""
        slot = job.next_slot or self._agenda.find_next(job, now) or now
        execution = self._store.executions.add(job.id, slot, now, forced=True)
        if self._options.rephase and self._agenda.has_phase(job):
            job.phase = now
            if job.is_enabled:
                job.next_slot = self._agenda.find_next(job, now)
        return self._start(job, execution, now)

    def undo(self) -> None:
        """Agree with the store again, which was rolled back."""
        under_way = self._store.executions.list_under_way()
        self._flying &= under_way
        self._stranded = under_way - self._flying

    def forget(self) -> None:
        """Forget all attempts: nobody waits for their answers."""
        self._flying.clear()
        self._stranded.clear()

    def _open(self, job: StoredJob, now: int) -> None:
        """Begin the execution of a slot that has come, or leave it out."""
        slot = job.next_slot or now
        earlier = [
            each
            for each in self._store.executions.find_waiting(job.id)
            if not each.forced
        ]
        if not earlier or self._options.busy_slots == "end-retries":
            for each in earlier:
                self._store.executions.remove(each.id)
            self._store.executions.add(job.id, slot, now, forced=False)
            if job.phase is None and self._agenda.has_phase(job):
                job.phase = now
        # What has passed meanwhile is left out.
        job.next_slot = self._agenda.find_next(job, max(now, slot))
        self._store.jobs.keep(job)

    def _start(self, job: StoredJob, execution: Execution, now: int) -> Dispatch:
        execution.attempts += 1
        if execution.attempts == 1:
            execution.began = now
        execution.due = None
        self._store.executions.keep(execution)
        instants.write(job.message.last_attempt_time, now)
        self._store.jobs.keep(job)
        dispatch = make_dispatch(
            job.message,
            execution=execution.id,
            slot=execution.slot,
            attempt=execution.attempts,
            forced=bool(execution.forced),
            now=now,
            app_engine_url=self._options.app_engine_url,
        )
        self._store.logs.add(job.id, logs.write_start(dispatch))
        self._flying.add(execution.id)
        return dispatch

    def _record(
        self, job: StoredJob, dispatch: Dispatch, answer: Answer, now: int
    ) -> None:
        """Write what came of an attempt into the job and its log."""
        self._store.logs.add(job.id, logs.write_finish(dispatch, answer, now))
        job.message.status.Clear()
        job.message.status.SetInParent()
        if not answer.is_success:
            job.message.status.code = read_code(answer)
        self._store.jobs.keep(job)

    def _find_retry(
        self,
        job: StoredJob,
        execution: Execution,
        dispatch: Dispatch,
        answer: Answer,
        now: int,
    ) -> int | None:
        """Return when an execution is tried again, None if it is not."""
        if not job.is_enabled:
            return None
        policy = RetryPolicy.read(job.message.retry_config)
        retry_at = now + policy.delay(execution.attempts, self._options.growth)
        if not (
            _is_unlimited(dispatch, answer)
            or policy.allows(execution.attempts, retry_at - execution.began)
        ):
            return None
        return None if self._ends_retries(job, execution, retry_at) else retry_at

    def _ends_retries(
        self, job: StoredJob, execution: Execution, retry_at: int
    ) -> bool:
        """Whether the next slot comes first, and ends the retries."""
        return (
            self._options.busy_slots == "end-retries"
            and not execution.forced
            and job.next_slot is not None
            and job.next_slot <= retry_at
        )


def _is_unlimited(dispatch: Dispatch, answer: Answer) -> bool:
    # An app that is not there yet is waited for.
    return dispatch.target_type == "APP_ENGINE_HTTP" and answer.status == 503
