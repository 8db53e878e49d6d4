"""Django tasks through the emulator and back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from django.db import transaction
from google.cloud.tasks_v2 import GetTaskRequest
from google.cloud.tasks_v2.types import Task as GoogleTask

from cloudtask.backends import CloudTasksBackend
from cloudtask.emulator.tasks.admin.decoding import decode
from cloudtask.exceptions import QueueNotFound
from cloudtask.framework import task_backends
from cloudtask.transports import get_transport
from cloudtask.transports.google import transport as google_transport
from tests import tasks as sdk
from tests.backends import tasks
from tests.backends.samples import (
    BACKEND,
    FIRST_SECRET,
    FRAMEWORK,
    SECOND_SECRET,
    THEIRS,
    Told,
    with_options,
)
from tests.live import SERVICE_ACCOUNT, Live, live
from tests.tasks import ran

REPORTS = "reports@project.iam.gserviceaccount.com"
QUEUES = [
    f"{name}:min_backoff=0.01,max_backoff=0.05,max_attempts=10"
    for name in ("default", "emails", "urgent")
]
TOMORROW = timedelta(days=1)


@pytest.fixture
def start(settings: Any) -> Iterator[Callable[..., Live]]:
    """Return a function that runs the project with these settings."""
    with ExitStack() as stack:
        yield lambda **raw: stack.enter_context(live(*QUEUES, **raw))


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[grpc.Channel]:
    """The channels of clients that were made."""
    made: list[grpc.Channel] = []
    open_channel = grpc.insecure_channel

    def open_and_count(*args: Any) -> grpc.Channel:
        made.append(open_channel(*args))
        return made[-1]

    monkeypatch.setattr(grpc, "insecure_channel", open_and_count)
    return made


def statuses(site: Live) -> list[int | None]:
    return [attempt.status for attempt in site.emulator.attempts]


def finish(site: Live, attempts: int) -> None:
    """Wait until nothing is pending, after so many attempts."""
    emulator = site.emulator
    emulator.wait_for(lambda: emulator.idle and len(emulator.attempts) >= attempts)
    assert len(emulator.attempts) == attempts


def fetch(site: Live, result: Any) -> GoogleTask:
    """The task as it is stored, body and all."""
    with site.client() as client:
        request = GetTaskRequest(name=result.name, response_view=GoogleTask.View.FULL)
        return client.get_task(request)


def tomorrow(task: Any, **using: Any) -> Any:
    return task.using(run_after=datetime.now(UTC) + TOMORROW, **using)


# There and back


def test_a_task_runs(start: Callable[..., Live], told: list[Told]) -> None:
    site = start()
    result = tasks.add.enqueue(1, b=2)
    finish(site, 1)

    [attempt] = site.emulator.attempts
    assert ran == [("add", 1, 2)]
    assert (attempt.status, attempt.outcome) == (200, "done")
    assert attempt.name == result.name
    assert attempt.headers["X-Task-Backend"] == "default"
    assert attempt.headers["X-Task-Secret"] == FIRST_SECRET
    told.sort(key=lambda each: each.signal)
    assert [(each.signal, each.result.id) for each in told] == [
        (signal, result.id) for signal in ("enqueued", "finished", "started")
    ]


def test_tasks_come_from_a_loop(start: Callable[..., Live]) -> None:
    site = start()

    async def enqueue() -> list[Any]:
        calls = (tasks.aadd.aenqueue(n, 0) for n in range(10))
        return await asyncio.gather(*calls)

    results = asyncio.run(enqueue())
    finish(site, 10)

    assert sorted(ran, key=str) == [("aadd", n, 0) for n in range(10)]
    assert {result.name for result in results} == {
        attempt.name for attempt in site.emulator.attempts
    }


def test_a_task_counts_its_attempts(
    start: Callable[..., Live], told: list[Told]
) -> None:
    site = start()
    tasks.third_time_lucky.enqueue()
    finish(site, 3)

    assert ran == [(1, None), (2, 500), (3, 500)]
    assert statuses(site) == [500, 500, 200]
    finished = [each for each in told if each.signal == "finished"]
    assert [(each.status, each.result.attempts) for each in finished] == [
        ("SUCCESSFUL", 3)
    ]
    assert finished[0].result.return_value == "lucky"


@pytest.mark.parametrize(
    ("options", "task", "answers"),
    [
        ({"RETRY": {"max_attempts": 3}}, tasks.fail, [500, 500, 200]),
        ({"RUN_ONCE": True}, tasks.fail, [200]),
        ({"RUN_ONCE": True}, tasks.fail_twice, [500, 200]),
        ({}, tasks.fail_twice, [500, 200]),
        ({}, tasks.reject, [200]),
        ({"RUN_ONCE": True}, tasks.afail, [200]),
    ],
)
def test_a_task_that_fails_is_told_once_when_it_is_over(
    settings: Any,
    start: Callable[..., Live],
    told: list[Told],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    task: Any,
    answers: list[int],
) -> None:
    settings.TASKS = with_options(**options)
    site = start()
    task.enqueue()
    finish(site, len(answers))

    assert len(ran) == len(answers)
    assert statuses(site) == answers
    assert [(e.signal, e.status) for e in told if e.signal == "finished"] == [
        ("finished", "FAILED")
    ]
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert [r.name for r in errors] == [FRAMEWORK]


def test_without_a_policy_the_queue_gives_up_and_nobody_is_told(
    start: Callable[..., Live], told: list[Told]
) -> None:
    site = start()
    tasks.fail.enqueue()
    finish(site, 10)

    assert statuses(site) == [500] * 10
    assert [each.signal for each in told if each.signal == "finished"] == []


# What is stored


def test_policy_and_timeout_go_out_with_the_task(start: Callable[..., Live]) -> None:
    site = start()
    task = tomorrow(tasks.patient)
    stored = fetch(site, task.enqueue())

    config = stored.retry_config
    assert (config.max_attempts, config.max_doublings) == (7, 4)
    assert config.min_backoff == timedelta(milliseconds=250)
    assert config.max_backoff == timedelta(minutes=3)
    assert config.max_retry_duration == timedelta(hours=2)
    assert stored.dispatch_deadline == timedelta(minutes=20)
    assert stored.schedule_time == task.run_after


@pytest.mark.parametrize(
    ("options", "deadline", "attempts"),
    [
        ({}, timedelta(minutes=10), None),
        ({"DEADLINE": timedelta(minutes=3)}, timedelta(minutes=3), None),
        ({"RETRY": {"max_attempts": 4}}, timedelta(minutes=10), 4),
        ({"RUN_ONCE": True}, timedelta(minutes=10), 1),
    ],
)
def test_the_options_go_out_with_tasks_without_their_own(
    settings: Any,
    start: Callable[..., Live],
    options: dict[str, Any],
    deadline: timedelta,
    attempts: int | None,
) -> None:
    settings.TASKS = with_options(**options)
    site = start()
    stored = fetch(site, tomorrow(tasks.add).enqueue())

    assert stored.dispatch_deadline == deadline
    has_policy = "retry_config" in stored
    assert (stored.retry_config.max_attempts if has_policy else None) == attempts


def test_a_queue_is_chosen_by_alias_and_priority(
    settings: Any, start: Callable[..., Live]
) -> None:
    settings.TASKS = with_options(
        QUEUE_ALIASES={"mail": "emails"}, PRIORITY_QUEUES={50: "urgent"}
    )
    site = start()
    usings: list[dict[str, Any]] = [{}, {"queue_name": "mail"}, {"priority": 60}]
    for number, using in enumerate(usings, 1):
        tasks.add.using(**using).enqueue()
        finish(site, number)

    queues = [attempt.queue for attempt in site.emulator.attempts]
    assert queues == ["default", "emails", "urgent"]


def test_no_task_gets_a_name_of_ours(
    start: Callable[..., Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []

    def to_message(task: Any, made: Any = google_transport.to_message) -> Any:
        sent.append(made(task))
        return sent[-1]

    monkeypatch.setattr(google_transport, "to_message", to_message)
    site = start()
    results = [tasks.add.enqueue(), asyncio.run(tasks.add.aenqueue())]
    finish(site, 2)

    # Looking a name up would make each call slower.
    assert [request.task.name for request in sent] == ["", ""]
    assert all(request.parent.endswith("/queues/default") for request in sent)
    assert all(result.name.rpartition("/")[2].isdecimal() for result in results)


def test_a_queue_that_is_not_there_is_told(
    settings: Any, start: Callable[..., Live], told: list[Told]
) -> None:
    settings.TASKS = with_options()
    start()
    task = tasks.add.using(queue_name="missing")
    with pytest.raises(QueueNotFound):
        task.enqueue()
    with pytest.raises(QueueNotFound):
        asyncio.run(task.aenqueue())

    assert told == []


# Clients


def test_there_is_one_client_for_all_that_connect_alike(
    settings: Any, start: Callable[..., Live], clients: list[object]
) -> None:
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "plain": {"BACKEND": BACKEND},
        "reports": {
            "BACKEND": BACKEND,
            "OPTIONS": {"SECRET": SECOND_SECRET, "RUN_ONCE": True, **THEIRS},
        },
    }
    site = start()

    def enqueue() -> None:
        for alias in ("default", "plain", "reports"):
            task = tasks.add.using(backend=alias)
            task.enqueue()
            asyncio.run(task.aenqueue())

    enqueue()
    # Each thread has backends of its own.
    threads = [threading.Thread(target=enqueue) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sdk.add().delay()
    finish(site, 25)

    assert len(clients) == 1
    assert statuses(site) == [200] * 25
    transports = [get_transport(task_backends[a].settings) for a in settings.TASKS]
    assert transports[0] is transports[1] is transports[2]


def test_there_is_another_client_for_what_connects_otherwise(
    settings: Any, start: Callable[..., Live], clients: list[object]
) -> None:
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "slow": {"BACKEND": BACKEND, "OPTIONS": {"RPC_TIMEOUT": timedelta(minutes=1)}},
    }
    site = start()
    for _ in range(3):
        tasks.add.enqueue()
        tasks.add.using(backend="slow").enqueue()
    finish(site, 6)

    assert len(clients) == 2
    assert statuses(site) == [200] * 6


# Side by side


def test_two_secrets_serve_two_backends(
    settings: Any, start: Callable[..., Live]
) -> None:
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"SECRET": SECOND_SECRET, **THEIRS}},
    }
    site = start()
    tasks.add.enqueue(1, 2)
    tasks.add.using(backend="reports").enqueue(3, 4)
    finish(site, 2)

    assert sorted(ran, key=str) == [("add", 1, 2), ("add", 3, 4)]
    assert {
        (attempt.headers["X-Task-Backend"], attempt.headers["X-Task-Secret"])
        for attempt in site.emulator.attempts
    } == {("default", FIRST_SECRET), ("reports", SECOND_SECRET)}


def test_two_service_accounts_serve_two_backends(
    settings: Any, start: Callable[..., Live]
) -> None:
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"SAE": REPORTS, **THEIRS}},
    }
    site = start(SECRET=None, SAE=SERVICE_ACCOUNT)
    tasks.add.enqueue(1, 2)
    tasks.add.using(backend="reports").enqueue(3, 4)
    finish(site, 2)
    stored = [
        fetch(site, tomorrow(tasks.add, backend=alias).enqueue())
        for alias in ("default", "reports")
    ]

    assert sorted(ran, key=str) == [("add", 1, 2), ("add", 3, 4)]
    assert statuses(site) == [200, 200]
    assert [each.http_request.oidc_token.service_account_email for each in stored] == [
        SERVICE_ACCOUNT,
        REPORTS,
    ]
    assert all("X-Task-Secret" not in a.headers for a in site.emulator.attempts)


def test_a_backend_may_have_a_view_of_its_own(
    settings: Any, start: Callable[..., Live]
) -> None:
    settings.ROOT_URLCONF = "tests.backends.urls"
    site = start()
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        "reports": {
            "BACKEND": BACKEND,
            "OPTIONS": {
                "SECRET": SECOND_SECRET,
                "URL": f"{site.origin}/_reports/",
                **THEIRS,
            },
        },
    }
    tasks.add.enqueue(1, 2)
    tasks.add.using(backend="reports").enqueue(3, 4)
    finish(site, 2)

    assert sorted(ran, key=str) == [("add", 1, 2), ("add", 3, 4)]
    assert sorted(a.url.removeprefix(site.origin) for a in site.emulator.attempts) == [
        "/_reports/",
        "/_tasks/",
    ]
    assert statuses(site) == [200, 200]


def test_an_alias_may_have_odd_characters(
    settings: Any, start: Callable[..., Live]
) -> None:
    alias = "naïve/é %41\t?"
    settings.TASKS = {
        "default": {"BACKEND": BACKEND},
        alias: {"BACKEND": BACKEND, "OPTIONS": {"SECRET": SECOND_SECRET, **THEIRS}},
    }
    site = start()
    tasks.add.using(backend=alias).enqueue(1, 2)
    finish(site, 1)

    assert ran == [("add", 1, 2)]
    assert statuses(site) == [200]


def test_both_kinds_of_tasks_look_alike(
    start: Callable[..., Live], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cloudtask")
    site = start()
    ours = sdk.add(1, b=2).delay()
    finish(site, 1)
    theirs = tasks.add.enqueue(1, b=2)
    finish(site, 2)

    lines = [r.getMessage() for r in caplog.records if r.name == "cloudtask"]
    assert lines == [
        f"task=tests.tasks.add id={ours.id} attempt=1 status=done reason=''",
        f"task=tests.backends.tasks.add id={theirs.id} attempt=1 status=done reason=''",
    ]


def test_both_kinds_of_tasks_are_decoded_alike(start: Callable[..., Live]) -> None:
    site = start()
    ours = sdk.add(1, b=2).schedule(after=TOMORROW)
    theirs = tomorrow(tasks.add).enqueue(1, b=2)
    first, second = [
        decode(fetch(site, each).http_request.body) for each in (ours, theirs)
    ]

    assert first.format == second.format == "cloudtask"
    assert first.summary == "tests.tasks.add(1, b=2)"
    assert second.summary == "tests.backends.tasks.add(1, b=2)"
    assert first.call is not None
    assert second.call is not None
    assert (first.call.kind, second.call.kind) == ("cloudtask", "django")
    assert (first.call.id, second.call.id) == (ours.id, theirs.id)
    assert (first.call.args, first.call.kwargs) == (
        second.call.args,
        second.call.kwargs,
    )


# Transactions


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
def test_nothing_leaves_the_process_before_the_commit(
    start: Callable[..., Live], told: list[Told]
) -> None:
    site = start()
    with transaction.atomic():
        result = tasks.add.enqueue(1, 2)
        assert result.name is result.enqueued_at is None
        assert site.emulator.pending == 0
        assert told == []
    with transaction.atomic():
        rolled_back = tasks.add.enqueue(3, 4)
        transaction.set_rollback(True)
    finish(site, 1)

    assert ran == [("add", 1, 2)]
    assert result.name == site.emulator.attempts[0].name
    assert rolled_back.name is None
    enqueued = [each for each in told if each.signal == "enqueued"]
    assert enqueued == [Told("enqueued", CloudTasksBackend, result, "READY")]


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
def test_what_the_queue_refuses_surfaces_at_the_commit(
    settings: Any, start: Callable[..., Live], told: list[Told]
) -> None:
    settings.TASKS = with_options()
    start()
    with pytest.raises(QueueNotFound), transaction.atomic():
        result = tasks.add.using(queue_name="missing").enqueue()

    assert result.name is result.enqueued_at is None
    assert told == []
