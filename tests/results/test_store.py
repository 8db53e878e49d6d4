"""Rows of tasks: made, claimed, ended, and fenced by the claim's lease."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, transaction
from django.db.models import QuerySet

from cloudtask.dispatch.execution import run
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.dispatch.outcomes import Status
from cloudtask.exceptions import StoreUnavailable, TaskAlreadyExists
from cloudtask.results import claims, heartbeat
from cloudtask.results.claims import LeaseClaim
from cloudtask.results.control import cancel
from cloudtask.results.heartbeat import Heart
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.sweeping import Swept, sweep
from cloudtask.results.verbs import claim as claiming
from cloudtask.stores import Ending, Progress, Standing, get_store
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.payload import DJANGO
from tests.backends import tasks as django_tasks
from tests.results.samples import (
    AWAY,
    add,
    advance,
    ago,
    change,
    claim,
    come_again,
    die,
    dispatch,
    expire,
    fail,
    fail_twice,
    leave,
    meta,
    needs_postgresql,
    payload,
    payload_of,
    post,
    queue,
    refuse_sending,
    reject,
    row,
    statements,
    tidy,
    together,
    values,
    verbs,
)
from tests.tasks import ran

pytestmark = [
    pytest.mark.django_db_backend,
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
]


# Enqueueing


def test_a_task_that_is_enqueued_has_a_row() -> None:
    before = datetime.now(UTC)
    enqueued = add(1, b=2).delay()
    found = row(enqueued.id)

    assert (found.path, found.kind, found.backend) == (add.path, "cloudtask", "")
    assert (found.queue, found.name) == ("default", enqueued.name)
    assert (found.status, found.attempt, found.lease) == ("READY", 0, "")
    assert found.body == queue().tasks[0].sent.body.decode()
    assert found.url == "https://shop.example/_tasks/"
    assert (found.task_id, found.schedule_time, found.send_at) == ("", None, None)
    assert before <= found.enqueued_at
    assert found.sent_at is not None
    assert str(found) == f"{add.path} {enqueued.id}"


def test_a_django_task_has_the_same_row() -> None:
    result = django_tasks.add.using(queue_name="emails").enqueue(1, b=2)
    found = row(result.id)

    assert (found.path, found.kind) == ("tests.backends.tasks.add", DJANGO)
    assert (found.backend, found.queue) == ("default", "emails")
    assert found.name == result.name


def test_named_and_scheduled_tasks_keep_how_they_were_sent() -> None:
    at = datetime.now(UTC) + timedelta(days=2)
    found = row(tidy().schedule(at=at).id)

    assert found.schedule_time is not None
    assert abs(found.schedule_time - at) < timedelta(milliseconds=1)
    assert found.task_id.endswith("-tidy")
    assert found.name.endswith(f"/tasks/{found.task_id}")


def test_a_rollback_leaves_no_row() -> None:
    with transaction.atomic():
        enqueued = add().delay()
        assert row(enqueued.id).status == "READY"
        transaction.set_rollback(True)

    assert not TaskRecord.objects.exists()
    assert queue().tasks == []


def test_a_row_is_there_before_its_task_is_sent() -> None:
    with transaction.atomic():
        enqueued = add().delay()
        found = row(enqueued.id)
        assert (found.name, found.sent_at) == ("", None)
        assert found.send_at == found.enqueued_at + timedelta(minutes=1)
        assert queue().tasks == []
    assert row(enqueued.id).name == enqueued.name == queue().tasks[0].name


def test_enqueueing_takes_one_write_in_the_transaction_and_one_after() -> None:
    add().delay()
    with statements() as after:
        with transaction.atomic(), statements() as inside:
            add().delay()
        assert verbs(inside) == ["INSERT"]
    assert verbs(after) == ["INSERT", "UPDATE"]


def test_a_refused_task_leaves_no_row() -> None:
    tidy().delay()
    with pytest.raises(TaskAlreadyExists):
        tidy().delay()
    assert TaskRecord.objects.count() == 1


def test_a_task_is_kept_while_the_queue_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        refuse_sending(patch, AWAY)
        enqueued = add().delay()

    assert enqueued.name is None
    assert caplog.messages == [
        f"task={add.path} id={enqueued.id} is kept, and sent later: UNAVAILABLE"
    ]
    change(enqueued.id, send_at=ago())
    assert sweep().sent == 1
    assert [each.payload.id for each in queue().tasks] == [enqueued.id]


def test_an_rpc_error_after_the_commit_does_not_fail_the_row_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        refuse_sending(patch, AWAY)
        with transaction.atomic():
            enqueued = add(1, 2).delay()

    found = row(enqueued.id)
    assert (found.status, found.name) == ("READY", "")
    assert found.send_at is not None
    change(enqueued.id, send_at=ago())
    assert sweep().sent == 1
    queue().drain()
    assert ran == [("add", 1, 2)]
    assert row(enqueued.id).status == "SUCCESSFUL"


def test_commit_then_crash_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die_now(*args: Any) -> str:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MemoryTransport, "send", die_now)
        with pytest.raises(Killed), transaction.atomic():
            enqueued = add(1, 2).delay()

    found = row(enqueued.id)
    assert (found.status, found.sent_at) == ("READY", None)
    assert found.send_at is not None
    assert sweep() == Swept()
    change(enqueued.id, send_at=ago())
    assert sweep().sent == 1
    queue().drain()
    assert row(enqueued.id).status == "SUCCESSFUL"
    assert ran == [("add", 1, 2)]


def test_a_task_that_runs_before_it_is_noted_as_sent_stays_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send = MemoryTransport.send

    def send_and_run(self: MemoryTransport, task: Any) -> str:
        name = send(self, task)
        self.drain()
        return name

    monkeypatch.setattr(MemoryTransport, "send", send_and_run)
    found = row(add().delay().id)

    assert (found.status, found.return_value) == ("SUCCESSFUL", 9)
    assert found.name in queue()._names._names
    assert found.send_at is None


def test_a_task_that_was_dispatched_is_not_sent_again() -> None:
    """Its sender died before it noted that it had sent it."""
    enqueued = come_again().delay()
    change(enqueued.id, name="", sent_at=None, send_at=ago())
    assert dispatch(enqueued.id).status is Status.RETRY

    assert row(enqueued.id).status == "READY"
    assert sweep().sent == 0


def test_tasks_of_another_database_are_kept_there_and_run() -> None:
    with transaction.atomic(using="other"):
        enqueued = add(1, 2).delay(using="other")
    queue().drain()

    assert ran == [("add", 1, 2)]
    found = get_store_of_now().find(enqueued.id)
    assert found is not None
    assert found.status == "SUCCESSFUL"
    elsewhere = TaskRecord.objects.using("other").filter(pk=enqueued.id)
    assert list(elsewhere.values_list("status", flat=True)) in ([], ["SUCCESSFUL"])


def get_store_of_now() -> Any:
    from cloudtask.conf import get_settings

    return get_store(get_settings())


# Claiming


def test_a_ready_task_is_claimed() -> None:
    enqueued = add().delay()
    held = claim(enqueued.id, attempt=3)
    found = row(enqueued.id)

    assert isinstance(held, LeaseClaim)
    assert held.standing is Standing.FREE
    assert (found.status, found.attempt, found.interruptions) == ("RUNNING", 3, 0)
    assert len(found.lease) == 32
    assert found.worker_id
    assert found.started_at == found.last_attempted_at
    assert found.started_at is not None
    assert found.lease_expires_at is not None
    assert found.lease_expires_at - found.started_at == timedelta(seconds=30)


def test_the_trace_of_the_latest_attempt_is_kept() -> None:
    enqueued = come_again().delay()
    for trace in ("a" * 32, "b" * 32):
        headers = {"HTTP_TRACEPARENT": f"00-{trace}-00f067aa0ba902b7-01"}
        run(make_attempt(payload_of(enqueued.id), {**meta(1), **headers}))
        assert enqueued.result().trace_id == trace

    dispatch(enqueued.id, attempt=3)
    assert enqueued.result().trace_id is None


def test_a_second_attempt_keeps_when_the_first_began() -> None:
    enqueued = come_again().delay()
    dispatch(enqueued.id)
    change(enqueued.id, started_at=ago())
    began = row(enqueued.id).started_at
    claim(enqueued.id, attempt=2)
    found = row(enqueued.id)

    assert found.started_at == began
    assert found.last_attempted_at is not None
    assert began is not None
    assert found.last_attempted_at > began
    assert (found.attempt, found.interruptions) == (2, 0)


def test_a_task_that_another_worker_has_is_busy() -> None:
    enqueued = add().delay()
    claim(enqueued.id)
    before = values(enqueued.id)

    assert claim(enqueued.id).standing is Standing.BUSY
    assert values(enqueued.id) == before


def test_an_expired_lease_is_taken_over() -> None:
    enqueued = add().delay()
    first = claim(enqueued.id)
    expire(enqueued.id)
    lost = row(enqueued.id).lease
    second = claim(enqueued.id, attempt=2)
    found = row(enqueued.id)

    assert second.standing is Standing.FREE
    assert (found.status, found.interruptions, found.attempt) == ("RUNNING", 1, 2)
    assert found.lease not in ("", lost)
    assert first.end(Ending(succeeded=True, value="late")) is False
    assert second.end(Ending(succeeded=True, value="on time")) is True
    assert row(enqueued.id).return_value == "on time"


@pytest.mark.parametrize("status", ["SUCCESSFUL", "FAILED"])
def test_a_finished_task_is_not_claimed(status: str) -> None:
    enqueued = add().delay()
    change(enqueued.id, status=status)

    assert claim(enqueued.id).standing is Standing.FINISHED


def test_a_task_that_was_cancelled_before_it_ran_is_not_claimed() -> None:
    enqueued = add().delay()
    cancel(enqueued.id)

    assert claim(payload_of(enqueued.id)).standing is Standing.FINISHED


def test_a_cancelled_task_whose_worker_died_is_over() -> None:
    enqueued = add().delay()
    claim(enqueued.id)
    cancel(enqueued.id)
    assert claim(enqueued.id).standing is Standing.BUSY
    expire(enqueued.id)

    assert claim(enqueued.id).standing is Standing.FINISHED
    assert row(enqueued.id).status == "FAILED"


def test_a_task_that_was_cancelled_while_it_ran_is_not_run_again() -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    cancel(enqueued.id)
    assert held.end(Ending(final=False, error=ValueError("stopped")))

    assert claim(enqueued.id, attempt=2).standing is Standing.FINISHED
    assert row(enqueued.id).status == "FAILED"


def test_a_task_that_nothing_is_known_of_gets_a_row() -> None:
    unknown = payload()
    held = claim(unknown, attempt=4)
    found = row(unknown.id)

    assert held.standing is Standing.FREE
    assert (found.status, found.path, found.attempt) == ("RUNNING", add.path, 4)
    assert found.lease_expires_at is not None
    assert found.started_at is not None
    assert found.send_at is None
    assert claim(unknown).standing is Standing.BUSY
    assert held.end(Ending(succeeded=True, value=1))
    assert claim(unknown).standing is Standing.FINISHED


def test_a_crash_while_an_unknown_task_is_claimed_leaves_nothing_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unknown = payload()

    class Killed(BaseException):
        pass

    update = QuerySet.update

    def die_at_the_second(self: Any, **changes: Any) -> int:
        if "status" not in changes:
            raise Killed
        return update(self, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "update", die_at_the_second)
        with suppress(Killed):
            claim(unknown)

    stuck = TaskRecord.objects.filter(status="RUNNING", lease_expires_at=None)
    assert not stuck.exists()


def test_of_two_claims_of_an_unknown_task_one_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unknown = payload()
    found_row = claiming.make_dispatched_row

    def after_another(*args: Any) -> TaskRecord:
        with monkeypatch.context() as patch:
            patch.setattr(claiming, "make_dispatched_row", found_row)
            assert claim(unknown).standing is Standing.FREE
        return found_row(*args)

    with monkeypatch.context() as patch:
        patch.setattr(claiming, "make_dispatched_row", after_another)
        assert claim(unknown).standing is Standing.BUSY
    assert TaskRecord.objects.count() == 1


def test_a_task_whose_third_worker_died_is_given_up() -> None:
    enqueued = add().delay()
    for attempt in (1, 2, 3):
        assert row(enqueued.id).interruptions == max(0, attempt - 2)
        die(enqueued.id, attempt)

    assert claim(enqueued.id, attempt=4).standing is Standing.FINISHED
    found = row(enqueued.id)
    assert (found.status, found.interruptions, found.lease) == ("FAILED", 3, "")
    assert found.finished_at is not None
    assert found.lease_expires_at is None
    [error] = found.errors.all()
    assert (error.type, error.message, error.attempt) == (
        "cloudtask.exceptions.WorkerDied",
        "3 workers died while they ran this task.",
        3,
    )
    assert str(error) == "cloudtask.exceptions.WorkerDied in attempt 3"
    assert claim(enqueued.id, attempt=5).standing is Standing.FINISHED
    assert found.errors.count() == 1


def test_a_third_worker_that_lives_is_left_alone() -> None:
    enqueued = add().delay()
    die(enqueued.id)
    die(enqueued.id)
    held = claim(enqueued.id)

    assert claim(enqueued.id).standing is Standing.BUSY
    assert held.end(Ending(succeeded=True)) is True


@needs_postgresql
@pytest.mark.parametrize("start", ["ready", "expired", "unknown"])
def test_of_many_workers_at_once_one_gets_the_task(start: str) -> None:
    wanted = payload()
    if start != "unknown":
        wanted = payload_of(add().delay().id)
    if start == "expired":
        die(wanted.id)
    standings = together(8, lambda: claim(wanted).standing)

    assert sorted(standings) == [Standing.BUSY] * 7 + [Standing.FREE]
    assert row(wanted.id).interruptions == (start == "expired")


@needs_postgresql
def test_many_workers_give_a_task_up_once() -> None:
    enqueued = add().delay()
    for _ in range(3):
        die(enqueued.id)
    wanted = payload_of(enqueued.id)
    standings = together(8, lambda: claim(wanted).standing)

    assert Standing.FREE not in standings
    assert Standing.FINISHED in standings
    assert TaskError.objects.count() == 1


# Ending


def test_a_short_task_takes_two_writes_and_no_reads() -> None:
    wanted = payload_of(add().delay().id)
    with statements() as queries:
        assert dispatch(wanted).status is Status.DONE
    assert verbs(queries) == ["UPDATE", "UPDATE"]


def test_a_task_that_succeeds_is_kept_as_such() -> None:
    enqueued = add(1, 2).delay()
    assert dispatch(enqueued.id).status is Status.DONE
    found = row(enqueued.id)

    assert (found.status, found.return_value) == ("SUCCESSFUL", 3)
    assert (found.lease, found.lease_expires_at) == ("", None)
    assert found.started_at is not None
    assert found.finished_at is not None
    assert found.finished_at >= found.started_at
    assert found.errors.count() == 0


def test_a_task_that_fails_is_ready_until_its_last_attempt() -> None:
    enqueued = fail_twice().delay()
    assert dispatch(enqueued.id).status is Status.RETRY
    between = row(enqueued.id)
    assert (between.status, between.finished_at, between.lease) == ("READY", None, "")
    assert dispatch(enqueued.id, attempt=2).status is Status.FAILED

    found = row(enqueued.id)
    assert found.status == "FAILED"
    assert found.finished_at is not None
    assert found.body == between.body
    assert [(each.attempt, each.type) for each in found.errors.all()] == [
        (1, "builtins.ValueError"),
        (2, "builtins.ValueError"),
    ]
    assert all("raise ValueError" in each.traceback for each in found.errors.all())


def test_a_task_without_attempts_left_fails_without_running() -> None:
    enqueued = fail_twice().delay()
    assert dispatch(enqueued.id, attempt=3).status is Status.FAILED

    assert ran == []
    found = row(enqueued.id)
    assert (found.status, found.errors.count()) == ("FAILED", 0)


def test_a_rejected_task_has_failed() -> None:
    enqueued = reject().delay()
    assert dispatch(enqueued.id).status is Status.REJECTED

    found = row(enqueued.id)
    assert found.status == "FAILED"
    assert [each.message for each in found.errors.all()] == ["never"]


def test_a_task_whose_process_ends_is_let_go() -> None:
    enqueued = leave().delay()
    with pytest.raises(SystemExit):
        dispatch(enqueued.id)

    found = row(enqueued.id)
    assert (found.status, found.lease, found.interruptions) == ("READY", "", 0)
    assert claim(enqueued.id, attempt=2).standing is Standing.FREE


ENDINGS: dict[str, Callable[[Any], object]] = {
    "success": lambda held: held.end(Ending(succeeded=True, value="late")),
    "error": lambda held: held.end(Ending(error=ValueError("late"))),
    "retry": lambda held: held.end(Ending(final=False, error=ValueError("late"))),
    "failure without an error": lambda held: held.end(Ending()),
}


def write_progress() -> None:
    heartbeat.HEART.write_progress()


LATE: dict[str, Callable[[Any], object]] = {
    **ENDINGS,
    "progress": lambda held: (held.progress(1, 2, "late"), write_progress()),
    "look": lambda held: held.look(),
}


@pytest.mark.parametrize("write", LATE.values(), ids=LATE)
@pytest.mark.parametrize("now", ["taken over", "finished", "ready", "gone"])
def test_who_lost_the_lease_writes_nothing(
    write: Callable[[Any], object], now: str
) -> None:
    enqueued = add().delay()
    wanted = payload_of(enqueued.id)
    loser = claim(wanted)
    if now != "gone":
        expire(enqueued.id)
        winner = claim(wanted, attempt=2)
        if now == "finished":
            winner.end(Ending(succeeded=True, value="mine"))
        elif now == "ready":
            winner.end(Ending(final=False))
    else:
        TaskRecord.objects.all().delete()
    before = list(TaskRecord.objects.values())
    answer = write(loser)

    assert list(TaskRecord.objects.values()) == before
    assert TaskError.objects.count() == 0
    if write in ENDINGS.values():
        assert answer is False


def test_a_lost_lease_is_seen_by_looking() -> None:
    enqueued = add().delay()
    loser = claim(enqueued.id)
    assert loser.look() is False
    expire(enqueued.id)
    claim(enqueued.id)

    assert loser.is_cancelled is False
    assert loser.look() is True
    assert loser.is_cancelled is True


def test_a_task_that_lost_its_lease_answers_409(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueued = add().delay()

    def stall(*args: Any, **kwargs: Any) -> int:
        expire(enqueued.id)
        claim(enqueued.id)
        return 5

    monkeypatch.setattr(add, "func", stall)
    response = post(enqueued.id)

    assert (response.status_code, response.content) == (409, b'{"status": "busy"}')
    assert "the lease was lost meanwhile" in caplog.text
    assert row(enqueued.id).status == "RUNNING"


# Peers' bugs


def test_a_retry_during_a_dead_workers_lease_is_answered_409_and_not_lost() -> None:
    enqueued = add(1, 2).delay()
    claim(enqueued.id)
    response = post(enqueued.id, attempt=2)
    assert (response.status_code, response.content) == (409, b'{"status": "busy"}')
    assert ran == []
    expire(enqueued.id)

    response = post(enqueued.id, attempt=3)
    assert (response.status_code, response.content) == (200, b'{"status": "done"}')
    assert ran == [("add", 1, 2)]
    assert row(enqueued.id).status == "SUCCESSFUL"


def test_a_finished_task_is_answered_200_and_not_run_again() -> None:
    enqueued = add().delay()
    assert post(enqueued.id).status_code == 200
    response = post(enqueued.id, attempt=2)

    assert (response.status_code, response.content) == (200, b'{"status": "duplicate"}')
    assert len(ran) == 1


def test_a_renamed_task_does_not_strand_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cloudtask.enqueue import registry

    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    enqueued = add(1, 2).delay()
    del registry._definitions[add.path]
    assert post(enqueued.id).status_code == 404
    found = row(enqueued.id)
    assert (found.status, found.lease) == ("READY", "")

    # What a revision with `aliases=` knows.
    registry._definitions[add.path] = add
    assert post(enqueued.id, attempt=2).status_code == 200
    assert row(enqueued.id).status == "SUCCESSFUL"


@pytest.mark.parametrize("call", ["claim", "end"])
def test_without_a_database_a_dispatch_is_answered_503(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    enqueued = add().delay()
    body = row(enqueued.id)
    assert body

    def away(*args: Any, **kwargs: Any) -> int:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        if call == "claim":
            patch.setattr(claims, "claim_row", away)
        else:
            patch.setattr(LeaseClaim, "_end", away)
        response = post(enqueued.id)

    assert (response.status_code, response.content) == (
        503,
        b'{"status": "unavailable"}',
    )
    assert response["Retry-After"] == "10"
    assert ran == ([] if call == "claim" else [("add", 5, 4)])


def test_the_error_of_a_database_names_its_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    wanted = payload_of(enqueued.id)

    def away(*args: Any, **kwargs: Any) -> int:
        raise DatabaseError("away")

    monkeypatch.setattr(claims, "claim_row", away)
    with pytest.raises(StoreUnavailable) as caught:
        claim(wanted)
    assert str(caught.value) == "The database of results failed: DatabaseError('away')"


# Progress


def seen(id: str) -> tuple[Any, ...]:  # noqa: A002
    found = row(id)
    return found.progress_done, found.progress_total, found.progress_message


def test_progress_is_written_by_the_heart_and_at_the_end(heart: Heart) -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    with statements() as queries:
        held.progress(1, 10, "one")
        held.progress(2, None, "two")
    assert verbs(queries) == []
    with statements() as queries:
        heart.write_progress()
        heart.write_progress()
    assert verbs(queries) == ["UPDATE"]
    assert seen(enqueued.id) == (2, None, "two")

    held.progress(3, 10, "three")
    with statements() as queries:
        held.end(Ending(succeeded=True))
    assert verbs(queries) == ["UPDATE"]
    assert seen(enqueued.id) == (3, 10, "three")


def test_progress_that_could_not_be_written_is_written_at_the_end(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    held.progress(1, 2, "one")

    def away(*args: Any, **kwargs: Any) -> int:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "update", away)
        heart.write_progress()
    held.end(Ending(succeeded=True))

    assert seen(enqueued.id) == (1, 2, "one")


def test_progress_is_not_lost_when_the_task_ends_before_the_heart_writes(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    held.progress(2, 2, "two")
    update = QuerySet.update

    def late(self: Any, **changes: Any) -> int:
        monkeypatch.setattr(QuerySet, "update", update)
        held.end(Ending(succeeded=True))
        return update(self, **changes)

    monkeypatch.setattr(QuerySet, "update", late)
    heart.write_progress()

    assert seen(enqueued.id) == (2, 2, "two")


def test_a_task_that_is_tried_again_keeps_its_progress() -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    held.progress(2, 2, "two")
    held.end(Ending(final=False))

    assert seen(enqueued.id) == (2, 2, "two")


def test_progress_takes_any_message() -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    held.progress(1, None, "a\0\ud800" + "x" * 300)
    held.end(Ending(final=False))
    message = row(enqueued.id).progress_message

    assert message.startswith("a\\0\\ud800xxx")
    assert len(message) == 200


def test_progress_of_a_task_is_found() -> None:
    enqueued = advance(3).delay()
    dispatch(enqueued.id)
    stored = get_store_of_now().find(enqueued.id)

    assert stored is not None
    assert stored.progress == Progress(done=3, total=3, message="step 3")


# Finding


def test_what_is_known_of_a_task_is_found() -> None:
    enqueued = fail_twice().delay()
    dispatch(enqueued.id)
    stored = get_store_of_now().find(enqueued.id)

    assert stored is not None
    assert stored.payload == payload_of(enqueued.id)
    assert (stored.queue, stored.name) == ("default", enqueued.name)
    assert (stored.status, stored.attempt) == ("READY", 1)
    assert stored.is_finished is False
    assert stored.progress is None
    [error] = stored.errors
    assert (error.attempt, error.type, error.message) == (
        1,
        "builtins.ValueError",
        "broken",
    )


def test_nothing_is_found_of_a_task_that_nobody_knows() -> None:
    assert get_store_of_now().find("0" * 32) is None


@pytest.mark.parametrize("limit", [None, 1, 3])
def test_the_errors_of_so_many_attempts_are_kept(
    settings: Any, limit: int | None
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "MAX_ERRORS": limit}
    enqueued = fail().delay()
    wanted = payload_of(enqueued.id)
    last = limit or 20
    for attempt in range(1, last + 3):
        assert dispatch(wanted, attempt).status is Status.RETRY

    kept = [each.attempt for each in row(enqueued.id).errors.all()]
    assert kept == list(range(1, last + 1))


def test_the_final_failure_is_kept_however_many_came_before() -> None:
    enqueued = fail().delay()
    held = claim(enqueued.id, attempt=25)
    assert held.end(Ending(error=ValueError("the last")))

    assert [each.message for each in row(enqueued.id).errors.all()] == ["the last"]


def test_a_task_that_was_sent_is_sent_even_if_that_cannot_be_noted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr("cloudtask.results.store.note_sent", broken)

    enqueued = add().delay()

    assert enqueued.name is not None
    found = row(enqueued.id)
    # The sweeper sends it again, and the second copy finds it over.
    assert (found.name, found.sent_at) == ("", None)
    assert found.send_at is not None
    assert caplog.messages == [
        f"id={enqueued.id} was sent, but that could not be noted: "
        "OperationalError('away')"
    ]


def test_a_task_in_its_callers_transaction_is_asked_there() -> None:
    enqueued = add().delay()
    with transaction.atomic():
        held = claim(enqueued.id)
        assert held.look() is False
        # Which nobody else can see yet.
        cancel(enqueued.id)
        assert held.look() is True
        assert held.end(Ending(succeeded=True)) is True
