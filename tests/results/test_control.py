"""Cancelling, retrying, redriving, running again and pruning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

from cloudtask.conf import GOOGLE_TRANSPORT
from cloudtask.dispatch.outcomes import Status
from cloudtask.emulator import Emulator
from cloudtask.exceptions import EnqueueError, ServiceUnavailable
from cloudtask.results import control, pruning, sending
from cloudtask.results.control import (
    acancel,
    cancel,
    cancel_many,
    redrive,
    retry_now,
    run_again,
)
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.pruning import prune, prune_some, select_prunable
from cloudtask.results.sweeping import sweep
from cloudtask.results.verbs import add_copies
from cloudtask.stores import Ending, Standing
from cloudtask.transports import patience
from cloudtask.transports.memory import MemoryTransport
from cloudtask.transports.patience import Patience
from cloudtask.wire.payload import DJANGO, Payload, Using, encode, new_id
from tests.backends import tasks as django_tasks
from tests.results.samples import (
    AWAY,
    HOUR,
    add,
    ago,
    change,
    claim,
    die,
    dispatch,
    fail_twice,
    needs_postgresql,
    payload_of,
    queue,
    row,
    statements,
    tidy,
    together,
    values,
    verbs,
)
from tests.tasks import ran
from tests.wire import Calls, watch

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


def test_a_queued_task_that_is_cancelled_leaves_the_queue_and_never_runs() -> None:
    one, two = add(1, 2).delay(), django_tasks.add.enqueue(3, 4)
    stays = add(5, 6).delay()
    assert cancel(one.id) is True
    assert cancel(two.id) is True
    assert [each.payload.id for each in queue().tasks] == [stays.id]

    for each in (one, two):
        found = row(each.id)
        assert found.status == "FAILED"
        assert found.cancelled_at == found.finished_at
        assert found.cancelled_at is not None
        assert (found.send_at, found.look_at) == (None, None)
        assert dispatch(each.id).status is Status.DUPLICATE
    assert ran == []


def test_a_task_that_was_not_sent_yet_can_be_cancelled() -> None:
    with transaction.atomic():
        enqueued = add().delay()
        assert cancel(enqueued.id) is True
    TaskRecord.objects.filter(send_at__isnull=False).update(send_at=ago())
    sweep()
    queue().drain()

    assert ran == []
    assert row(enqueued.id).status == "FAILED"


def test_a_task_is_cancelled_from_a_loop() -> None:
    enqueued = add().delay()
    assert async_to_sync(acancel)(enqueued.id) is True
    assert row(enqueued.id).status == "FAILED"


def test_cancelling_needs_no_transaction_of_the_caller() -> None:
    enqueued = add().delay()
    assert not connection.in_atomic_block
    assert cancel(enqueued.id) is True


def test_a_cancelled_task_leaves_its_queue_at_the_commit() -> None:
    earlier = add().delay()
    with transaction.atomic():
        new = add().delay()
        assert set(cancel_many([earlier.id, new.id])) == {earlier.id, new.id}
        assert len(queue().tasks) == 1
    assert queue().tasks == []
    assert row(new.id).status == "FAILED"


def test_a_task_stays_if_its_cancelling_is_rolled_back() -> None:
    enqueued = add(1, 2).delay()
    before = values(enqueued.id)
    with suppress(ZeroDivisionError), transaction.atomic():
        assert cancel(enqueued.id) is True
        raise ZeroDivisionError

    assert values(enqueued.id) == before
    queue().drain()
    assert ran == [("add", 1, 2)]


def test_what_a_task_is_cannot_change_while_it_is_cancelled() -> None:
    enqueued = add().delay()
    with statements() as queries:
        assert cancel(enqueued.id) is True
    # Its status is asked and set by one statement; the other is for the queue.
    assert verbs(queries) == ["UPDATE", "SELECT"]


@needs_postgresql
def test_a_task_that_begins_meanwhile_is_cancelled() -> None:
    for _ in range(10):
        enqueued = add().delay()
        calls = [partial(claim, enqueued.id), partial(cancel, enqueued.id)]
        answers = together(2, lambda calls=calls: calls.pop()())

        assert True in answers
        found = row(enqueued.id)
        assert found.cancelled_at is not None
        assert (found.status, found.finished_at is None) in [
            ("RUNNING", True),
            ("FAILED", False),
        ]


@needs_postgresql
def test_a_task_that_is_to_be_tried_again_meanwhile_is_cancelled() -> None:
    for _ in range(10):
        enqueued = add().delay()
        ending = Ending(final=False, error=ValueError("broken"))
        calls = [partial(claim(enqueued.id).end, ending), partial(cancel, enqueued.id)]
        answers = together(2, lambda calls=calls: calls.pop()())

        assert answers == [True, True]
        found = row(enqueued.id)
        assert found.status == "FAILED"
        assert None not in (found.cancelled_at, found.finished_at)


def test_a_running_task_is_told() -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    assert held.look() is False
    assert cancel(enqueued.id) is True
    assert (held.is_cancelled, row(enqueued.id).status) == (False, "RUNNING")

    assert held.look() is True
    assert held.is_cancelled is True
    assert cancel(enqueued.id) is False
    assert held.end(Ending(succeeded=True, value="partly")) is True
    assert row(enqueued.id).status == "SUCCESSFUL"


def test_task_code_sees_that_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def func(request: Any, *args: Any) -> None:
        seen.append(request.cancelled)
        cancel(request.id)
        seen.append(request.check_cancelled())
        seen.append(request.cancelled)

    monkeypatch.setattr(add, "func", func)
    assert dispatch(add().delay().id).status is Status.DONE
    assert seen == [False, True, True]


@pytest.mark.parametrize("status", ["SUCCESSFUL", "FAILED"])
def test_cancel_leaves_a_finished_task_alone(status: str) -> None:
    enqueued = add().delay()
    claim(enqueued.id).end(Ending(succeeded=status == "SUCCESSFUL", value=1))
    before = values(enqueued.id)

    assert before["status"] == status
    assert cancel(enqueued.id) is False
    assert values(enqueued.id) == before


def test_a_task_that_nobody_knows_cannot_be_cancelled() -> None:
    assert cancel("0" * 32) is False


def test_a_task_is_cancelled_even_if_its_queue_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enqueued = add().delay()

    def silent(*args: Any) -> None:
        raise AWAY

    monkeypatch.setattr(MemoryTransport, "delete", silent)
    assert cancel(enqueued.id) is True
    assert caplog.messages == [
        f"task={add.path} id={enqueued.id} is still in the queue: UNAVAILABLE"
    ]
    assert dispatch(enqueued.id).status is Status.DUPLICATE
    assert ran == []


def test_a_task_of_a_backend_that_is_gone_can_be_cancelled() -> None:
    enqueued = add().delay()
    change(enqueued.id, backend="gone")

    assert cancel(enqueued.id) is True
    assert row(enqueued.id).status == "FAILED"


def test_many_tasks_are_cancelled_and_the_others_stay() -> None:
    waiting, running, told, over, other = (add().delay() for _ in range(5))
    for each in (running, told):
        claim(each.id)
    assert cancel(told.id) is True
    claim(over.id).end(Ending(succeeded=True, value=1))
    before = [values(each.id) for each in (told, over, other)]
    ids = [waiting.id, running.id, told.id, over.id, "0" * 32]

    assert sorted(cancel_many(ids)) == sorted([waiting.id, running.id])

    assert (row(waiting.id).status, row(running.id).status) == ("FAILED", "RUNNING")
    assert row(running.id).finished_at is None
    assert row(running.id).cancelled_at is not None
    assert [values(each.id) for each in (told, over, other)] == before
    left = {each.payload.id for each in queue().tasks}
    assert left == {running.id, told.id, over.id, other.id}
    assert cancel_many(ids) == []
    assert cancel_many([]) == []


def test_a_task_that_was_told_and_waits_now_can_be_cancelled() -> None:
    enqueued = add().delay()
    change(enqueued.id, cancelled_at=ago())

    assert cancel(enqueued.id) is True
    assert row(enqueued.id).status == "FAILED"


def test_many_tasks_are_cancelled_by_few_statements_and_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "CHUNK", 3)
    enqueued = [add().delay() for _ in range(5)]
    calls: list[int] = []
    patiences: list[Patience] = []

    def delete_many(
        self: Any, names: Any, patience: Patience
    ) -> dict[str, EnqueueError]:
        calls.append(len(names))
        patiences.append(patience)
        return {}

    monkeypatch.setattr(MemoryTransport, "delete_many", delete_many)
    with statements() as queries:
        assert len(cancel_many(each.id for each in enqueued)) == 5

    assert verbs(queries) == ["SELECT", "UPDATE", "SELECT", "SELECT"] * 2
    assert calls == [3, 2]
    # An outage is waited for once.
    assert patiences[0] is patiences[1]


def test_a_task_that_ends_while_many_are_cancelled_is_not_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends, waits = add().delay(), add().delay()
    held = claim(ends.id)
    cancel_them = control._cancel

    def cancel_after_its_end(ids: Any, patience: Patience) -> int:
        held.end(Ending(succeeded=True, value=1))
        return cancel_them(ids, patience)

    monkeypatch.setattr(control, "_cancel", cancel_after_its_end)
    assert cancel_many([ends.id, waits.id]) == [waits.id]
    assert row(ends.id).status == "SUCCESSFUL"
    assert row(ends.id).cancelled_at is None


@pytest.fixture
def wire(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """What is asked of a real queue, whose tasks go nowhere."""
    calls = watch(monkeypatch)
    with Emulator(["default"], project="project", location="europe-west1") as emulator:
        settings.CLOUDTASK = {
            **settings.CLOUDTASK,
            "TRANSPORT": GOOGLE_TRANSPORT,
            "EMULATOR_HOST": emulator.host,
            "URL": "http://127.0.0.1:9/_tasks/",
        }
        yield calls


def test_many_tasks_leave_cloud_tasks_by_one_call(wire: Calls) -> None:
    enqueued = [add().schedule(after=HOUR) for _ in range(5)]
    wire.calls.clear()

    assert len(cancel_many(each.id for each in enqueued)) == 5
    assert wire.methods == ["BatchDeleteTasks"]
    patience = sending.make_patience()
    assert not any(sending.is_queued(r, patience) for r in TaskRecord.objects.all())


# Retrying


def test_cloud_tasks_is_asked_to_run_a_task_now(wire: Calls) -> None:
    enqueued = add().schedule(after=HOUR)
    change(enqueued.id, attempt=1)
    wire.calls.clear()

    assert retry_now(TaskRecord.objects.all()) == [enqueued.id]
    [(method, request)] = wire.calls
    assert (method, request.name) == ("RunTask", enqueued.name)


def waiting_again(attempt: int = 1) -> str:
    """A task whose next attempt is in an hour."""
    enqueued = add(1, 2).delay()
    claim(enqueued.id, attempt).end(Ending(final=False, error=ValueError("broken")))
    queue().tasks[-1].due = ago(-HOUR)
    return str(enqueued.id)


def test_a_task_that_waits_for_its_next_attempt_is_dispatched_now() -> None:
    waits = waiting_again()
    queue().drain()
    assert ran == []

    assert retry_now(TaskRecord.objects.all()) == [waits]
    queue().drain()
    assert ran == [("add", 1, 2)]
    assert row(waits).status == "SUCCESSFUL"


def test_only_tasks_that_wait_for_another_attempt_are_retried() -> None:
    scheduled = add().schedule(after=HOUR)
    claim(add().delay().id)
    claim(add().delay().id).end(Ending(error=ValueError("broken")))
    change(waiting_again(), name="")

    assert retry_now(TaskRecord.objects.all()) == []
    [kept] = [each for each in queue().tasks if each.payload.id == scheduled.id]
    assert kept.due > ago(HOUR / 2)


def test_a_task_that_its_queue_has_no_more_is_not_retried() -> None:
    waiting_again()
    queue().clear()

    assert retry_now(TaskRecord.objects.all()) == []


def test_a_task_whose_queue_does_not_answer_waits_still(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits = waiting_again()

    def silent(*args: Any) -> bool:
        raise AWAY

    monkeypatch.setattr(MemoryTransport, "run", silent)
    assert retry_now(TaskRecord.objects.all()) == []
    assert caplog.messages[-1] == f"task={add.path} id={waits} still waits: UNAVAILABLE"
    assert row(waits).status == "READY"


def test_many_are_retried_in_no_longer_than_a_call_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        waiting_again()
    asked: list[float] = []
    clock = [0.0]

    def run(self: Any, name: str, timeout: float) -> bool:
        asked.append(timeout)
        clock[0] += 4
        raise ServiceUnavailable("UNAVAILABLE", queue_path="q")

    monkeypatch.setattr(MemoryTransport, "run", run)
    monkeypatch.setattr(patience, "monotonic", lambda: clock[0])
    assert retry_now(TaskRecord.objects.all()) == []

    # The third one would not be answered either.
    assert asked == [10, 6]


# Redriving


def failed(task: Any = None) -> str:
    enqueued = (task or fail_twice()).delay()
    queue().clear()
    claim(enqueued.id, attempt=2).end(Ending(error=ValueError("broken")))
    assert row(enqueued.id).status == "FAILED"
    return str(enqueued.id)


def test_a_failed_task_runs_again() -> None:
    again = failed(add(1, 2))
    assert redrive(TaskRecord.objects.filter(pk=again)) == 1
    found = row(again)
    assert (found.status, found.attempt, found.interruptions) == ("READY", 0, 0)
    assert (found.started_at, found.finished_at, found.sent_at) == (None, None, None)
    assert found.errors.count() == 1

    assert sweep().sent == 1
    queue().drain()
    assert ran == [("add", 1, 2)]
    assert row(again).status == "SUCCESSFUL"


def test_a_named_task_runs_again_under_another_name() -> None:
    enqueued = tidy().delay()
    queue().tasks.clear()
    claim(enqueued.id).end(Ending(error=ValueError("broken")))
    assert redrive(TaskRecord.objects.all()) == 1
    assert sweep().sent == 1

    assert row(enqueued.id).name != enqueued.name
    queue().drain()
    assert ran == ["tidy"]


def test_a_task_that_killed_its_workers_may_try_again() -> None:
    enqueued = add().delay()
    for _ in range(3):
        die(enqueued.id)
    assert claim(enqueued.id).standing is Standing.FINISHED
    redrive(TaskRecord.objects.all())

    assert claim(enqueued.id).standing is Standing.FREE
    assert row(enqueued.id).interruptions == 0


def test_only_failed_tasks_are_redriven() -> None:
    ready, running, successful = (add().delay() for _ in range(3))
    claim(running.id)
    dispatch(successful.id)
    bodiless = failed()
    change(bodiless, body="")
    before = list(TaskRecord.objects.order_by("pk").values())

    assert redrive(TaskRecord.objects.all()) == 0
    assert list(TaskRecord.objects.order_by("pk").values()) == before
    assert row(ready.id).status == "READY"


def test_redriving_is_one_write() -> None:
    for _ in range(3):
        failed()
    with statements() as queries:
        assert redrive(TaskRecord.objects.all()) == 3
    assert verbs(queries) == ["UPDATE"]


# Running again


def test_a_task_that_runs_again_is_a_new_one_due_now_and_unnamed() -> None:
    payload = Payload(
        id=new_id(),
        task="tests.backends.tasks.add",
        args=(1,),
        kwargs={"b": 2},
        enqueued_at=ago(),
        kind=DJANGO,
        backend="default",
        using=Using("emails", 5, ago()),
    )
    old = TaskRecord.objects.create(
        id=payload.id,
        path=payload.task,
        kind="django",
        backend="default",
        queue="emails",
        name="projects/p/locations/l/queues/emails/tasks/report",
        status="SUCCESSFUL",
        body=encode(payload).decode(),
        url="https://shop.example/_tasks/",
        task_id="report",
        schedule_time=ago(),
        enqueued_at=ago(),
        finished_at=ago(),
        attempt=4,
        return_value=1,
    )
    before = values(old.pk)

    [(over, again)] = run_again(TaskRecord.objects.all()).items()

    assert (over, values(over)) == (old.pk, before)
    found = row(again)
    kept = ("path", "kind", "backend", "queue", "url")
    assert all(getattr(found, name) == getattr(old, name) for name in kept)
    assert (found.status, found.attempt, found.return_value) == ("READY", 0, None)
    assert (found.name, found.task_id, found.schedule_time) == ("", "", None)
    assert (found.finished_at, found.sent_at) == (None, None)
    assert found.enqueued_at > ago(HOUR / 2)
    assert found.send_at is not None
    body = json.loads(found.body)
    assert (body["id"], body["args"], body["kwargs"]) == (again, [1], {"b": 2})
    assert body["using"] == {"queue_name": "emails", "priority": 5}


def test_what_runs_again_is_sent_and_runs() -> None:
    enqueued = add(1, 2).delay()
    queue().drain()
    [again] = run_again(TaskRecord.objects.all()).values()
    assert sweep().sent == 1
    queue().drain()

    assert ran == [("add", 1, 2)] * 2
    assert {row(enqueued.id).status, row(again).status} == {"SUCCESSFUL"}


def test_only_what_is_over_runs_again() -> None:
    add().delay()
    claim(add().delay().id)
    bodiless = failed()
    change(bodiless, body="")

    assert run_again(TaskRecord.objects.all()) == {}
    assert TaskRecord.objects.count() == 3


def test_what_cannot_be_read_does_not_run_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, fine = failed(add(1, 2)), failed(add(3, 4))
    change(broken, body='{"v": 2}')

    assert list(run_again(TaskRecord.objects.all())) == [fine]
    assert TaskRecord.objects.count() == 3
    [told] = [text for text in caplog.messages if broken in text]
    assert told.startswith(f"task={add.path} id={broken} cannot be read: ")
    change(fine, body="no JSON")
    assert run_again(TaskRecord.objects.exclude(status="READY")) == {}


def test_copies_are_made_in_statements_of_a_bounded_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(5):
        failed()
    length = max(len(each.body) for each in TaskRecord.objects.all())

    monkeypatch.setattr(add_copies, "MAX_LENGTH", 2 * length + 1)
    with statements() as queries:
        assert len(run_again(TaskRecord.objects.all())) == 5
    assert verbs(queries) == ["SELECT", "SELECT", "INSERT", "INSERT", "INSERT"]

    monkeypatch.setattr(add_copies, "MAX_LENGTH", 1)
    monkeypatch.setattr(add_copies, "CHUNK", 3)
    with statements() as queries:
        assert len(run_again(TaskRecord.objects.filter(status="FAILED"))) == 5
    chunks = [["SELECT", *["INSERT"] * size] for size in (3, 2)]
    assert verbs(queries) == ["SELECT", *chunks[0], *chunks[1]]


# Pruning


def finished(status: str, since: timedelta) -> str:
    enqueued = add().delay()
    change(enqueued.id, status=status, finished_at=ago(since))
    return str(enqueued.id)


def test_old_rows_are_found_by_how_they_ended() -> None:
    old = finished("SUCCESSFUL", 31 * 24 * HOUR)
    finished("SUCCESSFUL", 29 * 24 * HOUR)
    finished("FAILED", 31 * 24 * HOUR)
    older = finished("FAILED", 91 * 24 * HOUR)
    unfinished = add().delay()
    change(unfinished.id, enqueued_at=ago(999 * 24 * HOUR))
    rows = select_prunable(ago(30 * 24 * HOUR), ago(90 * 24 * HOUR))

    assert set(rows.values_list("pk", flat=True)) == {old, older}


def test_rows_are_deleted_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "CHUNK", 2)
    for hours in range(5):
        finished("FAILED", hours * HOUR)
    stays = add().delay()
    failed_one = failed()
    change(failed_one, finished_at=ago(9 * HOUR))

    chunks = prune(select_prunable(ago(), ago()))
    assert next(chunks) == 2
    assert not TaskRecord.objects.filter(pk=failed_one).exists()
    assert TaskError.objects.count() == 0
    assert list(chunks) == [2, 1]
    assert TaskRecord.objects.filter(pk=stays.id).exists()
    assert TaskRecord.objects.count() == 2
    assert list(prune(select_prunable(ago(), ago()))) == []


def test_some_rows_are_deleted_oldest_first() -> None:
    old = [finished("SUCCESSFUL", hours * HOUR) for hours in (9, 8, 7)]
    failed_ones = [finished("FAILED", hours * HOUR) for hours in (9, 4)]
    add().delay()
    before, failed_before = ago(5 * HOUR), ago(8 * HOUR)

    assert prune_some(before, failed_before, 2) == 2
    left = set(TaskRecord.objects.values_list("pk", flat=True))
    assert left >= {old[1], old[2], failed_ones[1]}
    assert not left & {old[0], failed_ones[0]}
    assert prune_some(before, failed_before, 9) == 2
    assert prune_some(before, failed_before, 9) == 0
    # Failed ones may also be kept for less long.
    assert prune_some(before, ago(), 9) == 1
    assert TaskRecord.objects.count() == 1


def test_a_row_that_is_redriven_meanwhile_is_not_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = failed()
    change(again, finished_at=ago(9 * HOUR))
    rows = select_prunable(ago(), ago())
    delete = type(rows).delete

    def after_redrive(self: Any) -> Any:
        redrive(TaskRecord.objects.filter(pk=again))
        return delete(self)

    with monkeypatch.context() as patch:
        patch.setattr(type(rows), "delete", after_redrive)
        list(prune(rows))
    assert row(again).status == "READY"
    assert payload_of(again).task == fail_twice.path
