"""However many rows wait for nothing, those behind them get their turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import outbox, sweep
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.payload import new_id
from tests.reliability.rivals import (
    database,  # noqa: F401 - a fixture
    databases,
    keep,
    servers,  # noqa: F401 - a fixture
)
from tests.results.conftest import _results, heart  # noqa: F401 - fixtures
from tests.results.samples import HOUR, add, ago, payload, queue

pytestmark = pytest.mark.reliability

MANY = 10_000


def made(count: int, queue: str, task: str = add.path, **values: Any) -> Any:
    """Rows of so many tasks of a queue of their own."""
    keep([payload(task) for _ in range(count)], queue=queue, **values)
    return TaskRecord.objects.filter(queue=queue)


@databases("postgresql")
def test_orphans_behind_tasks_that_run_for_long_are_swept_in_two_passes() -> None:
    later = datetime.now(UTC) + timedelta(seconds=20)
    long = {"started_at": ago(9 * HOUR), "lease_expires_at": later}
    running = made(MANY, "long", status="RUNNING", lease=new_id(), **long)
    before = list(running.order_by("pk").values())
    orphans = made(
        100, "lost", status="RUNNING", lease=new_id(), lease_expires_at=ago()
    )

    assert sweep(limit=100).freed == 100
    assert sweep(limit=100).sent == 100
    assert set(orphans.values_list("status", "send_at")) == {("READY", None)}
    assert len(queue().tasks) == 100
    assert list(running.order_by("pk").values()) == before


@databases("postgresql")
def test_orphans_behind_tasks_that_their_queue_has_are_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next attempt takes those over, whenever that is."""
    values = {"status": "RUNNING", "lease": new_id()}
    made(1000, "slow", name="s", lease_expires_at=ago(2 * HOUR), **values)
    orphans = made(100, "lost", lease_expires_at=ago(), **values)
    monkeypatch.setattr(MemoryTransport, "has", lambda *args: args[1].endswith("/s"))

    freed = [sweep(limit=100).freed for _ in range(11)]
    assert freed == [0] * 10 + [100]
    assert set(orphans.values_list("status", flat=True)) == {"READY"}


@databases("postgresql")
def test_tasks_that_cannot_be_sent_hold_up_others_for_one_turn_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # They are due again at once.
    monkeypatch.setattr(outbox, "PAUSE", timedelta(0))
    unsendable = made(MANY, "gone", "gone.tasks.add", send_at=ago(2 * HOUR))
    sendable = made(100, "there", send_at=ago())

    passes = [sweep(limit=100) for _ in range(MANY // 100)]
    assert {each.sent for each in passes} == {0}
    assert sweep(limit=100).sent == 100
    assert set(sendable.values_list("send_at", flat=True)) == {None}
    assert unsendable.filter(status="READY", send_at__isnull=False).count() == MANY
