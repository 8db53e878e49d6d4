"""Slots that are due are decided about once, and their runs enqueued."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from cloudtask.exceptions import ConfigurationError, StoreUnavailable, TaskNotFound
from cloudtask.framework import task_enqueued
from cloudtask.results.models import TaskRecord
from cloudtask.schedules import decisions, slots
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.slots import decide_due
from cloudtask.transports.memory import MemoryTransport
from tests.backends import tasks as django_tasks
from tests.schedules.conftest import MovedClock
from tests.schedules.samples import Missed, at, fresh, hourly, runs, states
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _clock(moved: MovedClock) -> None: ...


def test_a_slot_is_enqueued_once(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly(args=[1], kwargs={"b": 2})
    now = moved.move(hours=1)
    for _ in range(5):
        decided = decide_due(row.uid, now)
    [run] = runs(queue)
    assert (run.payload.args, run.payload.kwargs) == ((1,), {"b": 2})
    assert states(row) == {"13:00": "enqueued"}
    assert decided is not None
    assert (decided.decided_until, decided.next_at) == (now, at(6, 1, 14))
    assert fresh(row).next_at == at(6, 1, 14)


def test_a_run_is_known_by_its_id(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly()
    decide_due(row.uid, moved.move(hours=1))
    queue.drain()
    slot = Slot.objects.get()
    assert TaskRecord.objects.get(pk=slot.task_id).status == "SUCCESSFUL"
    assert ran == [("add", 5, 4)]


def test_the_name_of_a_run_is_the_second_guard(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    decide_due(row.uid, moved.move(hours=1))
    [first] = runs(queue)
    ScheduledTask.objects.update(decided_until=at(6, 1, 12))
    Slot.objects.all().delete()
    TaskRecord.objects.filter(path=row.path).delete()
    decide_due(row.uid, moved.now)
    assert runs(queue) == [first]


def test_a_task_of_django_is_run(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly(task=django_tasks.add.using(queue_name="emails"), args=[1])
    told: list[Any] = []

    def keep(**signal: Any) -> None:
        told.append(signal["task_result"])

    task_enqueued.connect(keep)
    try:
        decide_due(row.uid, moved.move(hours=1))
    finally:
        task_enqueued.disconnect(keep)
    [run] = runs(queue)
    assert run.sent.route.queue == "emails"
    assert [each.id for each in told] == [run.payload.id]
    queue.drain()
    assert ran == [("add", 1, 4)]


def test_what_an_outage_missed_is_told(
    queue: MemoryTransport, moved: MovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    row = hourly()
    with Missed() as missed, caplog.at_level(logging.WARNING, "cloudtask"):
        decide_due(row.uid, moved.move(hours=4, minutes=30))
    assert states(row) == {"15:00": "missed", "16:00": "enqueued"}
    gap = Slot.objects.get(state="missed")
    assert (gap.first, gap.count) == (at(6, 1, 13), 3)
    [told] = missed.told
    assert told["sender"] == row.path
    assert (told["name"], told["count"]) == ("hourly", 3)
    assert (told["first"], told["last"]) == (at(6, 1, 13), at(6, 1, 15))
    assert "missed 3 slots" in caplog.text


def test_a_rollback_decides_nothing(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly()
    now = moved.move(hours=1)
    with transaction.atomic():
        decide_due(row.uid, now)
        transaction.set_rollback(True)
    assert (states(row), runs(queue)) == ({}, [])
    decide_due(row.uid, now)
    assert len(runs(queue)) == 1


def test_a_task_that_is_not_here_keeps_its_slot(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    ScheduledTask.objects.update(path="shop.tasks.of_another_revision")
    now = moved.move(hours=1)
    with pytest.raises(TaskNotFound):
        decide_due(row.uid, now)
    assert states(row) == {}
    ScheduledTask.objects.update(path=row.path)
    decide_due(row.uid, now)
    assert states(row) == {"13:00": "enqueued"}


def test_results_are_kept(
    queue: MemoryTransport, moved: MovedClock, settings: Any
) -> None:
    row = hourly()
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "errors"}
    with pytest.raises(ConfigurationError, match="RESULTS"):
        decide_due(row.uid, moved.move(hours=1))
    assert states(row) == {}


def test_a_paused_schedule_decides_nothing(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly(enabled=False)
    assert row.next_at is None
    decide_due(row.uid, moved.move(hours=5))
    assert (states(row), runs(queue)) == ({}, [])


def test_there_may_be_no_such_schedule() -> None:
    assert decide_due("0" * 32, at(6, 1)) is None


def test_runs_do_not_overlap(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly(overlap="skip")
    decide_due(row.uid, moved.move(hours=1))
    decide_due(row.uid, moved.move(hours=1))
    queue.drain()
    decide_due(row.uid, moved.move(hours=1))
    assert states(row) == {
        "13:00": "enqueued",
        "14:00": "skipped",
        "15:00": "enqueued",
    }


def test_a_run_waits_for_the_one_before(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly(overlap="wait")
    for _ in range(3):
        decide_due(row.uid, moved.move(hours=1))
    assert states(row) == {"13:00": "enqueued", "14:00": "skipped", "15:00": "waiting"}
    decide_due(row.uid, moved.move(minutes=1))
    assert len(runs(queue)) == 1
    queue.drain()
    decide_due(row.uid, moved.move(minutes=1))
    assert states(row)["15:00"] == "enqueued"
    assert len(runs(queue)) == 1


def test_what_waits_goes_before_what_is_due(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly(overlap="wait")
    for _ in range(2):
        decide_due(row.uid, moved.move(hours=1))
    queue.drain()
    decide_due(row.uid, moved.move(hours=1))
    assert states(row) == {"13:00": "enqueued", "14:00": "enqueued", "15:00": "waiting"}


def test_runs_are_spread(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly(spread=timedelta(minutes=50))
    decide_due(row.uid, moved.move(hours=1))
    [run] = runs(queue)
    assert run.sent.schedule_time is not None
    wait = run.sent.schedule_time - moved.now
    assert timedelta(0) < wait < timedelta(minutes=50)
    # What is late is not made later.
    decide_due(row.uid, moved.move(hours=1, minutes=59))
    assert runs(queue)[-1].sent.schedule_time is None


def test_two_processes_decide_at_once(
    queue: MemoryTransport, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = hourly()
    now = moved.move(hours=1)
    decide, others = slots.decide, iter([True])

    def decide_late(*args: Any, **options: Any) -> Any:
        decision = decide(*args, **options)
        if next(others, False):
            decide_due(row.uid, now)
        return decision

    monkeypatch.setattr(slots, "decide", decide_late)
    decide_due(row.uid, now)
    assert len(runs(queue)) == 1
    assert states(row) == {"13:00": "enqueued"}


def test_what_is_never_decided_is_an_error(
    queue: MemoryTransport, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = hourly()

    def conflict(*args: Any) -> None:
        raise slots._Conflict

    monkeypatch.setattr(slots, "_advance", conflict)
    with pytest.raises(StoreUnavailable):
        decide_due(row.uid, moved.move(hours=1))


def test_a_cron_that_was_changed_behind_our_back_is_shown(
    moved: MovedClock, queue: MemoryTransport
) -> None:
    row = hourly()
    ScheduledTask.objects.update(cron="30 * * * *")
    decide_due(row.uid, moved.move(minutes=1))
    assert fresh(row).next_at == at(6, 1, 12, 30)


def test_a_very_long_outage_takes_several_decisions(
    queue: MemoryTransport, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "MAX_SLOTS", 3)
    row = hourly()
    decide_due(row.uid, moved.move(hours=7))
    counts = Slot.objects.filter(state="missed").values_list("count", flat=True)
    assert sorted(counts) == [3, 3]
    assert len(runs(queue)) == 1


def test_a_slot_that_waits_is_run_by_one_process(
    queue: MemoryTransport, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = hourly(overlap="wait")
    for _ in range(2):
        decide_due(row.uid, moved.move(hours=1))
    queue.drain()
    find = slots._find_waiting

    def find_late(row: ScheduledTask) -> Slot | None:
        waiting = find(row)
        if waiting is not None:
            monkeypatch.setattr(slots, "_find_waiting", find)
            decide_due(row.uid, moved.now)
        return waiting

    monkeypatch.setattr(slots, "_find_waiting", find_late)
    decide_due(row.uid, moved.now)
    assert states(row) == {"13:00": "enqueued", "14:00": "enqueued"}
    assert len(runs(queue)) == 1
