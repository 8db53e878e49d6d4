"""What the tests of schedules do again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cloudtask.results.models import TaskRecord
from cloudtask.schedules import schedule_task
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.signals import slot_missed
from cloudtask.transports.memory import MemoryTransport, StoredTask
from tests.tasks import add

HOUR = timedelta(hours=1)


def at(*parts: int) -> datetime:
    return datetime(2026, *parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def hourly(**options: Any) -> ScheduledTask:
    """A schedule of `add`, due with each hour."""
    given = {"name": "hourly", "timezone": "UTC", **options}
    return schedule_task(
        given.pop("task", add), given.pop("cron", "0 * * * *"), **given
    )


def fresh(row: ScheduledTask) -> ScheduledTask:
    return ScheduledTask.objects.get(pk=row.pk)


def states(row: ScheduledTask) -> dict[str, str]:
    """What became of the slots of a schedule, by their hour and minute."""
    slots = Slot.objects.filter(schedule=row).order_by("instant")
    return {f"{each.instant:%H:%M}": each.state for each in slots}


def ticks(queue: MemoryTransport) -> list[StoredTask]:
    return [each for each in queue.tasks if each.payload.kind == "tick"]


def runs(queue: MemoryTransport) -> list[StoredTask]:
    return [each for each in queue.tasks if each.payload.kind != "tick"]


def statuses(path: str = "tests.tasks.add") -> list[str]:
    rows = TaskRecord.objects.filter(path=path).order_by("enqueued_at")
    return list(rows.values_list("status", flat=True))


class Missed:
    """Keeps what the signal tells."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def __call__(self, **told: Any) -> None:
        self.told.append(told)

    def __enter__(self) -> Missed:
        slot_missed.connect(self)
        return self

    def __exit__(self, *error: object) -> None:
        slot_missed.disconnect(self)
