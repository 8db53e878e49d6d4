"""
The database's server, a proxy or an administrator ends connections.

A task whose code was run has run, whatever becomes of its connection.
"""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import Mock

import pytest
from asgiref.sync import sync_to_async
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from cloudtask import CloudTaskRequest, Reject, RetryPolicy, task
from cloudtask.exceptions import StoreUnavailable
from cloudtask.framework import task as django_task
from cloudtask.results import claims, heartbeat, store, sweeping
from cloudtask.results.claims import LeaseClaim
from cloudtask.results.control import cancel
from cloudtask.results.database.statements import Update
from cloudtask.results.heartbeat import Heart
from cloudtask.results.leases import Lease
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import passes, recovery, traffic
from cloudtask.stores import Ending, Standing
from tests.field.dropping import (
    POSTS,
    away_for,
    drop_connection,
    drop_other_connections,
    wait_for,
)
from tests.live import live
from tests.results.conftest import (  # noqa: F401
    _nothing_is_kept,
    _results,
    heart,
)
from tests.results.samples import (
    add,
    ago,
    change,
    claim,
    dispatch,
    expire,
    fail_twice,
    payload,
    payload_of,
    post,
    row,
)
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

needs_server = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has no server that ends connections"
)
needs_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="asks as PostgreSQL is asked"
)


@task
def work(request: CloudTaskRequest) -> str:
    ran.append("work")
    drop_connection()
    return "worked"


@task
async def awork(request: CloudTaskRequest) -> str:
    ran.append("work")
    await sync_to_async(drop_connection)()
    return "worked"


@task(retry=RetryPolicy(max_attempts=5))
def fail(request: CloudTaskRequest) -> None:
    ran.append("fail")
    drop_connection()
    raise ValueError("broken")


@task
def reject(request: CloudTaskRequest) -> None:
    drop_connection()
    raise Reject("never")


@task
def leave(request: CloudTaskRequest) -> None:
    drop_connection()
    raise SystemExit


@task
def write_in_a_transaction(request: CloudTaskRequest) -> None:
    with transaction.atomic():
        TaskRecord.objects.filter(pk="none").update(path="x")
        drop_connection()
        TaskRecord.objects.filter(pk="none").update(path="y")


@task(run_once=True)
def once(request: CloudTaskRequest) -> None:
    ran.append("once")


class Failing:
    """Has so many calls of a method fail, before or after they did it."""

    def __init__(
        self, patch: Any, owner: Any, name: str, error: Any, times: int = 1
    ) -> None:
        self.left, self.is_done_before = times, False
        function = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.left:
                return function(*args, **kwargs)
            self.left -= 1
            if self.is_done_before:
                function(*args, **kwargs)
            raise error

        patch.setattr(owner, name, call)


# While the task works


@needs_server
@pytest.mark.parametrize("server", POSTS)
@pytest.mark.parametrize("worked", [work, awork])
def test_a_run_is_recorded_and_not_repeated(server: str, worked: Any) -> None:
    enqueued = worked().delay()

    assert POSTS[server](enqueued.id).status_code == 200

    assert ran == ["work"]
    found = row(enqueued.id)
    assert (found.status, found.return_value) == ("SUCCESSFUL", "worked")
    assert (found.interruptions, found.attempt) == (0, 1)
    assert POSTS[server](enqueued.id).status_code == 200
    assert ran == ["work"]


@needs_server
@pytest.mark.parametrize("server", POSTS)
def test_a_failure_is_recorded_with_its_error(server: str) -> None:
    enqueued = fail().delay()

    assert POSTS[server](enqueued.id).status_code == 500

    found = row(enqueued.id)
    assert (found.status, found.lease, found.interruptions) == ("READY", "", 0)
    [error] = found.errors.all()
    assert error.message == "broken"


@needs_server
def test_other_ends_are_recorded_too() -> None:
    rejected, left = reject().delay(), leave().delay()

    assert post(rejected.id).status_code == 200
    with pytest.raises(SystemExit):
        post(left.id)

    assert (row(rejected.id).status, row(rejected.id).errors.count()) == ("FAILED", 1)
    found = row(left.id)
    assert (found.status, found.lease, found.interruptions) == ("READY", "", 0)


