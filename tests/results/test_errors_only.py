"""RESULTS="errors" keeps what failed for good, and "none" nothing."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, transaction

from cloudtask import CloudTaskRequest, RetryPolicy, task
from cloudtask.conf import get_settings
from cloudtask.dispatch.outcomes import Status
from cloudtask.exceptions import ServiceUnavailable
from cloudtask.framework import TaskResultDoesNotExist, task_backends
from cloudtask.results import error_claims
from cloudtask.results.control import redrive
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import sweep
from cloudtask.stores import NO_STORE, get_store
from cloudtask.transports.memory import MemoryTransport
from tests.backends import tasks as django_tasks
from tests.results.samples import (
    SECRET,
    add,
    claim,
    fail,
    fail_twice,
    leave,
    meta,
    payload,
    queue,
    reject,
    row,
    statements,
    verbs,
)
from tests.results.samples import dispatch as dispatch_payload
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=["errors", "none"])
def mode(request: pytest.FixtureRequest, settings: Any) -> str:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": request.param}
    return str(request.param)


@pytest.fixture
def errors(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "errors"}


def dispatch(task: Any, attempt: int = 1) -> Any:
    """Enqueue a task, and run it."""
    task.delay()
    [sent] = queue().tasks
    queue().clear()
    return sent.payload, dispatch_payload(sent.payload, attempt)


def test_at_most_a_write_is_made_for_what_succeeds(mode: str) -> None:
    with statements() as queries:
        _, outcome = dispatch(add(1, 2))
    assert (outcome.status, ran) == (Status.DONE, [("add", 1, 2)])
    # A task that was redriven may have a row.
    assert verbs(queries) == (["UPDATE"] if mode == "errors" else [])
    assert get_store(get_settings()).keeps is False


def test_nothing_is_asked_for_a_failure_that_is_tried_again(mode: str) -> None:
    with statements() as queries:
        _, outcome = dispatch(fail())
    assert outcome.status is Status.RETRY
    assert verbs(queries) == []


def test_an_error_of_the_queue_surfaces(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> str:
        raise ServiceUnavailable("UNAVAILABLE", queue_path="q")

    monkeypatch.setattr(MemoryTransport, "send", away)
    with pytest.raises(ServiceUnavailable):
        add().delay()
    with pytest.raises(ServiceUnavailable), transaction.atomic():
        add().delay()
    assert not TaskRecord.objects.exists()


def test_django_is_told_that_no_results_are_kept(mode: str) -> None:
    backend = task_backends["default"]
    assert backend.supports_get_result is False
    message = "This backend does not support retrieving or refreshing results."
    with pytest.raises(TaskResultDoesNotExist, match=message):
        backend.get_result("0" * 32)
    with pytest.raises(NotImplementedError, match=message):
        async_to_sync(backend.aget_result)("0" * 32)


def test_what_fails_for_good_is_kept(errors: None) -> None:
    sent, outcome = dispatch(fail_twice(), attempt=2)
    assert outcome.status is Status.FAILED
    found = row(sent.id)

    assert (found.status, found.path) == ("FAILED", fail_twice.path)
    assert (found.kind, found.queue, found.attempt) == ("cloudtask", "default", 2)
    assert found.finished_at is not None
    assert found.worker_id
    assert found.send_at is None
    assert [(each.attempt, each.message) for each in found.errors.all()] == [
        (2, "broken")
    ]


def test_what_is_rejected_is_kept(errors: None) -> None:
    sent, _ = dispatch(reject())
    assert [each.message for each in row(sent.id).errors.all()] == ["never"]


def test_what_had_no_attempt_left_is_kept_without_an_error(errors: None) -> None:
    sent, _ = dispatch(fail_twice(), attempt=3)
    assert row(sent.id).errors.count() == 0
    assert ran == []


def test_a_django_task_that_fails_is_kept(errors: None) -> None:
    django_tasks.fail_twice.enqueue()
    [sent] = queue().tasks
    dispatch_payload(sent.payload, attempt=2)
    found = row(sent.payload.id)

    assert (found.kind, found.backend) == ("django", "default")
    assert found.errors.count() == 1


def test_the_error_of_a_late_attempt_is_kept(errors: None) -> None:
    wanted = payload(fail_twice.path)
    dispatch_payload(wanted, attempt=2)
    TaskRecord.objects.all().delete()
    held = claim(wanted, attempt=25)
    from cloudtask.stores import Ending

    held.end(Ending(error=ValueError("the last")))
    assert [each.message for each in row(wanted.id).errors.all()] == ["the last"]


def test_a_failure_is_found(errors: None) -> None:
    sent, _ = dispatch(fail_twice(), attempt=2)
    stored = get_store(get_settings()).find(sent.id)
    assert stored is not None
    assert (stored.status, len(stored.errors)) == ("FAILED", 1)


def test_a_failure_is_a_row_and_an_error(errors: None) -> None:
    wanted = payload(fail_twice.path)
    with statements() as queries:
        dispatch_payload(wanted, attempt=2)
    assert "INSERT" in verbs(queries)
    assert verbs(queries).count("INSERT") == 2


def test_a_second_failure_of_a_task_adds_its_error(errors: None) -> None:
    wanted = payload(fail_twice.path)
    dispatch_payload(wanted, attempt=2)
    dispatch_payload(wanted, attempt=2)

    assert TaskRecord.objects.count() == 1
    assert row(wanted.id).errors.count() == 2


def test_a_failure_that_cannot_be_kept_is_answered_503(
    errors: None, monkeypatch: pytest.MonkeyPatch, client: Any
) -> None:
    fail_twice().delay()
    [sent] = queue().tasks

    def away(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(error_claims, "keep_error", away)
    response = client.post(
        "/_tasks/",
        sent.sent.body,
        content_type="application/json",
        HTTP_X_TASK_SECRET=SECRET,
        **meta(attempt=2),
    )
    assert response.status_code == 503
    assert not TaskRecord.objects.exists()


def test_what_is_interrupted_is_let_go(mode: str) -> None:
    leave().delay()
    [sent] = queue().tasks
    with pytest.raises(SystemExit):
        dispatch_payload(sent.payload)
    assert not TaskRecord.objects.exists()


def test_a_request_knows_of_no_cancellation_and_no_progress(mode: str) -> None:
    held = claim(payload())
    held.progress(1, 2, "half")
    assert held.is_cancelled is False
    assert held.look() is False
    assert not TaskRecord.objects.exists()


def test_a_failure_can_be_redriven(
    errors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, _ = dispatch(fail_twice(), attempt=2)
    assert redrive(TaskRecord.objects.all()) == 1
    assert sweep().sent == 1
    [again] = queue().tasks
    assert again.payload == sent
    assert again.sent.route.url == "https://shop.example/_tasks/"

    monkeypatch.setattr(fail_twice, "func", lambda request: None)
    queue().drain()
    left = TaskRecord.objects.filter(pk=sent.id).first()
    assert left is None or left.status == "SUCCESSFUL"


def test_none_is_the_store_that_keeps_nothing(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "none"}
    assert get_store(get_settings()) is NO_STORE
    dispatch(fail_twice(), attempt=2)
    assert not TaskRecord.objects.exists()


@task(retry=RetryPolicy(max_attempts=1))
def use_up(
    request: CloudTaskRequest, items: list[Any], *, left: dict[str, Any]
) -> None:
    items.clear()
    left["item"] = object()
    raise ValueError("used up")


@pytest.mark.usefixtures("errors")
def test_a_task_that_changes_its_arguments_is_kept_as_it_arrived() -> None:
    sent, outcome = dispatch(use_up([1, {"a": (2, 3)}], left={"b": 4}))
    assert outcome.status is Status.FAILED
    assert redrive(TaskRecord.objects.filter(pk=sent.id)) == 1
    sweep()

    [again] = queue().tasks
    assert (again.payload.args, again.payload.kwargs) == (
        ([1, {"a": (2, 3)}],),
        {"left": {"b": 4}},
    )


@pytest.mark.parametrize("kept", ["all", "errors"])
def test_a_django_task_may_put_anything_into_its_arguments(
    kept: str, settings: Any
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": kept}
    django_tasks.use_up.enqueue([1])
    [sent] = queue().tasks

    assert dispatch_payload(sent.payload).status is Status.FAILED
    found = TaskRecord.objects.get()
    assert (found.status, found.body) == ("FAILED", sent.sent.body.decode())
    assert found.errors.get().message == "used up"
