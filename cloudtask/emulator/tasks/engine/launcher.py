"""When tasks are sent, and what their answers mean for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.tasks import limits
from cloudtask.emulator.tasks.engine.flights import Flight, Flights
from cloudtask.emulator.tasks.model.dispatch import (
    Dispatch,
    Verdict,
    read_retry_after,
    record_answer,
    start_attempt,
)
from cloudtask.emulator.values import errors, instants, locations
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from cloudtask.emulator.targets.messages import Answer
    from cloudtask.emulator.tasks.engine.live_queues import LiveQueue, LiveQueues
    from cloudtask.emulator.tasks.faults import Faults
    from cloudtask.emulator.tasks.model.tasks import StoredTask
    from cloudtask.emulator.tasks.tables.store import Store

#: Most tasks of one queue that take_due() returns at once.
MAX_TAKEN = 100
#: How long a task waits to be overtaken by another one, in microseconds.
MAX_REORDERING = 60 * SECOND


class Launcher:
    """
    Starts the dispatches of due tasks, and settles their answers.

    Args:
        store: Where tasks are kept.
        live: The queues at work.
        faults: What is to go wrong on purpose.
        app_engine_url: Where App Engine tasks are sent, None if nowhere.
    """

    def __init__(
        self,
        store: Store,
        live: LiveQueues,
        faults: Faults,
        app_engine_url: str | None,
    ) -> None:
        self._store = store
        self._live = live
        self._faults = faults
        self._app_engine_url = app_engine_url
        self.flights = Flights()

    def next_wake(self, now: int) -> int | None:
        """Return when take_due() has something to do next, None if never."""
        if self.flights.are_stranded:
            return now
        return self._live.overview.next_wake(now)

    def take_due(self, now: int) -> list[Dispatch]:
        """
        Return dispatches to send now, and count them as in flight.

        Call it again at once: a queue gives at most MAX_TAKEN, and what is due
        but has no token or no free slot comes once there is one.
        """
        self._land_stranded()
        ready = self._live.overview.take_ready(now)
        return [dispatch for queue in ready for dispatch in self._take(queue, now)]

    def complete(self, dispatch: Dispatch, answer: Answer, now: int) -> Verdict:
        """Finish or reschedule a task by the answer to its dispatch."""
        self._land_stranded()
        flight = self.flights.land(dispatch.serial)
        queue = self._live.get(dispatch.queue)
        if queue is None or queue.row.id != flight.queue:  # Deleted meanwhile.
            return _verdict_without_task(answer)
        queue.note_answer(dispatch, answer, now)
        task = self._store.tasks.get(queue.row, dispatch.id)
        if task is None:  # Deleted, purged or finished by another attempt.
            return _verdict_without_task(answer)
        task.in_flight -= 1
        record_answer(task, answer, now)
        if answer.is_success:
            self._live.finish(queue, task, now)
            return Verdict("done")
        if task.in_flight:  # The last of several attempts decides.
            self._store.tasks.keep(task)
            return Verdict("retry")
        retry_at = self._retry_at(queue, task, dispatch, answer, now)
        if retry_at is None:
            self._live.finish(queue, task, now)
            return Verdict("gave up")
        task.due = retry_at
        instants.write(task.message.schedule_time, retry_at)
        self._store.tasks.keep(task)
        queue.schedule(retry_at)
        return Verdict("retry", retry_at)

    def run(self, name: str, now: int) -> tuple[Any, Dispatch]:
        """
        Dispatch a task now, whatever its schedule and its queue say.

        Returns:
            The task as dispatched, and what to send.
        """
        self._land_stranded()
        queue, task = self._live.find(name)
        if queue is None or task is None:
            raise errors.entity_not_found()
        # What does not come back is sent again at once, not on its schedule.
        task.due = min(task.due, now)
        dispatch = self._start(queue, task, now, forced=True)
        return task.message, dispatch

    def _take(self, queue: LiveQueue, now: int) -> list[Dispatch]:
        wanted = min(queue.count_ready(now), MAX_TAKEN)
        started = []
        for task in self._store.tasks.find_due(queue.row, now, wanted):
            if not self._is_held(queue, task, now):
                started.append(self._start(queue, task, now))
                self._release(queue, now)
        queue.bucket.take(len(started), now)
        if len(started) < wanted:
            queue.look_up_next(self._store)
        return started

    def _is_held(self, queue: LiveQueue, task: StoredTask, now: int) -> bool:
        if task.id in queue.held:
            return False
        task_id = locations.last_part(task.message.name)
        delay = self._faults.delay(queue.path, task_id)
        is_overtaken = not delay and self._faults.reorders(queue.path, task_id)
        if is_overtaken:
            delay = MAX_REORDERING
        if delay:
            queue.held[task.id] = is_overtaken
            # Not the schedule time, which the target gets to see.
            self._store.tasks.reschedule(task.id, now + delay)
        return delay > 0

    def _release(self, queue: LiveQueue, now: int) -> None:
        """Release tasks that another one has just overtaken."""
        for number, is_overtaken in queue.held.items():
            if is_overtaken:
                self._store.tasks.reschedule(number, now)
                queue.held[number] = False

    def _start(
        self, queue: LiveQueue, task: StoredTask, now: int, *, forced: bool = False
    ) -> Dispatch:
        fault = self._faults.for_dispatch(
            queue.path, locations.last_part(task.message.name)
        )
        dispatch = start_attempt(
            task,
            queue.http_target,
            self.flights.start(Flight(queue.row.id, task.id)),
            now,
            forced=forced,
            app_engine_url=self._app_engine_url,
            fault=fault,
        )
        task.in_flight += 1
        self._store.tasks.keep(task)
        queue.note_sent(task.id, now)
        return dispatch

    def _retry_at(
        self,
        queue: LiveQueue,
        task: StoredTask,
        dispatch: Dispatch,
        answer: Answer,
        now: int,
    ) -> int | None:
        message = task.message
        attempts = message.dispatch_count
        # The queue's policy as it is now; one of the task's own goes on top.
        policy = queue.retry
        if message.HasField("retry_config"):
            policy = policy.override(message.retry_config)
        elapsed = now - instants.read(message.first_attempt.dispatch_time)
        since = dispatch.dispatch_time if dispatch.forced else now
        asked = read_retry_after(answer.retry_after, now) or 0
        retry_at = max(since + policy.delay(attempts), asked)
        expires = instants.read(message.create_time) + limits.RETENTION
        if policy.is_exhausted(attempts, elapsed) or retry_at >= expires:
            return None
        return retry_at

    def _land_stranded(self) -> None:
        """Correct how many attempts the stranded tasks have."""
        if not self.flights.are_stranded:
            return
        for number, in_flight in self.flights.take_stranded().items():
            self._store.tasks.correct_in_flight(number, in_flight)
        for queue in self._live:
            queue.look_up_next(self._store)


def _verdict_without_task(answer: Answer) -> Verdict:
    return Verdict("done" if answer.is_success else "gave up")