@needs_server
def test_a_task_in_a_transaction_fails_as_others_do() -> None:
    enqueued = write_in_a_transaction().delay()

    assert post(enqueued.id).status_code == 500

    found = row(enqueued.id)
    assert (found.status, found.lease, found.errors.count()) == ("READY", "", 1)


@needs_server
def test_errors_alone_are_kept_too(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "errors"}
    failed = payload(fail.path)
    dispatch(failed, attempt=5)

    assert (row(failed.id).status, row(failed.id).errors.count()) == ("FAILED", 1)


@needs_postgresql
def test_through_the_emulator_it_is_one_attempt() -> None:
    with live() as site:
        enqueued = [work().delay() for _ in range(5)]
        site.finish()

        assert [each.status for each in site.emulator.attempts] == [200] * 5
    assert ran == ["work"] * 5
    assert {row(each.id).status for each in enqueued} == {"SUCCESSFUL"}


@needs_postgresql
def test_progress_and_leases_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.02)
    enqueued = add().delay()
    held = claim(enqueued.id)
    for done in (1, 2):
        held.progress(done, 2, "")
        wait_for(lambda done=done: row(enqueued.id).progress_done == done)
        drop_other_connections()
    expire(enqueued.id)

    wait_for(lambda: row(enqueued.id).lease_expires_at > ago())
    assert held.end(Ending(succeeded=True)) is True


# At the claim


@needs_server
@pytest.mark.parametrize("server", POSTS)
@pytest.mark.parametrize("wanted", [add, once])
def test_a_stale_connection_loses_no_task(
    monkeypatch: pytest.MonkeyPatch, server: str, wanted: Any
) -> None:
    enqueued = wanted().delay()
    claim = store.DatabaseStore.claim

    def claim_on_a_stale_connection(*args: Any) -> Any:
        drop_connection()
        return claim(*args)

    monkeypatch.setattr(store.DatabaseStore, "claim", claim_on_a_stale_connection)

    assert POSTS[server](enqueued.id).status_code == 200
    assert len(ran) == 1
    assert row(enqueued.id).status == "SUCCESSFUL"


@needs_server
def test_a_pool_may_give_a_connection_that_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    claim_task, pool = store.DatabaseStore.claim, Mock()

    def claim_anew(*args: Any) -> Any:
        connection.close()
        Failing(monkeypatch, Update, "run", OperationalError("terminated"))
        return claim_task(*args)

    monkeypatch.setattr(store.DatabaseStore, "claim", claim_anew)
    monkeypatch.setattr(
        "cloudtask.results.database.connections._get_pool", lambda connection: pool
    )

    assert post(enqueued.id).status_code == 200
    assert len(ran) == 1
    pool.check.assert_called()


@pytest.mark.parametrize("wanted", [add, once])
def test_a_claim_whose_answer_was_lost_was_made(
    monkeypatch: pytest.MonkeyPatch, wanted: Any
) -> None:
    enqueued = wanted().delay()
    failing = Failing(monkeypatch, Update, "run", OperationalError("gone"))
    failing.is_done_before = True

    assert post(enqueued.id).status_code == 200
    assert len(ran) == 1
    assert row(enqueued.id).interruptions == 0


def test_a_claim_of_an_unknown_task_whose_answer_was_lost_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing = Failing(monkeypatch, TaskRecord, "save", OperationalError("gone"))
    failing.is_done_before = True

    assert claim(payload()).standing is Standing.FREE


def test_an_unknown_task_that_another_claims_first_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = payload()
    standing = claims.claim_unknown_task

    def late(*args: Any) -> Any:
        monkeypatch.setattr(claims, "claim_unknown_task", standing)
        claim(wanted)
        return standing(*args)

    monkeypatch.setattr(claims, "claim_unknown_task", late)

    assert claim(wanted).standing is Standing.BUSY


