"""Cancelling, redriving and pruning."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

from cloudtask.exceptions import ServiceUnavailable
from cloudtask.execution import Status
from cloudtask.results import control
from cloudtask.results.control import acancel, cancel, prunable, prune, redrive
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.sweeping import sweep
from cloudtask.stores import Ending, Standing
from cloudtask.transports.memory import MemoryTransport
from tests.backends import tasks as django_tasks
from tests.results.samples import (
    HOUR,
    add,
    ago,
    change,
    claim,
    die,
    dispatch,
    fail_twice,
    payload_of,
    queue,
    row,
    statements,
    tidy,
    values,
    verbs,
)
from tests.tasks import ran

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
        assert found.send_at is None
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
        raise ServiceUnavailable("UNAVAILABLE", queue_path="q")

    monkeypatch.setattr(MemoryTransport, "delete", silent)
    assert cancel(enqueued.id) is True
    assert caplog.messages == [
        f"task={add.path} id={enqueued.id} is in the queue still: UNAVAILABLE"
    ]
    assert dispatch(enqueued.id).status is Status.DUPLICATE
    assert ran == []


def test_a_task_of_a_backend_that_is_gone_can_be_cancelled() -> None:
    enqueued = add().delay()
    change(enqueued.id, backend="gone")

    assert cancel(enqueued.id) is True
    assert row(enqueued.id).status == "FAILED"


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
    rows = prunable(ago(30 * 24 * HOUR), ago(90 * 24 * HOUR))

    assert set(rows.values_list("pk", flat=True)) == {old, older}


def test_rows_are_deleted_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CHUNK", 2)
    for hours in range(5):
        finished("FAILED", hours * HOUR)
    stays = add().delay()
    failed_one = failed()
    change(failed_one, finished_at=ago(9 * HOUR))

    chunks = prune(prunable(ago(), ago()))
    assert next(chunks) == 2
    assert not TaskRecord.objects.filter(pk=failed_one).exists()
    assert TaskError.objects.count() == 0
    assert list(chunks) == [2, 1]
    assert TaskRecord.objects.filter(pk=stays.id).exists()
    assert TaskRecord.objects.count() == 2
    assert list(prune(prunable(ago(), ago()))) == []


def test_a_row_that_is_redriven_meanwhile_is_not_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = failed()
    change(again, finished_at=ago(9 * HOUR))
    rows = prunable(ago(), ago())
    delete = type(rows).delete

    def after_redrive(self: Any) -> Any:
        redrive(TaskRecord.objects.filter(pk=again))
        return delete(self)

    with monkeypatch.context() as patch:
        patch.setattr(type(rows), "delete", after_redrive)
        list(prune(rows))
    assert row(again).status == "READY"
    assert payload_of(again).task == fail_twice.path
