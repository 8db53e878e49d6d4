"""A task that may only run once never runs again, whatever its worker does."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models.functions import Now

from cloudtask import CloudTaskRequest, task
from cloudtask.conf import get_settings
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.dispatch.outcomes import Status
from cloudtask.results.control import redrive
from cloudtask.results.heartbeat import Heart
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import Swept, sweep
from cloudtask.signals import task_failed
from cloudtask.stores import Claim, Ending, Standing, get_store
from tests.backends import tasks as django_tasks
from tests.backends.samples import TASKS
from tests.results.samples import (
    ago,
    change,
    dispatch,
    expire,
    meta,
    payload_of,
    post,
    queue,
    row,
    statements,
    values,
    verbs,
)
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

DIED = "The worker of this task died, and it may only run once."


@task(run_once=True)
def pay(request: CloudTaskRequest, order: int = 1) -> int:
    ran.append(order)
    return order


@task(run_once=True)
def fail(request: CloudTaskRequest) -> None:
    ran.append("fail")
    raise ValueError("broken")


@task(run_once=True)
def leave(request: CloudTaskRequest) -> None:
    ran.append("leave")
    request.progress(1, 2, "half")
    raise SystemExit


def begin(id: str, attempt: int = 1) -> Claim:  # noqa: A002
    """An attempt begins, as the view has it."""
    asked = make_attempt(payload_of(id), meta(attempt))
    assert asked.request.run_once is True
    return asked.store.claim(asked.payload, asked.request)


def die(id: str) -> None:  # noqa: A002
    assert begin(id).standing is Standing.FREE
    expire(id)


def assert_given_up(id: str, attempt: int = 1) -> None:  # noqa: A002
    found = row(id)
    assert (found.status, found.interruptions) == ("FAILED", 1)
    assert (found.lease, found.lease_expires_at) == ("", None)
    assert (found.send_at, found.look_at) == (None, None)
    assert found.finished_at is not None
    [error] = found.errors.all()
    assert (error.type, error.message, error.attempt) == (
        "cloudtask.exceptions.WorkerDied",
        DIED,
        attempt,
    )


@pytest.fixture
def enqueued() -> Any:
    return pay().delay()


def test_a_task_runs_and_is_over(enqueued: Any) -> None:
    assert post(enqueued.id).status_code == 200
    response = post(enqueued.id)

    assert (response.status_code, response.content) == (200, b'{"status": "duplicate"}')
    assert ran == [1]
    assert row(enqueued.id).status == "SUCCESSFUL"


def test_what_it_raises_is_final() -> None:
    failed = fail().delay()
    assert dispatch(failed.id).status is Status.FAILED
    assert dispatch(failed.id, attempt=2).status is Status.DUPLICATE

    assert ran == ["fail"]
    assert row(failed.id).status == "FAILED"


def test_it_takes_no_more_queries_than_others(enqueued: Any) -> None:
    wanted = payload_of(enqueued.id)
    with statements() as queries:
        dispatch(wanted)

    assert verbs(queries) == ["UPDATE", "UPDATE"]


def test_a_second_delivery_waits_for_the_first_to_end(enqueued: Any) -> None:
    held = begin(enqueued.id)
    before = values(enqueued.id)
    for _ in range(2):
        response = post(enqueued.id)
        assert (response.status_code, response.content) == (409, b'{"status": "busy"}')
    assert values(enqueued.id) == before

    assert held.end(Ending(succeeded=True, value=1)) is True
    assert post(enqueued.id).status_code == 200
    assert ran == []


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_task_whose_worker_died_is_given_up_at_its_next_delivery(
    enqueued: Any, attempt: int, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[dict[str, Any]] = []

    def hear(**kwargs: Any) -> None:
        told.append(kwargs)

    task_failed.connect(hear)
    die(enqueued.id)
    assert dispatch(enqueued.id, attempt).status is Status.DUPLICATE
    task_failed.disconnect(hear)

    assert_given_up(enqueued.id)
    assert ran == []
    assert caplog.messages == [
        f"task={pay.path} id={enqueued.id} status=failed reason={DIED!r}"
    ]
    [heard] = told
    assert (heard["sender"], heard["task_id"], heard["request"]) == (
        pay.path,
        enqueued.id,
        None,
    )
    assert str(heard["error"]) == DIED


def test_a_task_whose_worker_died_is_given_up_by_the_sweeper(enqueued: Any) -> None:
    die(enqueued.id)
    queue().clear()

    assert sweep() == Swept(freed=1)
    assert_given_up(enqueued.id)
    assert queue().tasks == []


def test_a_worker_that_lives_keeps_its_task(enqueued: Any, heart: Heart) -> None:
    held = begin(enqueued.id)
    expire(enqueued.id)
    heart.prolong()

    assert sweep() == Swept()
    assert begin(enqueued.id, attempt=2).standing is Standing.BUSY
    assert held.end(Ending(succeeded=True)) is True


def test_a_worker_that_was_only_slow_writes_nothing_any_more(enqueued: Any) -> None:
    held = begin(enqueued.id)
    expire(enqueued.id)
    begin(enqueued.id)
    before = values(enqueued.id)

    assert held.end(Ending(succeeded=True, value=1)) is False
    assert values(enqueued.id) == before
    assert_given_up(enqueued.id)


def test_a_sweeper_that_does_not_know_the_task_has_nobody_run_it_again(
    enqueued: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloudtask.enqueue import registry

    die(enqueued.id)
    queue().clear()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "_definitions", {})
        assert sweep() == Swept(freed=1)
    assert row(enqueued.id).status == "READY"

    # Another process, which knows it, sends it, and runs what it has.
    assert sweep() == Swept(sent=1)
    [sent] = queue().drain()
    assert sent.status is Status.DUPLICATE
    assert_given_up(enqueued.id)
    assert ran == []


def test_a_worker_that_is_told_to_stop_fails_its_task() -> None:
    left = leave().delay()
    with pytest.raises(SystemExit):
        dispatch(left.id)

    found = row(left.id)
    assert (found.status, found.interruptions) == ("FAILED", 0)
    assert [error.type for error in found.errors.all()] == ["builtins.SystemExit"]
    assert (found.progress_done, found.progress_message) == (1, "half")
    assert dispatch(left.id).status is Status.DUPLICATE
    assert ran == ["leave"]


def test_people_may_have_it_run_again(enqueued: Any) -> None:
    die(enqueued.id)
    dispatch(enqueued.id)
    assert redrive(TaskRecord.objects.filter(pk=enqueued.id)) == 1
    assert sweep() == Swept(sent=1)

    assert dispatch(enqueued.id).status is Status.DONE
    assert ran == [1]


def test_a_cancelled_task_whose_worker_died_is_over(enqueued: Any) -> None:
    die(enqueued.id)
    change(enqueued.id, cancelled_at=ago())
    sweep()

    assert_given_up(enqueued.id)


@pytest.mark.parametrize("where", ["OPTIONS", "CLOUDTASK"])
def test_a_django_task_runs_once_by_the_settings(settings: Any, where: str) -> None:
    if where == "OPTIONS":
        default = TASKS["default"] | {"OPTIONS": {"RUN_ONCE": True}}
        settings.TASKS = {**TASKS, "default": default}
    else:
        settings.CLOUDTASK = {**settings.CLOUDTASK, "RUN_ONCE": True}
    result = django_tasks.add.enqueue(1, 2)
    die(result.id)
    queue().clear()

    assert sweep() == Swept(freed=1)
    assert_given_up(result.id)
    result.refresh()
    assert [str(result.status), ran] == ["FAILED", []]


def test_a_policy_of_one_attempt_outlives_a_worker(settings: Any) -> None:
    """It says how often a task that fails is tried, and no more."""
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RETRY": {"max_attempts": 1}}
    result = django_tasks.add.enqueue(1, 2)
    wanted = payload_of(result.id)
    asked = make_attempt(wanted, meta())
    get_store(get_settings()).claim(wanted, asked.request)
    expire(result.id)

    assert dispatch(result.id).status is Status.DONE
    assert TaskRecord.objects.filter(finished_at__lte=Now()).count() == 1