def test_a_claim_in_doubt_is_let_go_when_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    with monkeypatch.context() as patch:
        failing = Failing(patch, Update, "run", OperationalError("gone"), times=2)
        failing.is_done_before = True
        assert post(enqueued.id).status_code == 503
    assert row(enqueued.id).status == "RUNNING"

    heartbeat.HEART.write_deferred()

    found = row(enqueued.id)
    assert (found.status, found.lease, found.interruptions) == ("READY", "", 0)
    assert post(enqueued.id).status_code == 200


def test_a_claim_in_a_callers_transaction_is_undone_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    Failing(monkeypatch, claims, "claim_row", OperationalError("gone"))

    with transaction.atomic():
        assert post(enqueued.id).status_code == 503
    assert not heartbeat.HEART._deferred
    assert post(enqueued.id).status_code == 200


def test_a_thread_without_a_connection_opens_one() -> None:
    wanted = payload_of(add().delay().id)
    standings: list[Standing] = []

    def ask() -> None:
        try:
            standings.append(claim(wanted).standing)
        finally:
            # SQLite in memory ignores its own close().
            BaseDatabaseWrapper.close(connections["default"])

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(10)

    assert standings == [Standing.FREE]


def test_a_task_that_runs_once_waits_for_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = once().delay()
    failing = Failing(
        monkeypatch, claims, "claim_row", OperationalError("away"), times=5
    )

    assert post(enqueued.id).status_code == 200
    assert (failing.left, ran) == (0, ["once"])


# At the end


@needs_postgresql
def test_an_outage_that_is_shorter_than_the_lease_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    end = LeaseClaim.end

    def end_in_an_outage(held: Any, ending: Any) -> bool:
        with away_for(0.5):
            connection.close()
            return end(held, ending)

    monkeypatch.setattr(LeaseClaim, "end", end_in_an_outage)

    assert post(enqueued.id).status_code == 200
    assert len(ran) == 1
    assert row(enqueued.id).status == "SUCCESSFUL"


