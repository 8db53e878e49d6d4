"""Tasks that ask for another time, through the emulator and back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from cloudtask import CloudTaskRequest, Retry, RetryPolicy, task
from cloudtask.results.control import cancel
from cloudtask.results.sweeping import Swept, sweep
from tests.backends import tasks as django_tasks
from tests.clocks import set_clock
from tests.live import Live, live
from tests.results.samples import needs_postgresql, row
from tests.tasks import ran

pytestmark = [
    pytest.mark.django_db_backend,
    pytest.mark.django_db(transaction=True),
    needs_postgresql,
]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@task(named=True, retry=RetryPolicy(max_attempts=3))
def come_later(request: CloudTaskRequest, after: timedelta = HOUR) -> str:
    ran.append(request.attempt)
    if request.attempt > 1:
        return "came"
    raise Retry("busy", after=after)


@task(retry=RetryPolicy(max_attempts=3))
def never_come(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    raise Retry("busy", after=HOUR)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """The project and an emulator, by one clock."""
    with live() as site:
        set_clock(monkeypatch, lambda: site.emulator.now.timestamp())
        yield site


def wait_until_rearmed(site: Live, id: str, times: int = 1) -> None:  # noqa: A002
    site.emulator.drain()
    site.emulator.wait_for(lambda: len(site.emulator.attempts) >= times)
    assert (row(id).status, row(id).arming) == ("READY", times)


def statuses(site: Live) -> list[int | None]:
    return [attempt.status for attempt in site.emulator.attempts]


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda: come_later().delay(),
        lambda: django_tasks.come_later.enqueue(),
        lambda: django_tasks.acome_later.enqueue(),
    ],
    ids=["named", "Django's", "Django's async"],
)
def test_a_task_comes_at_its_time(site: Live, enqueue: Any) -> None:
    enqueued = enqueue()
    wait_until_rearmed(site, enqueued.id)

    assert site.emulator.advance(minutes=59) == []
    assert [each.status for each in site.emulator.advance(minutes=2)] == [200]
    assert site.emulator.advance(days=2) == []
    assert ran == [1, 2]
    found = row(enqueued.id)
    assert (found.status, found.attempt) == ("SUCCESSFUL", 2)
    assert site.emulator.idle


def test_a_policy_counts_all_attempts(site: Live) -> None:
    enqueued = never_come().delay()
    wait_until_rearmed(site, enqueued.id)
    site.emulator.advance(days=1)

    assert ran == [1, 2, 3]
    assert statuses(site) == [200] * 3
    assert (row(enqueued.id).status, row(enqueued.id).attempt) == ("FAILED", 3)
    assert site.emulator.idle


def test_alarms_that_come_twice_count_once(site: Live) -> None:
    site.emulator.inject("duplicate", times=None)
    enqueued = come_later().delay()
    site.emulator.wait_for(lambda: len(site.emulator.attempts) >= 2)
    site.emulator.drain()
    site.emulator.advance(minutes=61)
    site.emulator.wait_for(lambda: site.emulator.idle)

    assert ran == [1, 2]
    assert row(enqueued.id).status == "SUCCESSFUL"
    # The copy of one that runs is told to come again.
    assert set(statuses(site)) <= {200, 409}


def test_an_alarm_whose_answer_is_lost_is_of_the_past(site: Live) -> None:
    site.emulator.inject("drop_answer", times=1)
    enqueued = come_later().delay()
    site.emulator.wait_for(lambda: len(site.emulator.attempts) == 2)
    site.emulator.drain()

    assert ran == [1]
    assert statuses(site)[-1] == 200
    assert site.emulator.pending == 1
    site.emulator.advance(minutes=61)
    assert ran == [1, 2]
    assert row(enqueued.id).status == "SUCCESSFUL"


def test_what_is_due_in_months_hops(site: Live) -> None:
    enqueued = come_later(75 * DAY).delay()
    wait_until_rearmed(site, enqueued.id)
    for days, hops in ((29, 0), (1, 1), (29, 0), (1, 1), (14, 0)):
        assert len(site.emulator.advance(days=days)) == hops
    assert ran == [1]
    assert row(enqueued.id).attempt == 1
    assert len(site.emulator.advance(days=1, minutes=1)) == 1

    assert ran == [1, 2]
    assert statuses(site) == [200] * 4
    found = row(enqueued.id)
    assert (found.status, found.attempt, found.arming) == ("SUCCESSFUL", 2, 3)


def test_hops_follow_the_queues_clock_where_that_alone_was_moved() -> None:
    with live() as site:
        enqueued = come_later(75 * DAY).delay()
        wait_until_rearmed(site, enqueued.id)
        assert len(site.emulator.advance(days=74)) == 2
        assert ran == [1]
        assert len(site.emulator.advance(days=2)) == 1

    assert ran == [1, 2]
    assert row(enqueued.id).status == "SUCCESSFUL"


def test_a_cancelled_task_leaves_the_queue(site: Live) -> None:
    enqueued = come_later().delay()
    wait_until_rearmed(site, enqueued.id)
    assert cancel(enqueued.id) is True

    assert site.emulator.idle
    assert site.emulator.advance(hours=2) == []
    assert ran == [1]


def test_what_is_sent_by_two_comes_once(site: Live) -> None:
    enqueued = come_later().delay()
    wait_until_rearmed(site, enqueued.id)
    found = row(enqueued.id)
    # Whoever sent it did not live to note that.
    found.name, found.sent_at, found.send_at = "", None, found.enqueued_at
    found.save()
    assert sweep() == Swept(sent=1)

    assert site.emulator.pending == 1
    assert row(enqueued.id).name.endswith(f"-{enqueued.id}-r1")
    site.emulator.advance(minutes=61)
    assert ran == [1, 2]
