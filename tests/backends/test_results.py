"""Results of Django tasks, where a store keeps them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from cloudtask import RetryPolicy
from cloudtask.backends import CloudTasksBackend
from cloudtask.backends.backend import ResultsNotKept
from cloudtask.backends.results import CloudTaskResult
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.exceptions import (
    EnqueueError,
    ServiceUnavailable,
    TaskNotFound,
)
from cloudtask.framework import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
)
from cloudtask.stores import NO_STORE, Ending, Standing, StoredError, StoredResult
from cloudtask.transports.memory import MemoryTransport, StoredTask
from cloudtask.wire.payload import Payload
from tests.backends import tasks
from tests.backends.samples import (
    BACKEND,
    FIRST_SECRET,
    TASKS,
    Told,
    dispatch,
    with_options,
)
from tests.security.sending import Send
from tests.tasks import ran
from tests.unit.keeping import FakeStore, keep_all_in

SOON = datetime.now(UTC) + timedelta(hours=1)
SECRET = {"X-Task-Secret": FIRST_SECRET}
QUEUES = "projects/project/locations/europe-west1/queues"


@pytest.fixture(autouse=True)
def _kept(settings: Any) -> None:
    """Results are asked for."""
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "SECRET": FIRST_SECRET,
        "RESULTS": "all",
    }


@pytest.fixture
def store() -> FakeStore:
    """The store of every backend."""
    store = FakeStore()
    keep_all_in(store)
    return store


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest) -> Callable[..., CloudTaskResult]:
    """Get a result by one method, then by the other."""

    def get(backend: CloudTasksBackend, id: str) -> CloudTaskResult:  # noqa: A002
        if request.param == "sync":
            return backend.get_result(id)
        return async_to_sync(backend.aget_result)(id)

    return get


def stored(sent: StoredTask, **changes: Any) -> StoredResult:
    """What a store would know of a task that has just been enqueued."""
    result = StoredResult(
        payload=sent.payload,
        queue=sent.sent.route.queue,
        name=sent.name,
        status="READY",
        attempt=0,
        worker_id="",
        trace_id=None,
        enqueued_at=sent.payload.enqueued_at,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        cancelled_at=None,
        value=None,
        is_value_dropped=False,
        progress=None,
        errors=(),
    )
    return replace(result, **changes)


# What is enqueued


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_task_is_kept_and_said_to_be_sent(
    queue: MemoryTransport, store: FakeStore, told: list[Told], way: str
) -> None:
    if way == "sync":
        result = tasks.add.enqueue(1, 2)
    else:
        result = async_to_sync(tasks.add.aenqueue)(1, 2)

    [sent] = queue.tasks
    assert store.calls == [
        ("add", sent.payload, None, False),
        ("note_sent", {sent.payload.id: sent.name}),
    ]
    assert (result.id, result.name) == (sent.payload.id, sent.name)
    assert [each.signal for each in told] == ["enqueued"]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_task_that_waits_for_cloud_tasks_is_enqueued_all_the_same(
    store: FakeStore,
    queue: MemoryTransport,
    told: list[Told],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    def refuse(*args: Any) -> str:
        raise ServiceUnavailable("try later", queue_path=f"{QUEUES}/default")

    monkeypatch.setattr(queue, "send", refuse)

    if way == "sync":
        result = tasks.add.enqueue(1, 2)
    else:
        result = async_to_sync(tasks.add.aenqueue)(1, 2)

    assert store.words == ["add"]
    assert (result.name, result.enqueued_at) == (None, None)
    assert result.status is TaskResultStatus.READY
    assert told == []
    assert caplog.record_tuples == [
        (
            "cloudtask",
            logging.WARNING,
            f"task={tasks.add.module_path} id={result.id} is kept, and sent later: "
            "try later",
        )
    ]


def test_a_task_that_was_refused_for_good_is_forgotten(
    store: FakeStore, queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> str:
        raise EnqueueError("invalid", queue_path=f"{QUEUES}/default")

    monkeypatch.setattr(queue, "send", refuse)

    with pytest.raises(EnqueueError, match=r"^invalid$"):
        tasks.add.enqueue(1, 2)

    assert store.words == ["add", "drop"]


# What is dispatched


def test_a_django_task_is_claimed_and_its_end_is_kept(
    send: Send, queue: MemoryTransport, store: FakeStore
) -> None:
    tasks.add.enqueue(1, 2)
    store.calls.clear()

    assert dispatch(send, queue.tasks[0], **SECRET).status == 200

    [(_, claimed, request), end] = store.calls
    assert claimed == queue.tasks[0].payload
    assert request.id == claimed.id
    assert end == ("end", Ending(succeeded=True, value=3))
    assert ran == [("add", 1, 2)]


@pytest.mark.parametrize(
    ("standing", "status", "word"),
    [(Standing.BUSY, 409, "busy"), (Standing.FINISHED, 200, "duplicate")],
)
def test_signals_tell_nothing_of_a_task_that_is_not_free(
    send: Send,
    queue: MemoryTransport,
    store: FakeStore,
    told: list[Told],
    standing: Standing,
    status: int,
    word: str,
) -> None:
    tasks.add.enqueue(1, 2)
    told.clear()
    store.standing = standing

    answer = dispatch(send, queue.tasks[0], **SECRET)

    assert (answer.status, answer.word) == (status, word)
    assert (told, ran) == ([], [])


def test_signals_tell_of_no_end_that_was_not_kept(
    send: Send, queue: MemoryTransport, store: FakeStore, told: list[Told]
) -> None:
    tasks.add.enqueue(1, 2)
    told.clear()
    store.holds = False

    answer = dispatch(send, queue.tasks[0], **SECRET)

    assert (answer.status, answer.word) == (409, "busy")
    assert [each.signal for each in told] == ["started"]


@pytest.mark.usefixtures("store")
def test_an_attempt_without_a_store_is_one_of_a_backend_that_keeps_nothing(
    queue: MemoryTransport, settings: Any
) -> None:
    settings.TASKS = with_options(RESULTS="none")
    tasks.add.enqueue(1, 2)

    attempt = make_attempt(queue.tasks[0].payload, {})

    assert attempt.store is NO_STORE


# What can be had again


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("results", "kept"), [("all", True), ("errors", False), ("none", False)]
)
def test_a_backend_supports_results_where_its_store_keeps_them(
    settings: Any, results: str, kept: bool
) -> None:
    settings.TASKS = with_options(RESULTS=results)
    assert task_backends["default"].supports_get_result is kept


@pytest.mark.usefixtures("store")
def test_a_backend_with_wrong_settings_supports_no_results(settings: Any) -> None:
    settings.TASKS = with_options(RESULTS="some")
    assert task_backends["default"].supports_get_result is False


def test_a_result_is_what_the_store_knows(
    queue: MemoryTransport, store: FakeStore, get: Callable[..., CloudTaskResult]
) -> None:
    tasks.keep.using(queue_name="emails", run_after=SOON).enqueue(1, [2], c=None)
    [sent] = queue.tasks
    at = [SOON + timedelta(seconds=n) for n in range(3)]
    store.results[sent.payload.id] = stored(
        sent,
        status="SUCCESSFUL",
        attempt=3,
        worker_id="web-1",
        started_at=at[0],
        last_attempted_at=at[1],
        finished_at=at[2],
        value={"a": 1},
        errors=(
            StoredError(attempt=1, type="a.First", message="m", traceback="one"),
            StoredError(attempt=2, type="a.Second", message="m", traceback="two"),
        ),
    )

    result = get(task_backends["default"], sent.payload.id)

    assert type(result) is CloudTaskResult
    assert result.id == sent.payload.id
    assert result.task.func is tasks.keep.func
    assert (result.task.queue_name, result.task.run_after) == ("emails", SOON)
    assert (result.args, result.kwargs) == ([1, [2]], {"c": None})
    assert result.backend == "default"
    assert (result.name, result.attempt, result.attempts) == (sent.name, 3, 3)
    assert result.status is TaskResultStatus.SUCCESSFUL
    assert result.enqueued_at == sent.payload.enqueued_at
    assert [result.started_at, result.last_attempted_at, result.finished_at] == at
    assert result.return_value == {"a": 1}
    assert result.worker_ids == ["web-1"]
    assert [(e.exception_class_path, e.traceback) for e in result.errors] == [
        ("a.First", "one"),
        ("a.Second", "two"),
    ]


def test_a_task_that_has_not_started_has_no_worker(
    queue: MemoryTransport, store: FakeStore, get: Callable[..., CloudTaskResult]
) -> None:
    enqueued = tasks.add.enqueue(1, 2)
    store.results[enqueued.id] = stored(queue.tasks[0], name=None)

    result = get(task_backends["default"], enqueued.id)

    assert result.status is TaskResultStatus.READY
    assert (result.worker_ids, result.errors, result.name) == ([], [], None)
    assert result.attempts == 0


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_result_can_be_refreshed(
    queue: MemoryTransport, store: FakeStore, way: str
) -> None:
    enqueued = tasks.add.enqueue(1, 2)
    store.results[enqueued.id] = stored(
        queue.tasks[0], status="SUCCESSFUL", attempt=1, value=3
    )

    if way == "sync":
        enqueued.refresh()
    else:
        async_to_sync(enqueued.arefresh)()

    assert enqueued.status is TaskResultStatus.SUCCESSFUL
    assert enqueued.return_value == 3


@pytest.mark.usefixtures("queue", "store")
def test_a_result_that_nobody_knows_does_not_exist(
    get: Callable[..., CloudTaskResult],
) -> None:
    with pytest.raises(TaskResultDoesNotExist) as caught:
        get(task_backends["default"], "unknown")

    # Unlike where none is kept.
    assert not isinstance(caught.value, ResultsNotKept)
    assert str(caught.value) == "unknown"


def test_the_result_of_another_backend_does_not_exist(
    queue: MemoryTransport,
    store: FakeStore,
    settings: Any,
    get: Callable[..., CloudTaskResult],
) -> None:
    settings.TASKS = {**TASKS, "reports": {"BACKEND": BACKEND}}
    enqueued = tasks.add.using(backend="reports").enqueue(1, 2)
    store.results[enqueued.id] = stored(queue.tasks[0])

    with pytest.raises(TaskResultDoesNotExist, match=f"^{enqueued.id}$"):
        get(task_backends["default"], enqueued.id)
    assert get(task_backends["reports"], enqueued.id).backend == "reports"


def test_a_task_of_no_backend_is_no_result_of_one(
    queue: MemoryTransport, store: FakeStore, get: Callable[..., CloudTaskResult]
) -> None:
    tasks.add.enqueue(1, 2)
    [sent] = queue.tasks
    own = Payload(
        id="f" * 32, task="tests.tasks.add", args=(), kwargs={}, enqueued_at=SOON
    )
    store.results[own.id] = stored(sent, payload=own)

    with pytest.raises(TaskResultDoesNotExist):
        get(task_backends["default"], own.id)


def test_a_result_whose_task_is_gone_does_not_exist(
    queue: MemoryTransport, store: FakeStore, get: Callable[..., CloudTaskResult]
) -> None:
    enqueued = tasks.add.enqueue(1, 2)
    payload = replace(queue.tasks[0].payload, task="shop.tasks.removed")
    store.results[enqueued.id] = stored(queue.tasks[0], payload=payload)

    with pytest.raises(TaskResultDoesNotExist, match=r"'shop\.tasks\.removed'"):
        get(task_backends["default"], enqueued.id)


@pytest.mark.parametrize("results", ["errors", "none"])
def test_where_results_are_not_kept_there_are_none_to_get(
    store: FakeStore,
    queue: MemoryTransport,
    settings: Any,
    get: Callable[..., CloudTaskResult],
    results: str,
) -> None:
    enqueued = tasks.add.enqueue(1, 2)
    store.results[enqueued.id] = stored(queue.tasks[0])
    settings.TASKS = with_options(RESULTS=results)

    with pytest.raises(ResultsNotKept):
        get(task_backends["default"], enqueued.id)


# Where a task goes once more


@pytest.mark.parametrize("queue_name", ["default", "emails"])
def test_the_route_of_a_payload_is_the_one_that_it_was_sent_on(
    queue: MemoryTransport, queue_name: str
) -> None:
    tasks.add.using(queue_name=queue_name).enqueue(1, 2)
    [sent] = queue.tasks

    route = task_backends["default"].route(sent.payload)

    assert route is not sent.sent.route
    for name in ("queue_path", "url", "headers", "deadline", "retry", "oidc"):
        assert getattr(route, name) == getattr(sent.sent.route, name)
    assert route.queue_path == f"{QUEUES}/{queue_name}"
    assert route.headers["X-Task-Backend"] == "default"


def test_the_route_of_a_payload_has_its_tasks_policies(
    backend: CloudTasksBackend, queue: MemoryTransport
) -> None:
    tasks.patient.enqueue()

    route = backend.route(queue.tasks[0].payload)

    assert route.deadline == timedelta(minutes=20)
    assert isinstance(route.retry, RetryPolicy)
    assert route.retry.max_attempts == 7


def test_the_route_follows_the_settings(queue: MemoryTransport, settings: Any) -> None:
    tasks.add.enqueue(1, 2)
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "URL": "https://new.example/_tasks/",
    }

    route = task_backends["default"].route(queue.tasks[0].payload)

    assert queue.tasks[0].sent.route.url != route.url == "https://new.example/_tasks/"


def test_a_task_that_is_gone_has_no_route(
    backend: CloudTasksBackend, queue: MemoryTransport
) -> None:
    tasks.add.enqueue(1, 2)
    payload = replace(queue.tasks[0].payload, task="shop.tasks.removed")

    with pytest.raises(TaskNotFound, match=r"'shop\.tasks\.removed'"):
        backend.route(payload)