def test_an_end_whose_answer_was_lost_was_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    failing = Failing(monkeypatch, LeaseClaim, "_end", InterfaceError("gone"))
    failing.is_done_before = True

    assert post(enqueued.id).status_code == 200
    assert row(enqueued.id).status == "SUCCESSFUL"


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A task whose end could not be written while its lease held."""
    monkeypatch.setattr(Lease, "holds", lambda lease: False)
    enqueued = add().delay()
    with monkeypatch.context() as patch:
        Failing(patch, claims, "end_row", OperationalError("away"), times=2)
        assert post(enqueued.id).status_code == 503
    assert row(enqueued.id).status == "RUNNING"
    expire(enqueued.id)
    return enqueued.id


def test_a_long_outage_is_no_workers_death(
    unwritten: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    with monkeypatch.context() as patch:
        Failing(patch, claims, "end_row", OperationalError("away"), times=2)
        with pytest.raises(OperationalError):
            heartbeat.HEART.write_deferred()
    heartbeat.HEART.write_deferred()

    found = row(unwritten)
    assert (found.status, found.interruptions) == ("SUCCESSFUL", 0)
    assert f"id={unwritten}: its end is written late" in caplog.text
    assert post(unwritten).status_code == 200
    assert len(ran) == 1


def test_the_next_dispatch_finds_the_end(unwritten: str) -> None:
    claim(add().delay().id)

    assert post(unwritten, attempt=2).status_code == 200
    assert len(ran) == 1
    found = row(unwritten)
    assert (found.status, found.interruptions, found.attempt) == ("SUCCESSFUL", 0, 1)


def test_one_that_was_taken_over_meanwhile_counts_no_death(
    unwritten: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    behind = heartbeat.HEART
    monkeypatch.setattr(claims, "HEART", Heart())
    other = claim(unwritten, attempt=2)
    assert row(unwritten).interruptions == 1

    behind.write_deferred()

    found = row(unwritten)
    assert (found.status, found.interruptions) == ("RUNNING", 0)
    assert f"id={unwritten} was taken over" in caplog.text
    assert other.end(Ending(succeeded=True)) is True


def test_an_end_that_will_never_be_written_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    enqueued = add().delay()
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "holds", lambda lease: False)
        Failing(patch, claims, "end_row", OperationalError("away"), times=2)
        assert post(enqueued.id).status_code == 503
    Failing(monkeypatch, claims, "end_row", DatabaseError("wrong"), times=2)

    heartbeat.HEART.write_deferred()
    heartbeat.HEART.write_deferred()

    assert caplog.text.count("its end is not written") == 1


def test_what_ends_the_process_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    held = claim(add().delay().id)
    with monkeypatch.context() as patch:
        failing = Failing(patch, claims, "end_row", OperationalError("away"), times=3)
        with pytest.raises(StoreUnavailable):
            held.end(Ending(final=False, error=SystemExit()))
    assert failing.left == 1
    heartbeat.HEART.write_deferred()

    [found] = TaskRecord.objects.all()
    assert (found.status, found.lease) == ("READY", "")


# After the end


@pytest.mark.parametrize(
    "error", [InterfaceError("gone"), OperationalError("gone"), ValueError("bug")]
)
def test_the_sweep_after_a_task_does_not_touch_its_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    enqueued = add().delay()
    monkeypatch.setattr(traffic, "_last_pass", float("-inf"))
    failing = Failing(monkeypatch, traffic, "sweep", error)

    assert post(enqueued.id).status_code == 200
    assert failing.left == 0


def test_one_row_that_raises_does_not_stop_the_pass(
    monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    for _ in range(3):
        lost = fail_twice().delay().id
        change(
            lost, status="RUNNING", lease="x", lease_expires_at=ago(), interruptions=2
        )
    Failing(monkeypatch, recovery, "give_up", ValueError("of one row"))

    assert sweeping.sweep().freed == 2
    assert "of one row" in caplog.text


def test_a_database_that_is_away_stops_the_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = fail_twice().delay().id
    change(lost, status="RUNNING", lease="x", lease_expires_at=ago(), interruptions=2)
    Failing(monkeypatch, recovery, "give_up", OperationalError("away"))
    monkeypatch.setattr(
        passes, "get_connection", lambda: type("", (), {"connection": None})
    )

    with pytest.raises(OperationalError):
        sweeping.sweep()


def test_in_a_transaction_nothing_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued = add().delay()
    monkeypatch.setattr(traffic, "_last_pass", float("-inf"))
    failing = Failing(monkeypatch, traffic, "sweep", ValueError("bug"))

    with transaction.atomic():
        assert post(enqueued.id).status_code == 200
    assert failing.left == 1


@needs_server
def test_people_are_served_on_a_new_connection() -> None:
    enqueued = add().delay()
    drop_connection()

    assert cancel(enqueued.id) is True
    assert row(enqueued.id).status == "FAILED"


def test_they_are_told_what_a_good_connection_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    with monkeypatch.context() as patch:
        Failing(patch, QuerySet, "update", OperationalError("locked"))
        with pytest.raises(OperationalError):
            cancel(enqueued.id)
    Failing(monkeypatch, QuerySet, "update", OperationalError("gone"))
    monkeypatch.setattr(connections["default"], "is_usable", lambda: False)

    assert cancel(enqueued.id) is True


@needs_server
def test_in_a_transaction_of_theirs_they_are_told() -> None:
    enqueued = add().delay()

    @transaction.atomic
    def cancel_in_a_transaction() -> None:
        drop_connection()
        cancel(enqueued.id)

    with pytest.raises((DatabaseError, InterfaceError)):
        cancel_in_a_transaction()
    assert row(enqueued.id).status == "READY"


@django_task()
def django_work(a: int) -> int:
    drop_connection()
    return a


@needs_server
def test_a_django_task_is_recorded() -> None:
    result = django_work.enqueue(7)

    assert post(result.id).status_code == 200
    result.refresh()
    assert result.return_value == 7
