"""
The engine over its store against a model of it in plain dictionaries.

Whatever is done in whatever order, rollbacks, crashes and restarts included,
both hold the same queues, tasks and names.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.limits import RETENTION
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import (
    DAY,
    HOUR,
    NOW,
    PARENT,
    counted,
    open_engine,
    queue,
    task,
)
from tests.sizes import scaled

if TYPE_CHECKING:
    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.model.dispatch import Dispatch, Verdict

TASK_TTL = HOUR
QUEUE_TTL = 2 * HOUR
QUEUES = [f"{PARENT}/queues/{name}" for name in ("a", "b")]
TASK_IDS = [f"t{number}" for number in range(6)]

paths = st.sampled_from(QUEUES)
task_ids = st.sampled_from(TASK_IDS)
waits = st.sampled_from([0, 0, SECOND, HOUR, 29 * DAY])
CHANGES = ("create", "declare", "update", "pause", "resume", "purge", "delete")
#: What becomes of a step: it is kept, undone, or left open.
ends = st.sampled_from([True, True, True, None, False])
answers = st.sampled_from(
    [
        Answer(200),
        Answer(204),
        Answer(404),
        Answer(503),
        Answer(timed_out=True),
        Answer(error="unreachable"),
    ]
)


@dataclass
class ModelTask:
    created: int
    due: int
    message_due: int  # What its schedule_time says.
    dispatched: int = 0
    answered: int = 0
    first_sent: int | None = None


@dataclass
class ModelQueue:
    number: int  # No other queue ever has it.
    max_attempts: int = 3
    concurrency: int = 1000
    paused: bool = False
    tasks: dict[str, ModelTask] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)  # Blocked until then.


@dataclass
class Model:
    queues: dict[str, ModelQueue] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)  # Blocked until then.
    numbers: int = 0  # Of queues, in the order they were made.

    def create_queue(self, path: str) -> None:
        self.numbers += 1
        self.queues[path] = ModelQueue(self.numbers)
        self.deleted.pop(path, None)


@dataclass(frozen=True)
class ModelFlight:
    """An attempt that has no answer yet."""

    dispatch: Dispatch
    queue: int
    task_id: str
    task: int  # When it was created: tells tasks of one name apart.


def delay(attempts: int) -> int:
    """Return the wait after an attempt, by the defaults of a queue."""
    return min(HOUR, SECOND // 10 * 2 ** min(attempts - 1, 16))


class EmulatorMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.new_id = counted()
        self.engine = self.opened()
        self.now = NOW
        self.model = Model()
        self.flights: list[ModelFlight] = []
        self.taken: set[int] = set()  # Serials that were ever given.
        for path in QUEUES:
            self.create_queue(path)
        self.commit()

    def opened(self) -> Engine:
        return open_engine(
            Path(self.directory.name) / "store.sqlite3",
            new_id=self.new_id,
            tombstone_ttl=TASK_TTL,
            queue_tombstone_ttl=QUEUE_TTL,
        )

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.store.file.close()
            self.directory.cleanup()

    def keep(self) -> None:
        """Remember what a rollback comes back to."""
        self.kept = copy.deepcopy(self.model)
        # Attempts that were begun since then.
        self.begun: list[ModelFlight] = []

    def tick(self) -> int:
        """Let time go on, so that no two things happen at once."""
        self.now += 1
        return self.now

    def refused(self, message: str, call: Any) -> None:
        with pytest.raises(ApiError) as caught:
            call()
        assert caught.value.message.startswith(message)

    # Queues.

    @rule(change=st.data(), path=paths)
    def change_queue(self, change: st.DataObject, path: str) -> None:
        """One rule: there is more to find in what happens to tasks."""
        match change.draw(st.sampled_from(CHANGES)):
            case "create":
                self.create_queue(path)
            case "declare":
                self.declare_queue(path)
            case "update":
                attempts = change.draw(st.sampled_from([1, 3, -1]))
                concurrency = change.draw(st.sampled_from([1, 2, 1000]))
                self.update_queue(path, attempts, concurrency)
            case "pause":
                self.pause_or_resume(path, paused=True)
            case "resume":
                self.pause_or_resume(path, paused=False)
            case "purge":
                self.purge_queue(path)
            case "delete":
                self.delete_queue(path)

    def create_queue(self, path: str) -> None:
        now = self.tick()

        def create() -> None:
            self.engine.queues.create(PARENT, queue(path, **LIMITS), now)

        if path in self.model.queues:
            self.refused("Queue already exists", create)
        elif self.model.deleted.get(path, 0) > now:
            self.refused("The queue cannot be created because", create)
        else:
            create()
            self.model.create_queue(path)

    def declare_queue(self, path: str) -> None:
        self.engine.queues.declare(path, {"max_attempts": 3}, self.tick())
        if path in self.model.queues:
            self.model.queues[path].max_attempts = 3
            self.model.queues[path].concurrency = 1000
        else:
            self.model.create_queue(path)

    def update_queue(self, path: str, max_attempts: int, concurrency: int) -> None:
        now = self.tick()
        message = queue(
            path,
            retry_config={"max_attempts": max_attempts},
            rate_limits={"max_concurrent_dispatches": concurrency},
        )
        mask = ["retry_config.max_attempts", "rate_limits.max_concurrent_dispatches"]

        def update() -> None:
            self.engine.queues.update(message, mask, now)

        if path not in self.model.queues:
            if self.model.deleted.get(path, 0) > now:
                self.refused("The queue cannot be created because", update)
                return
            self.model.create_queue(path)
        update()
        self.model.queues[path].max_attempts = max_attempts
        self.model.queues[path].concurrency = concurrency

    def pause_or_resume(self, path: str, *, paused: bool) -> None:
        change = self.engine.queues.pause if paused else self.engine.queues.resume
        now = self.tick()
        if path in self.model.queues:
            change(path, now)
            self.model.queues[path].paused = paused
        else:
            self.refused("Queue does not exist", lambda: change(path, now))

    def purge_queue(self, path: str) -> None:
        now = self.tick()
        if path not in self.model.queues:
            self.refused(
                "Queue does not exist", lambda: self.engine.queues.purge(path, now)
            )
            return
        self.engine.queues.purge(path, now)
        model = self.model.queues[path]
        for task_id in model.tasks:
            model.ended[task_id] = now + TASK_TTL
        model.tasks.clear()

    def delete_queue(self, path: str) -> None:
        now = self.tick()
        if path not in self.model.queues:
            self.refused(
                "Requested entity was not found",
                lambda: self.engine.queues.delete(path, now),
            )
            return
        self.engine.queues.delete(path, now)
        del self.model.queues[path]
        self.model.deleted[path] = now + QUEUE_TTL

    # Tasks.

    @rule(
        path=paths,
        names=st.lists(task_ids | st.none(), min_size=1, max_size=5),
        wait=waits,
        kept=ends,
    )
    def create_tasks(
        self, path: str, names: list[str | None], wait: int, kept: bool | None
    ) -> None:
        for task_id in names:
            self.create_task(path, task_id, wait)
        self.finish(kept)

    def create_task(self, path: str, task_id: str | None, wait: int) -> None:
        now = self.tick()
        message = task()
        instants.write(message.schedule_time, now + wait)
        if task_id is not None:
            message.name = f"{path}/tasks/{task_id}"

        def create() -> Any:
            return self.engine.tasks.create(path, message, now)

        if path not in self.model.queues:
            self.refused("Queue does not exist", create)
            return
        model = self.model.queues[path]
        if task_id in model.tasks or model.ended.get(task_id or "", 0) > now:
            self.refused("Requested entity already exists", create)
            return
        made = create().name.rpartition("/")[2]
        assert made not in model.tasks
        model.tasks[made] = ModelTask(now, now + wait, now + wait)

    @rule(path=paths, task_id=task_ids)
    def delete_task(self, path: str, task_id: str) -> None:
        now = self.tick()
        name = f"{path}/tasks/{task_id}"
        model = self.model.queues.get(path)
        if model is None or task_id not in model.tasks:
            self.refused(
                "Requested entity was not found",
                lambda: self.engine.tasks.delete(name, now),
            )
            return
        self.engine.tasks.delete(name, now)
        self.end(model, task_id)

    @rule(path=paths, task_id=task_ids, kept=ends)
    def run_task(self, path: str, task_id: str, kept: bool | None) -> None:
        now = self.tick()
        name = f"{path}/tasks/{task_id}"
        model = self.model.queues.get(path)
        if model is None or task_id not in model.tasks:
            self.refused(
                "Requested entity was not found",
                lambda: self.engine.launcher.run(name, now),
            )
            return
        shown, dispatch = self.engine.launcher.run(name, now)
        assert shown.name == name
        each = model.tasks[task_id]
        each.due = min(each.due, now)
        self.sent(model, dispatch)
        self.finish(kept)

    def end(self, model: ModelQueue, task_id: str) -> None:
        del model.tasks[task_id]
        model.ended[task_id] = self.now + TASK_TTL

    # Dispatches.

    @rule(kept=ends)
    def take_due(self, kept: bool | None) -> None:
        now = self.tick()
        wake = self.engine.launcher.next_wake(now)
        due = {
            (path, task_id)
            for path, model in self.model.queues.items()
            if not model.paused
            for task_id, each in model.tasks.items()
            if each.due <= now and not self.under_way(model, task_id)
        }
        free = {
            path: model.concurrency - self.in_flight(model)
            for path, model in self.model.queues.items()
        }
        taken = self.engine.launcher.take_due(now)
        by_queue: dict[str, list[Dispatch]] = {}
        for dispatch in taken:
            task_id = dispatch.task.rpartition("/")[2]
            assert (dispatch.queue, task_id) in due
            due.discard((dispatch.queue, task_id))
            by_queue.setdefault(dispatch.queue, []).append(dispatch)
        for path, dispatches in by_queue.items():
            assert len(dispatches) <= free[path]
            # The first of those that are due.
            last = max(self.task_of(each).due for each in dispatches)
            left = [tid for p, tid in due if p == path]
            model = self.model.queues[path]
            assert all(model.tasks[tid].due >= last for tid in left)
        for path, model in self.model.queues.items():
            left = [task_id for p, task_id in due if p == path]
            # Tokens never run out here: nothing is left but for want of slots.
            sent = len(by_queue.get(path, []))
            assert not left or sent == max(0, free[path])
            assert model.paused or not sent or sent <= free[path]
        if taken:
            assert wake is not None
            assert wake <= now
        else:
            # Then there is nothing to do for a while.
            wake = self.engine.launcher.next_wake(now)
            assert wake is None or wake > now
        for dispatch in taken:
            self.sent(self.model.queues[dispatch.queue], dispatch)
        self.finish(kept)

    def task_of(self, dispatch: Dispatch) -> ModelTask:
        tasks = self.model.queues[dispatch.queue].tasks
        return tasks[dispatch.task.rpartition("/")[2]]

    def sent(self, model: ModelQueue, dispatch: Dispatch) -> None:
        assert dispatch.serial not in self.taken
        self.taken.add(dispatch.serial)
        task_id = dispatch.task.rpartition("/")[2]
        each = model.tasks[task_id]
        each.dispatched += 1
        each.first_sent = each.first_sent or self.now
        assert dispatch.attempt == each.dispatched
        eta = dispatch.headers["X-CloudTasks-TaskETA"].replace(".", "")
        assert int(eta) == each.message_due
        flight = ModelFlight(dispatch, model.number, task_id, each.created)
        self.flights.append(flight)
        self.begun.append(flight)

    def can_answer(self) -> bool:
        # Nothing is sent before it is kept, so nothing is answered before.
        return any(flight not in self.begun for flight in self.flights)

    @precondition(can_answer)
    @rule(data=st.data(), answer=answers, kept=ends)
    def answer(self, data: st.DataObject, answer: Answer, kept: bool | None) -> None:
        self.complete(data, answer)
        self.finish(kept)

    @precondition(can_answer)
    @rule(data=st.data(), kept=ends)
    def fail_all(self, data: st.DataObject, kept: bool | None) -> None:
        while self.can_answer():
            self.complete(data, Answer(500))
        self.finish(kept)

    def complete(self, data: st.DataObject, answer: Answer) -> None:
        now = self.tick()
        sent = [flight for flight in self.flights if flight not in self.begun]
        flight = data.draw(st.sampled_from(sent))
        dispatch = flight.dispatch
        verdict = self.engine.launcher.complete(dispatch, answer, now)
        self.flights.remove(flight)
        self.take_in(flight, answer, verdict)

    def take_in(self, flight: ModelFlight, answer: Answer, verdict: Verdict) -> None:
        now, dispatch = self.now, flight.dispatch
        model = self.model.queues.get(dispatch.queue)
        each = model and model.tasks.get(flight.task_id)
        if (
            model is None
            or model.number != flight.queue
            or each is None
            or each.created != flight.task
        ):
            assert verdict.outcome == ("done" if answer.is_success else "gave up")
            return
        each.answered += answer.status is not None
        if answer.is_success:
            assert verdict.outcome == "done"
            self.end(model, flight.task_id)
        elif self.under_way(model, flight.task_id):
            assert (verdict.outcome, verdict.retry_at) == ("retry", None)
        else:
            since = dispatch.dispatch_time if dispatch.forced else now
            retry_at = since + delay(each.dispatched)
            expires = each.created // SECOND * SECOND + RETENTION
            is_last = model.max_attempts > 0 and each.dispatched >= model.max_attempts
            if is_last or retry_at >= expires:
                assert (verdict.outcome, verdict.retry_at) == ("gave up", None)
                self.end(model, flight.task_id)
            else:
                assert (verdict.outcome, verdict.retry_at) == ("retry", retry_at)
                each.due = each.message_due = retry_at

    def under_way(self, model: ModelQueue, task_id: str) -> bool:
        created = model.tasks[task_id].created
        return any(
            (flight.queue, flight.task_id, flight.task)
            == (model.number, task_id, created)
            for flight in self.flights
        )

    def in_flight(self, model: ModelQueue) -> int:
        return sum(flight.queue == model.number for flight in self.flights)

    # Time.

    @rule(
        step=st.sampled_from([SECOND, SECOND, HOUR, DAY, 8 * DAY, 32 * DAY]),
        swept=st.booleans(),
    )
    def advance(self, step: int, swept: bool) -> None:
        self.now += step
        if swept:
            self.sweep()

    def sweep(self) -> None:
        for _ in range(20):
            self.engine.sweeper.sweep(self.now)
        for model in self.model.queues.values():
            for task_id, each in list(model.tasks.items()):
                if each.created + RETENTION <= self.now:
                    self.end(model, task_id)

    # Transactions.

    def finish(self, kept: bool | None) -> None:
        if kept is not None:
            self.commit() if kept else self.rollback()

    def commit(self) -> None:
        self.engine.commit()
        self.keep()

    def rollback(self) -> None:
        self.engine.rollback()
        self.go_back()
        self.flights = [each for each in self.flights if each not in self.begun]
        self.keep()

    @rule(kept=ends, is_wanted=st.integers(0, 3).map(lambda number: number == 3))
    def restart(self, kept: bool | None, is_wanted: bool) -> None:
        """End the process, or have it crash before what was done is kept."""
        self.finish(kept)
        if not is_wanted:
            return
        self.engine.store.file.close()
        self.engine = self.opened()
        self.go_back()
        self.flights.clear()
        self.taken.clear()
        self.keep()

    def go_back(self) -> None:
        self.model = copy.deepcopy(self.kept)

    # What holds at any time.

    @invariant()
    def the_queues_are_the_same(self) -> None:
        shown = {live.path: live for live in self.engine.live_queues}
        assert list(shown) == sorted(self.model.queues)
        for path, model in self.model.queues.items():
            live = shown[path]
            assert live.depth == len(model.tasks)
            assert live.in_flight == self.in_flight(model)
            assert live.is_running is not model.paused
            message = self.engine.queues.get(path)
            assert message.retry_config.max_attempts == model.max_attempts
            limits = message.rate_limits
            assert limits.max_concurrent_dispatches == model.concurrency
        pending = sum(len(model.tasks) for model in self.model.queues.values())
        assert self.engine.pending == pending

    @invariant()
    def the_tasks_are_the_same(self) -> None:
        for path, model in self.model.queues.items():
            page, token = self.engine.tasks.list(path, self.now)
            assert token == ""
            shown = {each.name.rpartition("/")[2]: each for each in page}
            assert sorted(shown) == sorted(model.tasks)
            for task_id, each in model.tasks.items():
                message = shown[task_id]
                assert instants.read(message.schedule_time) == each.message_due
                assert message.dispatch_count == each.dispatched
                assert message.response_count == each.answered
                assert message.HasField("first_attempt") is bool(each.dispatched)

    @invariant()
    def names_are_blocked_as_long_as_they_are_to_be(self) -> None:
        for path, model in self.model.queues.items():
            for task_id in TASK_IDS:
                if task_id in model.tasks:
                    continue
                is_blocked = model.ended.get(task_id, 0) > self.now
                message = (
                    "The task no longer exists"
                    if is_blocked
                    else "Requested entity was not found"
                )
                name = f"{path}/tasks/{task_id}"
                self.refused(message, lambda n=name: self.engine.tasks.get(n, self.now))

    @invariant()
    def what_is_to_be_sent_wakes_the_engine(self) -> None:
        """Nothing that could be sent is forgotten."""
        waiting = [
            each.due
            for model in self.model.queues.values()
            if not model.paused and self.in_flight(model) < model.concurrency
            for task_id, each in model.tasks.items()
            if not self.under_way(model, task_id)
        ]
        wake = self.engine.launcher.next_wake(self.now)
        if waiting:
            assert wake is not None
            assert wake <= max(self.now, min(waiting))


LIMITS: dict[str, Any] = {"retry_config": {"max_attempts": 3}}

EmulatorMachine.TestCase.settings = settings(
    max_examples=scaled(300),
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_the_engine_agrees_with_its_model = pytest.mark.fuzz(EmulatorMachine.TestCase)
