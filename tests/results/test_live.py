"""Results through Django's API, and through the emulator and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from cloudtask import CloudTaskRequest, task
from cloudtask.conf import get_settings
from cloudtask.exceptions import ResultNotFound, ServiceUnavailable
from cloudtask.framework import TaskResultDoesNotExist, task_backends
from cloudtask.results import aget_result, get_result, sending
from cloudtask.results.control import acancel, cancel, cancel_many, redrive
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import sweep
from cloudtask.stores import Ending, get_store
from tests.backends import tasks as django_tasks
from tests.live import Live, live
from tests.results.samples import (
    add,
    ago,
    change,
    claim,
    dispatch,
    expire,
    fail_twice,
    needs_postgresql,
    row,
    tidy,
)
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


# Django's API


def test_django_knows_that_results_are_kept() -> None:
    assert task_backends["default"].supports_get_result is True


def test_a_result_is_refreshed() -> None:
    result = django_tasks.add.enqueue(1, b=2)
    assert (str(result.status), result.attempts) == ("READY", 0)
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value
    dispatch(result.id)
    assert str(result.status) == "READY"
    result.refresh()

    assert str(result.status) == "SUCCESSFUL"
    assert result.is_finished
    assert result.return_value == 3
    assert result.errors == []
    assert result.attempts == 1
    assert len(result.worker_ids) == 1
    assert result.enqueued_at is not None
    assert result.started_at is not None
    assert result.started_at == result.last_attempted_at
    assert result.finished_at is not None
    assert result.enqueued_at <= result.started_at <= result.finished_at


def test_a_result_is_got_by_its_id() -> None:
    enqueued = django_tasks.add.using(queue_name="emails", priority=0).enqueue(1, b=2)
    dispatch(enqueued.id, attempt=4)
    result = django_tasks.add.get_result(enqueued.id)

    assert (result.id, result.args, result.kwargs) == (enqueued.id, [1], {"b": 2})
    assert (result.backend, result.task.queue_name) == ("default", "emails")
    assert (result.name, result.attempts) == (enqueued.name, 4)
    assert result.return_value == 3


def test_a_failed_result_has_its_errors() -> None:
    result = django_tasks.fail_twice.enqueue()
    dispatch(result.id)
    result.refresh()
    assert (str(result.status), len(result.errors)) == ("READY", 1)
    dispatch(result.id, attempt=2)
    result.refresh()

    assert str(result.status) == "FAILED"
    assert result.attempts == 2
    assert [each.exception_class_path for each in result.errors] == [
        "builtins.ValueError"
    ] * 2
    assert result.errors[0].exception_class is ValueError
    assert 'raise ValueError("broken")' in result.errors[1].traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


def test_results_come_from_a_loop() -> None:
    enqueued = django_tasks.add.enqueue(1, 2)
    dispatch(enqueued.id)

    async def look() -> tuple[Any, Any]:
        result = await django_tasks.add.aget_result(enqueued.id)
        await enqueued.arefresh()
        return result.return_value, enqueued.return_value

    assert async_to_sync(look)() == (3, 3)


def test_a_missing_result_raises() -> None:
    backend = task_backends["default"]
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result("0" * 32)
    with pytest.raises(TaskResultDoesNotExist):
        async_to_sync(backend.aget_result)("0" * 32)
    result = django_tasks.add.enqueue()
    TaskRecord.objects.all().delete()
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_a_task_of_another_layer_is_no_result_of_a_backend() -> None:
    enqueued = add().delay()
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(enqueued.id)


def test_the_result_of_a_task_that_is_gone_does_not_exist() -> None:
    result = django_tasks.add.enqueue(1, 2)
    dispatch(result.id)
    found = row(result.id)
    change(result.id, body=found.body.replace("tasks.add", "tasks.gone"))
    backend = task_backends["default"]
    with pytest.raises(TaskResultDoesNotExist, match="No Django task is loaded as"):
        backend.get_result(result.id)
    with pytest.raises(TaskResultDoesNotExist):
        async_to_sync(backend.aget_result)(result.id)
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()

    kept = get_result(result.id)
    assert (kept.payload.args, kept.return_value) == ((1, 2), 3)


@pytest.mark.parametrize("body", ["", "[]", '{"v": 2}', "\ud800"])
def test_a_result_without_its_payload_has_no_arguments(body: str) -> None:
    result, enqueued = django_tasks.add.enqueue(1, 2), add(1, 2).delay()
    for each in (result.id, enqueued.id):
        dispatch(each)
        change(each, body=body)
    result.refresh()

    assert result.return_value == 3
    assert task_backends["default"].get_result(result.id).args == []
    kept = get_result(enqueued.id)
    assert (kept.return_value, kept.payload.args) == (3, ())
    assert (kept.payload.task, kept.payload.kind) == (add.path, "cloudtask")


def test_a_value_that_cannot_be_read_is_none() -> None:
    enqueued = add().delay()
    dispatch(enqueued.id)
    change(enqueued.id, return_value={"__type__": "gone"})

    kept = get_result(enqueued.id)
    assert (kept.status, kept.is_value_dropped) == ("SUCCESSFUL", True)


@pytest.mark.parametrize("write", [UUID, lambda id: str(UUID(id))])  # noqa: A006
def test_ids_may_be_written_as_uuids(write: Callable[[str], Any]) -> None:
    result, enqueued = django_tasks.add.enqueue(1, 2), add(1, 2).delay()

    assert task_backends["default"].get_result(write(result.id)).id == result.id
    assert get_result(write(enqueued.id)).payload.id == enqueued.id
    assert async_to_sync(aget_result)(write(enqueued.id)).payload.id == enqueued.id
    assert cancel(write(enqueued.id)) is True
    assert async_to_sync(acancel)(write(enqueued.id)) is False
    assert cancel_many([write(result.id)]) == [result.id]


def test_other_ids_are_not_known() -> None:
    enqueued = add(1, 2).delay()

    for other in (enqueued.id.upper(), f"{enqueued.id} ", "\0", None, 5, b"a"):
        with pytest.raises(ResultNotFound):
            get_result(other)  # type: ignore[arg-type]
        assert cancel(other) is False  # type: ignore[arg-type]


def test_times_are_naive_where_the_project_has_them_so(settings: Any) -> None:
    settings.USE_TZ = False
    result = django_tasks.add.enqueue(1, 2)
    dispatch(result.id)
    result.refresh()

    assert str(result.status) == "SUCCESSFUL"
    assert result.finished_at is not None
    assert result.finished_at.tzinfo is None
    scheduled = add().schedule(after=timedelta(days=1))
    assert row(scheduled.id).schedule_time is not None
    fails = fail_twice().delay()
    dispatch(fails.id)
    assert row(fails.id).errors.count() == 1


# Through the emulator


@pytest.fixture
def start() -> Iterator[Callable[..., Live]]:
    """Return a function that runs the project with these settings."""
    with ExitStack() as stack:
        yield lambda *queues, **raw: stack.enter_context(live(*queues, **raw))


running, stop = threading.Event(), threading.Event()


@task
def wait(request: CloudTaskRequest) -> str:
    """Runs until it is told to stop."""
    running.set()
    stop.wait(10)
    return "cancelled" if request.check_cancelled() else "done"


@pytest.fixture(autouse=True)
def _events() -> None:
    running.clear()
    stop.clear()


def statuses(site: Live) -> list[int | None]:
    return [attempt.status for attempt in site.emulator.attempts]


@needs_postgresql
def test_tasks_of_both_kinds_are_kept_to_their_end(start: Callable[..., Live]) -> None:
    site = start()
    ours = [add(n, n).delay() for n in range(10)]
    theirs = [django_tasks.add.enqueue(n, n) for n in range(10)]
    site.finish()

    store = get_store(get_settings())
    assert [store.find(each.id).return_value for each in ours] == [  # type: ignore[union-attr]
        2 * n for n in range(10)
    ]
    for n, result in enumerate(theirs):
        result.refresh()
        assert result.return_value == 2 * n
    assert statuses(site) == [200] * 20


@needs_postgresql
def test_attempts_and_errors_are_kept(start: Callable[..., Live]) -> None:
    site = start()
    result = django_tasks.third_time_lucky.enqueue()
    enqueued = fail_twice().delay()
    site.finish()
    result.refresh()

    assert result.return_value == "lucky"
    assert result.attempts == 3
    assert len(result.errors) == 2
    found = row(enqueued.id)
    assert (found.status, found.attempt, found.errors.count()) == ("FAILED", 2, 2)


@needs_postgresql
def test_a_task_that_is_delivered_twice_at_once_runs_once(
    start: Callable[..., Live],
) -> None:
    site = start()
    site.emulator.inject("duplicate", times=20)
    ids = [add(n, 0).delay().id for n in range(20)]
    site.finish()

    assert sorted(ran, key=str) == sorted((("add", n, 0) for n in range(20)), key=str)
    assert {row(each).status for each in ids} == {"SUCCESSFUL"}
    assert set(statuses(site)) <= {200, 409}


@needs_postgresql
def test_a_finished_task_is_not_run_again_when_its_answer_is_lost(
    start: Callable[..., Live],
) -> None:
    site = start()
    site.emulator.inject("drop_answer", times=1)
    enqueued = add(1, 2).delay()
    site.emulator.wait_for(lambda: len(site.emulator.attempts) == 2)
    site.finish()

    assert ran == [("add", 1, 2)]
    assert site.emulator.attempts[-1].status == 200
    assert row(enqueued.id).status == "SUCCESSFUL"


@needs_postgresql
@pytest.mark.parametrize("fault", ["unavailable", "executed_then_unavailable"])
def test_a_task_whose_call_fails_is_swept_and_runs_once(
    start: Callable[..., Live], fault: Any
) -> None:
    site = start()
    site.emulator.inject(fault, times=1)
    with transaction.atomic():
        enqueued = add(1, 2).delay()
    site.finish()
    TaskRecord.objects.filter(send_at__isnull=False).update(send_at=ago())
    sweep()
    site.finish()

    assert ran == [("add", 1, 2)]
    found = row(enqueued.id)
    assert (found.status, found.send_at) == ("SUCCESSFUL", None) or (
        fault == "executed_then_unavailable" and found.status == "SUCCESSFUL"
    )


@needs_postgresql
def test_a_dead_workers_task_is_taken_over_after_its_lease(
    start: Callable[..., Live],
) -> None:
    site = start("default:min_backoff=0.2,max_backoff=0.2,max_attempts=100")
    at = timedelta(seconds=1)
    enqueued = add(1, 2).schedule(after=at)
    dead = claim(enqueued.id)
    emulator = site.emulator
    emulator.advance(seconds=2)
    emulator.wait_for(lambda: 409 in statuses(site))
    assert ran == []
    expire(enqueued.id)
    emulator.wait_for(lambda: 200 in statuses(site))

    assert ran == [("add", 1, 2)]
    found = row(enqueued.id)
    assert (found.status, found.interruptions) == ("SUCCESSFUL", 1)
    assert dead.end(Ending(succeeded=True, value="late")) is False
    assert row(enqueued.id).return_value == 3


@needs_postgresql
def test_a_cancelled_task_leaves_the_queue(start: Callable[..., Live]) -> None:
    site = start()
    ours = add().schedule(after=timedelta(days=1))
    theirs = django_tasks.add.enqueue(1, 2)
    site.emulator.wait_for(lambda: statuses(site) == [200])
    assert sending.is_queued(row(ours.id), sending.make_patience()) is True
    assert cancel(ours.id) is True
    assert sending.is_queued(row(ours.id), sending.make_patience()) is False
    assert site.emulator.pending == 0

    assert cancel(theirs.id) is False
    theirs.refresh()
    assert theirs.return_value == 3


@needs_postgresql
def test_a_running_task_is_cancelled(start: Callable[..., Live]) -> None:
    site = start()
    enqueued = wait().delay()
    assert running.wait(10)
    assert cancel(enqueued.id) is True
    stop.set()
    site.finish()

    found = row(enqueued.id)
    assert (found.status, found.return_value) == ("SUCCESSFUL", "cancelled")
    assert found.cancelled_at is not None


@needs_postgresql
def test_an_orphan_is_run_again(start: Callable[..., Live]) -> None:
    site = start()
    enqueued = tidy().schedule(after=timedelta(days=1))
    claim(enqueued.id)
    expire(enqueued.id)
    assert sweep().freed == 0
    sending.delete_many([row(enqueued.id)], sending.make_patience())
    expire(enqueued.id)
    assert sweep().freed == 1
    change(enqueued.id, schedule_time=None)
    assert sweep().sent == 1
    site.finish()

    assert ran == ["tidy"]
    assert row(enqueued.id).status == "SUCCESSFUL"


@needs_postgresql
def test_an_unknown_task_is_not_looked_for_by_half_a_name(
    start: Callable[..., Live],
) -> None:
    site = start()
    enqueued = add(1, 2).schedule(after=timedelta(seconds=1))
    body = row(enqueued.id)
    TaskRecord.objects.all().delete()
    assert body.name
    site.emulator.advance(seconds=2)
    site.finish()

    assert row(enqueued.id).status == "SUCCESSFUL"
    assert sending.is_queued(row(enqueued.id), sending.make_patience()) is False


@needs_postgresql
def test_a_redriven_task_runs_again(start: Callable[..., Live]) -> None:
    site = start()
    enqueued = fail_twice().delay()
    site.finish()
    assert redrive(TaskRecord.objects.filter(pk=enqueued.id)) == 1
    assert sweep().sent == 1
    site.finish()

    assert ran == [1, 2, 1, 2]
    found = row(enqueued.id)
    assert (found.status, found.attempt, found.errors.count()) == ("FAILED", 2, 4)


@needs_postgresql
def test_a_queue_that_does_not_answer_is_an_error_of_ours(
    start: Callable[..., Live], caplog: pytest.LogCaptureFixture
) -> None:
    site = start()
    enqueued = add().schedule(after=timedelta(days=1))
    found = row(enqueued.id)
    site.emulator.inject("unavailable", times=2)

    answer = sending.is_queued(found, sending.make_patience())
    assert isinstance(answer, ServiceUnavailable)
    sending.delete_many([found], sending.make_patience())
    assert f"id={found.pk} is still in the queue" in caplog.text
    assert "UNAVAILABLE" in caplog.text
    assert sending.is_queued(found, sending.make_patience()) is True
