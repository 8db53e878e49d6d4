"""Leases are prolonged by one thread, by the database's clock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.models.functions import Now

from cloudtask.results import heartbeat
from cloudtask.results.checks import check_retries
from cloudtask.results.control import cancel
from cloudtask.results.heartbeat import BEATS, Heart
from cloudtask.results.leases import LEASE, Lease, get_lease_time
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping.recovery import GRACE
from cloudtask.stores import Ending
from tests.results.samples import (
    add,
    ago,
    claim,
    expire,
    needs_postgresql,
    payload,
    row,
    statements,
    verbs,
)

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

#: The real one: tests have a heart that beats if it is told to.
HEARTBEAT = heartbeat.get_interval


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        tick.wait(0.01)


@pytest.fixture
def lease(heart: Heart) -> Lease:
    """The lease of a task that is claimed."""
    claim(add().delay().id)
    [held] = heart._leases.values()
    return held


def test_signs_of_life_come_often_enough() -> None:
    assert BEATS >= 3
    assert get_lease_time() == LEASE == timedelta(seconds=30)
    assert LEASE < GRACE


@pytest.mark.parametrize("lease", [timedelta(seconds=5), timedelta(minutes=10)])
def test_the_settings_say_how_long_a_lease_holds(
    settings: Any, heart: Heart, lease: timedelta
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "LEASE": lease}
    unknown = payload()
    for task in (add().delay().id, unknown):
        claim(task)
    ends = "lease_expires_at"
    before = list(TaskRecord.objects.values_list(ends, "last_attempted_at"))
    assert len(before) == 2
    for until, since in before:
        assert abs(until - since - lease) < timedelta(seconds=1)

    expire(unknown.id)
    heart.prolong()
    close = timedelta(seconds=2)
    assert not TaskRecord.objects.exclude(
        lease_expires_at__gt=Now() + lease - close,
        lease_expires_at__lt=Now() + lease + close,
    ).exists()


@pytest.mark.parametrize(("lease", "pause"), [(None, 7.5), (5, 1.25), (600, 150)])
def test_a_lease_is_prolonged_four_times_while_it_holds(
    settings: Any, lease: int | None, pause: float
) -> None:
    time = timedelta(seconds=lease) if lease else None
    settings.CLOUDTASK = {**settings.CLOUDTASK, "LEASE": time}

    assert HEARTBEAT() == pause


def test_all_leases_are_prolonged_at_once(heart: Heart) -> None:
    ids = [add().delay().id for _ in range(3)]
    for each in ids:
        claim(each)
        expire(each)
    with statements() as queries:
        heart.prolong()

    assert verbs(queries) == ["UPDATE", "SELECT"]
    alive = TaskRecord.objects.filter(lease_expires_at__gt=Now() + timedelta(seconds=5))
    assert alive.count() == 3


def test_leases_hold_by_the_clock_of_the_database(
    heart: Heart, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: ago(timedelta(days=9)))
    heart.prolong()

    alive = TaskRecord.objects.filter(lease_expires_at__gt=Now() + timedelta(seconds=5))
    assert alive.count() == 1


def test_what_others_hold_is_not_prolonged(heart: Heart, lease: Lease) -> None:
    expire(lease.task_id)
    claim(lease.task_id)
    heart.remove(next(each for each in heart._leases.values() if each is not lease))
    before = row(lease.task_id).lease_expires_at
    heart.prolong()

    assert row(lease.task_id).lease_expires_at == before
    assert lease.is_cancelled is True


def test_a_lease_that_holds_is_not_cancelled(heart: Heart, lease: Lease) -> None:
    heart.prolong()
    assert lease.is_cancelled is False


@pytest.mark.parametrize("how", ["cancelled", "gone"])
def test_a_lease_is_told_that_its_task_is_to_stop(
    heart: Heart, lease: Lease, how: str
) -> None:
    if how == "cancelled":
        assert cancel(lease.task_id)
    else:
        TaskRecord.objects.all().delete()
    heart.prolong()

    assert lease.is_cancelled is True


def test_leases_are_found_by_key_among_a_million_rows(
    heart: Heart, lease: Lease
) -> None:
    with statements() as queries:
        heart.prolong()
    for query in queries.captured_queries:
        if query["sql"].startswith(("UPDATE", "SELECT")):
            where = query["sql"].partition("WHERE")[2]
            assert lease.task_id in where, "no index serves this query"


def test_ended_tasks_are_not_prolonged(heart: Heart) -> None:
    held = claim(add().delay().id)
    assert len(heart._leases) == 1
    held.end(Ending(succeeded=True))
    assert heart._leases == {}


def test_one_thread_serves_all_tasks(heart: Heart) -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        claim(add().delay().id)

    # Threads of other tests may end meanwhile, or begin.
    started = set(threading.enumerate()) - before
    [thread] = [each for each in started if each.name == "cloudtask-leases"]
    assert thread is heart._thread
    assert thread.daemon


def test_the_thread_ends_when_nothing_is_held_and_starts_anew(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.02)
    idle = Lease("0" * 32, "0" * 32)
    monkeypatch.setattr(heart, "prolong", lambda: None)
    heart.add(idle)
    first = heart._thread
    assert first is not None
    heart.remove(idle)
    first.join(10)
    assert not first.is_alive()
    assert heart._thread is None

    heart.add(idle)
    assert heart._thread is not None
    assert heart._thread is not first


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_the_heart_beats_on_after_an_error_of_the_database(
    heart: Heart,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: type[Exception],
) -> None:
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.02)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    beats: list[int] = []

    def prolong() -> None:
        beats.append(1)
        if len(beats) == 1:
            raise kind("away")

    monkeypatch.setattr(heart, "prolong", prolong)
    heart.add(Lease("0" * 32, "0" * 32))

    wait_for(lambda: len(beats) > 2)
    assert caplog.messages == [f"leases could not be prolonged: {kind('away')!r}"]


@needs_postgresql
def test_the_heart_finds_the_database_again(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.02)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    pids: list[int] = []
    prolong = heart.prolong

    def noted() -> None:
        prolong()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pids.append(cursor.fetchone()[0])

    monkeypatch.setattr(heart, "prolong", noted)
    claim(add().delay().id)
    wait_for(lambda: pids)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pids[0]])

    wait_for(lambda: len(set(pids)) == 2)


@needs_postgresql
def test_a_running_task_stays_held_and_is_told_when_it_is_cancelled(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.02)
    enqueued = add().delay()
    held = claim(enqueued.id)
    expire(enqueued.id)
    wait_for(
        lambda: (
            TaskRecord.objects.filter(lease_expires_at__gt=Now()).exists()
            or held.is_cancelled
        )
    )
    assert held.is_cancelled is False
    cancel(enqueued.id)
    wait_for(lambda: held.is_cancelled)


@needs_postgresql
def test_the_thread_leaves_no_connection_open(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.02)
    opened: list[Any] = []
    prolong = heart.prolong

    def noted() -> None:
        prolong()
        opened.append(connections["default"])

    monkeypatch.setattr(heart, "prolong", noted)
    held = claim(add().delay().id)
    thread = heart._thread
    assert thread is not None
    wait_for(lambda: opened)
    held.end(Ending(succeeded=True))
    thread.join(10)

    assert not thread.is_alive()
    assert opened[0].connection is None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_thread_and_leases_of_its_own(heart: Heart) -> None:
    heart.add(Lease("a" * 32, "a" * 32))
    with heart._lock:
        child = os.fork()
        if child == 0:
            os._exit(_in_child(heart))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert heart._thread is not None
    assert [each.token for each in heart._leases.values()] == ["a" * 32]


def _in_child(heart: Heart) -> int:
    """What is right of a forked child's heart, a bit for each."""
    is_forgotten = not heart._leases and heart._thread is None
    theirs = Lease("b" * 32, "b" * 32)
    adding = threading.Thread(target=heart.add, args=[theirs], daemon=True)
    adding.start()
    # It would wait for ever for a lock that a thread of the parent has.
    adding.join(10)
    has_thread = heart._thread is not None and heart._thread.is_alive()
    return is_forgotten + 2 * (not adding.is_alive()) + 4 * has_thread


