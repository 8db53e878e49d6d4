"""Schedules over the emulator and back, while its clock is moved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from cloudtask.results.models import TaskRecord
from cloudtask.schedules import pause_scheduled_task, schedule_task
from cloudtask.schedules.models import ScheduledTask, Slot
from tests.clocks import set_clock
from tests.live import Live, live
from tests.tasks import aadd, add

pytestmark = [
    pytest.mark.django_db_backend,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor == "sqlite",
        reason="threads of a server lock each other out of SQLite in memory",
    ),
]

ZURICH = ZoneInfo("Europe/Zurich")


@pytest.fixture
def served(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """One clock for all: the emulator's."""
    with live() as served:
        set_clock(monkeypatch, lambda: served.emulator.now.timestamp())
        yield served


def find_change(*, forward: bool) -> datetime:
    """The noon before clocks in Zurich are next put forward, or back."""
    noon = datetime.now(ZURICH).replace(hour=12, minute=0, second=0, microsecond=0)
    while True:
        later = noon + timedelta(days=1)
        moved = offset(later) - offset(noon)
        if moved and (moved > timedelta(0)) is forward:
            return noon.astimezone(UTC)
        noon = later


def offset(moment: datetime) -> timedelta:
    return moment.utcoffset() or timedelta(0)


def advance_to(served: Live, moment: datetime) -> None:
    left = moment - served.emulator.now
    served.emulator.advance(microseconds=left // timedelta(microseconds=1), timeout=60)


def list_slots(row: ScheduledTask) -> list[str]:
    instants = Slot.objects.filter(schedule=row, state="enqueued").order_by("instant")
    return [
        f"{each.astimezone(ZURICH):%H:%M%z}"
        for each in instants.values_list("instant", flat=True)
    ]


@pytest.mark.parametrize(
    ("forward", "nightly", "often"),
    [
        # 02:30 is left out, as are the other times that the clock skips.
        (True, [], ["01:00+0100", "01:30+0100", "03:00+0200", "03:30+0200"]),
        (
            False,
            ["02:30+0200"],
            [
                *["01:00+0200", "01:30+0200", "02:00+0200", "02:30+0200"],
                *["02:00+0100", "02:30+0100", "03:00+0100", "03:30+0100"],
            ],
        ),
    ],
    ids=["spring", "autumn"],
)
def test_slots_follow_the_wall_clock(
    served: Live, forward: bool, nightly: list[str], often: list[str]
) -> None:
    noon = find_change(forward=forward)
    advance_to(served, noon)
    night = schedule_task(add, "30 2 * * *", name="night", timezone="Europe/Zurich")
    halves = schedule_task(
        aadd, "*/30 * * * *", name="halves", timezone="Europe/Zurich"
    )
    advance_to(served, noon + timedelta(hours=23))
    assert list_slots(night) == nightly
    between = [each for each in list_slots(halves) if "01:00" <= each < "04"]
    assert [each for each in between if each[:2] in ("01", "02", "03")] == often
    runs = TaskRecord.objects.filter(kind="cloudtask", status="SUCCESSFUL")
    assert runs.count() == Slot.objects.count()
    assert not Slot.objects.exclude(state="enqueued").exists()


def test_a_schedule_is_changed_and_paused_between_slots(served: Live) -> None:
    start = served.emulator.now.replace(minute=0, second=0, microsecond=0)
    row = schedule_task(add, "0 * * * *", name="hourly", timezone="UTC")
    advance_to(served, start + timedelta(hours=1, minutes=10))
    row = schedule_task(add, "30 * * * *", name="hourly", timezone="UTC")
    advance_to(served, start + timedelta(hours=2, minutes=10))
    pause_scheduled_task(row.pk)
    advance_to(served, start + timedelta(hours=4))
    hours = [each.minute for each in Slot.objects.values_list("instant", flat=True)]
    assert sorted(hours) == [0, 30]
    assert served.emulator.idle


def test_a_slot_far_ahead_is_reached_in_hops(served: Live) -> None:
    due = (served.emulator.now + timedelta(days=100)).replace(minute=0)
    row = schedule_task(
        add, f"0 {due.hour} {due.day} {due.month} *", name="rare", timezone="UTC"
    )
    advance_to(served, due + timedelta(hours=1))
    slot = Slot.objects.get(schedule=row)
    assert slot.instant == due.replace(second=0, microsecond=0)
    assert TaskRecord.objects.get(pk=slot.task_id).status == "SUCCESSFUL"
