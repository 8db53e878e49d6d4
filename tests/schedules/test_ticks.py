"""The tick of a slot arms the next one, by Cloud Tasks alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cloudtask.conf import get_settings
from cloudtask.dispatch.execution import run
from cloudtask.dispatch.kinds import find_kind, make_attempt
from cloudtask.dispatch.outcomes import Status
from cloudtask.exceptions import InvalidCredentials, TaskNotFound
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import sweep
from cloudtask.schedules import (
    delete_scheduled_task,
    pause_scheduled_task,
    resume_scheduled_task,
    run_scheduled_task,
)
from cloudtask.schedules import ticks as ticking
from cloudtask.schedules.engines import get_engine
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.slots import decide_due
from cloudtask.schedules.sweeping import find_late
from cloudtask.schedules.ticks import make_standing_tick
from cloudtask.transports.google import GoogleTransport
from cloudtask.transports.memory import MemoryTransport
from tests.backends import tasks as django_tasks
from tests.schedules.conftest import MovedClock
from tests.schedules.samples import at, fresh, hourly, runs, states, ticks
from tests.tasks import add, ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _clock(moved: MovedClock) -> None: ...


def test_ticks_go_on_and_on(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly()
    for hours in range(1, 4):
        [tick] = ticks(queue)
        assert tick.sent.schedule_time == at(6, 1, 12 + hours)
        moved.move(hours=1)
        outcomes = queue.drain()
        assert [each.status for each in outcomes] == [Status.REARMED, Status.DONE]
    assert states(row) == dict.fromkeys(["13:00", "14:00", "15:00"], "enqueued")
    assert len(ran) == 3
    assert TaskRecord.objects.filter(kind="tick").count() == 1


def test_a_tick_goes_where_the_task_goes(queue: MemoryTransport) -> None:
    hourly(task=django_tasks.add.using(queue_name="emails"))
    [tick] = ticks(queue)
    assert tick.sent.route.queue == "emails"
    assert tick.sent.route.headers["X-Task-Backend"] == "default"
    assert tick.sent.route.retry is not None
    assert tick.sent.route.retry.last_attempt is None


def test_a_changed_cron_is_applied(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly()
    again = hourly(cron="30 * * * *")
    assert again.pk == row.pk
    [tick] = ticks(queue)
    assert tick.sent.schedule_time == at(6, 1, 12, 30)
    moved.move(hours=1)
    queue.drain()
    assert states(row) == {"12:30": "enqueued"}


def test_a_late_tick_of_a_former_plan_does_nothing(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    [late] = ticks(queue)
    hourly(cron="30 * * * *")
    moved.move(hours=1)
    outcome = run(make_attempt(late.payload, {}))
    assert outcome.status in (Status.DONE, Status.DUPLICATE)
    assert states(row) == {}


def test_a_renamed_schedule_goes_on(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly()
    row.name = "renamed"
    row.save()
    moved.move(hours=1)
    queue.drain()
    assert states(row) == {"13:00": "enqueued"}
    assert len(ticks(queue)) == 1


def test_a_pause_disarms(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly()
    assert pause_scheduled_task(row.pk)
    assert not pause_scheduled_task(row.pk)
    assert ticks(queue) == []
    moved.move(hours=5)
    assert resume_scheduled_task(row.pk)
    assert not resume_scheduled_task(row.pk)
    [tick] = ticks(queue)
    assert tick.sent.schedule_time == at(6, 1, 18)
    assert states(row) == {}


def test_a_paused_schedule_that_is_saved_again_stays_paused(
    queue: MemoryTransport,
) -> None:
    row = hourly()
    pause_scheduled_task(row.pk)
    fresh(row).save()
    assert fresh(row).is_paused
    assert ticks(queue) == []


@pytest.mark.parametrize("how", ["by pk", "row", "queryset"])
def test_a_deleted_schedule_leaves_nothing(queue: MemoryTransport, how: str) -> None:
    row = hourly()
    [tick] = ticks(queue)
    if how == "by pk":
        assert delete_scheduled_task(row.pk)
        assert not delete_scheduled_task(row.pk)
    elif how == "row":
        row.delete()
    else:
        ScheduledTask.objects.all().delete()
    assert ticks(queue) == []
    assert run(make_attempt(tick.payload, {})).status is Status.DUPLICATE
    with pytest.raises(TaskNotFound):
        find_kind("tick").route(tick.payload)


def test_a_plan_may_end(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly(ends=at(6, 1, 13, 30))
    moved.move(hours=1)
    outcomes = queue.drain()
    assert [each.status for each in outcomes] == [Status.DONE, Status.DONE]
    assert fresh(row).next_at is None
    assert ticks(queue) == []


def test_run_now_leaves_the_slots_alone(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    first, second = run_scheduled_task(row.pk), None
    moved.move(seconds=1)
    second = run_scheduled_task(row.pk)
    assert first != second
    moved.set(2026, 6, 1, 13)
    queue.drain()
    assert len(ran) == 3
    assert list(Slot.objects.order_by("instant").values_list("state", flat=True)) == [
        *["manual", "manual"],
        "enqueued",
    ]


def test_a_forced_tick_leaves_the_slot_alone(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    [tick] = ticks(queue)
    queue.clear()
    outcome = run(make_attempt(tick.payload, {}))
    assert outcome.status is Status.REARMED
    assert states(row) == {}
    [again] = ticks(queue)
    assert again.sent.schedule_time == at(6, 1, 13)


def test_a_tick_may_be_a_little_early(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    moved.set(2026, 6, 1, 12, 59, 30)
    queue.drain(at(6, 1, 13))
    assert states(row) == {"13:00": "enqueued"}


def test_a_queue_may_have_a_clock_of_its_own(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    queue.drain(at(6, 1, 15))
    assert states(row) == dict.fromkeys(["13:00", "14:00", "15:00"], "enqueued")


@pytest.mark.parametrize("host", ["127.0.0.1:1", None])
def test_only_an_emulator_has_a_clock_of_its_own(
    settings: Any, host: str | None
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "EMULATOR_HOST": host}
    assert GoogleTransport(get_settings()).has_own_clock is (host is not None)


def test_a_yearly_schedule_is_armed_in_hops(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly(cron="0 0 1 3 *")
    for day in range(0, 280, 7):
        moved.set(2026, 6, 1, 12)
        moved.move(days=day)
        queue.drain()
    assert states(row) == {"00:00": "enqueued"}
    assert fresh(row).next_at == at(3, 1).replace(year=2028)
    assert len(ticks(queue)) == 1


def test_a_waiting_slot_is_looked_at_each_minute(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly(overlap="wait", ends=at(6, 1, 14))
    moved.move(hours=1)
    [tick] = ticks(queue)
    queue.tasks.remove(tick)
    run(make_attempt(tick.payload, {}))
    [held] = runs(queue)
    queue.tasks.remove(held)
    moved.move(hours=1)
    queue.drain()
    assert states(row) == {"13:00": "enqueued", "14:00": "waiting"}
    [tick] = ticks(queue)
    assert tick.sent.schedule_time == moved.now + timedelta(minutes=1)
    queue.tasks.append(held)
    queue.drain()
    moved.move(minutes=1)
    queue.drain()
    assert states(row)["14:00"] == "enqueued"
    assert ticks(queue) == []


def test_a_tick_is_for_its_own_backend(queue: MemoryTransport) -> None:
    row = hourly()
    [tick] = ticks(queue)
    ScheduledTask.objects.update(backend="default")
    with pytest.raises(InvalidCredentials):
        make_attempt(tick.payload, {})
    assert row.pk


def test_the_sweeper_is_the_net(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly()
    queue.clear()
    TaskRecord.objects.all().delete()
    moved.move(hours=1)
    assert sweep().others == 0
    moved.move(minutes=2)
    assert sweep().others == 1
    assert states(row) == {"13:00": "enqueued"}
    [tick] = ticks(queue)
    assert tick.sent.schedule_time == at(6, 1, 14)
    assert sweep().others == 0


def test_the_sweeper_leaves_a_tick_that_lives(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    moved.move(hours=1, minutes=2)
    assert sweep().others == 1
    assert len(ticks(queue)) == 1
    queue.drain()
    assert states(row) == {"13:00": "enqueued"}


def test_a_change_decides_what_was_due_before(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    moved.move(hours=1, seconds=20)
    hourly(cron="30 * * * *", args=[7])
    assert states(row) == {"13:00": "enqueued"}
    assert [each.payload.args for each in runs(queue)] == [()]


def test_a_fixture_follows_nothing(queue: MemoryTransport) -> None:
    from django.core import serializers

    row = hourly()
    queue.clear()
    text = serializers.serialize("json", [row])
    for each in serializers.deserialize("json", text):
        each.save()
    assert ticks(queue) == []


def test_names_are_shown() -> None:
    row = hourly()
    slot = Slot(schedule=row, instant=at(6, 1, 13), state="missed")
    assert str(row) == "hourly"
    assert "2026-06-01 13:00:00 missed" in str(slot)
    assert add.path == row.path


def test_the_scheduler_of_google_ticks_too(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly()
    queue.clear()
    payload = make_standing_tick(row)

    def tick(slot: str = "") -> Any:
        meta = {"HTTP_X_CLOUDSCHEDULER_SCHEDULETIME": slot} if slot else {}
        return run(make_attempt(payload, meta))

    moved.set(2026, 6, 1, 12, 59, 50)
    # Google's clock is a little ahead, and speaks of Los Angeles.
    for _ in range(5):
        assert tick("2026-06-01T06:00:00-07:00").status is Status.DONE
    assert states(row) == {"13:00": "enqueued"}
    moved.set(2026, 6, 1, 13, 0, 30)
    for _ in range(2):  # Forced, and repeated.
        tick("2026-06-01T07:00:00.000000-07:00")
    assert Slot.objects.filter(state="manual").count() == 1
    assert "14:00" not in states(row)
    moved.set(2026, 6, 1, 14)
    for text in ("", "nonsense", "2026-06-01T07:00:00", "9999-12-31T23:59:59-23:59"):
        tick(text)
    assert states(row)["14:00"] == "enqueued"
    assert Slot.objects.count() == 3


def test_a_schedule_may_go_while_its_tick_runs(
    queue: MemoryTransport, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = hourly()
    decide = ticking.decide_due

    def delete_first(*args: Any) -> Any:
        ScheduledTask.objects.all().delete()
        return decide(*args)

    monkeypatch.setattr(ticking, "decide_due", delete_first)
    moved.move(hours=1)
    assert [each.status for each in queue.drain()] == [Status.DONE]
    assert not ScheduledTask.objects.filter(pk=row.pk).exists()


def test_the_sweeper_runs_what_has_waited(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    row = hourly(overlap="wait")
    for _ in range(2):
        decide_due(row.uid, moved.move(hours=1))
    held = list(queue.tasks)
    queue.clear()
    sweep()
    assert states(row)["14:00"] == "waiting"
    queue.tasks[:] = [each for each in held if each.payload.kind != "tick"]
    queue.drain()
    sweep()
    assert states(row)["14:00"] == "enqueued"


def test_schedules_that_cannot_be_run_hold_up_no_others(
    queue: MemoryTransport, moved: MovedClock
) -> None:
    for number in range(3):
        hourly(name=f"gone {number}", cron="5 * * * *")
    ScheduledTask.objects.update(path="shop.tasks.gone")
    moved.move(minutes=1)
    row = hourly(name="later", cron="30 * * * *")
    queue.clear()
    moved.move(hours=1)
    assert any(sweep(limit=1).others for _ in range(200))
    assert states(row) == {"12:30": "enqueued"}


def test_old_slots_are_deleted(
    queue: MemoryTransport, moved: MovedClock, settings: Any
) -> None:
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "PRUNE_SLOTS_AFTER": timedelta(hours=2),
    }
    row = hourly(overlap="wait")
    for _ in range(4):
        decide_due(row.uid, moved.move(hours=1))
    assert len(states(row)) == 4
    sweep()
    assert list(states(row)) == ["14:00", "15:00", "16:00"]
    moved.move(hours=9)
    Slot.objects.exclude(state="waiting").delete()
    list(find_late(0))[-1]()
    assert states(row) == {"16:00": "waiting"}


def test_two_sweepers_arm_one_tick(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly()
    TaskRecord.objects.all().delete()
    queue.clear()
    engine, stale = get_engine(), fresh(row)
    engine.revive(row)
    engine.revive(stale)
    assert len(ticks(queue)) == 1


def test_the_tick_of_a_deleted_schedule_does_nothing(queue: MemoryTransport) -> None:
    payload = make_standing_tick(hourly())
    ScheduledTask.objects.all().delete()
    assert run(make_attempt(payload, {})).status is Status.DONE