def test_a_heart_begins_anew(heart: Heart) -> None:
    mine = Lease("a" * 32, "a" * 32)
    heart.add(mine)
    thread, lock, pause = heart._thread, heart._lock, heart._pause
    heartbeat._reset_after_fork()

    assert (heart._leases, heart._thread) == ({}, None)
    assert heart._lock is not lock
    # In a real child the parent's thread is not there.
    assert thread is not None
    pause.set()
    thread.join(10)
    assert not thread.is_alive()


def test_unknown_tasks_are_held_like_others(heart: Heart) -> None:
    unknown = payload()
    claim(unknown)
    expire(unknown.id)
    heart.prolong()

    assert TaskRecord.objects.filter(lease_expires_at__gt=Now()).count() == 1


def test_progress_is_written_more_often_than_leases_are_prolonged(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(heartbeat, "PROGRESS", 0.01)
    monkeypatch.setattr(heart, "write_progress", lambda: done.append("progress"))
    monkeypatch.setattr(heart, "prolong", lambda: done.append("prolong"))
    heart.add(Lease("0" * 32, "0" * 32))

    wait_for(lambda: len(done) > 3)
    assert set(done) == {"progress"}


def test_the_check_of_policies_knows_how_long_a_lease_holds(settings: Any) -> None:
    policy = {"max_attempts": 2, "min_backoff": timedelta(seconds=20)}
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RETRY": policy}
    [warning] = check_retries()
    assert "holds, 0:00:30:" in warning.msg

    settings.CLOUDTASK = {**settings.CLOUDTASK, "LEASE": timedelta(seconds=15)}
    assert check_retries() == []
