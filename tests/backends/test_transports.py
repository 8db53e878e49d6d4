"""The transports of tests, with Django tasks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudtask.dispatch.outcomes import Status
from cloudtask.exceptions import ConfigurationError, TaskNotFound
from cloudtask.framework import task_backends
from cloudtask.testing import memory_queue
from cloudtask.transports import get_transport
from cloudtask.transports.immediate import ImmediateTransport
from cloudtask.transports.memory import MemoryTransport
from tests import tasks as sdk
from tests.backends import tasks
from tests.backends.samples import BACKEND, TASKS, THEIRS, Told, with_options
from tests.tasks import ran

IMMEDIATE = "cloudtask.transports.immediate.ImmediateTransport"


def transport_of(alias: str) -> Any:
    return get_transport(task_backends[alias].settings)


# In memory


def test_tasks_are_kept_until_they_are_drained(told: list[Told]) -> None:
    with memory_queue() as queue:
        tasks.add.enqueue(1, 2)
        tasks.aadd.enqueue(3, 4)
        sdk.add(5, 6).delay()

        assert [task.payload.kind for task in queue.tasks] == [
            "django",
            "django",
            "cloudtask",
        ]
        assert ran == []
        assert [outcome.value for outcome in queue.drain()] == [3, 7, 11]
        assert queue.tasks == []
    assert [each.signal for each in told] == ["enqueued"] * 2 + [
        "started",
        "finished",
    ] * 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"RUN_ONCE": True},
        {"SECRET": "b" * 32, **THEIRS},
        {"URL": "https://a/"},
        # Of these another connection would be made.
        {"RPC_TIMEOUT": timedelta(seconds=3)},
        {"CREDENTIALS": "/nowhere/key.json"},
        {"EMULATOR_HOST": "127.0.0.1:1", **THEIRS},
        {"TRANSPORT": "cloudtask.transports.google.GoogleTransport"},
        {"TRANSPORT": IMMEDIATE},
    ],
)
def test_the_queue_has_the_tasks_of_every_backend(
    settings: Any, options: dict[str, Any]
) -> None:
    settings.TASKS = {
        **TASKS,
        "reports": {"BACKEND": BACKEND, "OPTIONS": options},
    }
    with memory_queue() as queue:
        tasks.add.enqueue(1, 2)
        tasks.add.using(backend="reports").enqueue(3, 4)

        assert [task.payload.backend for task in queue.tasks] == ["default", "reports"]
        queue.drain()
    assert ran == [("add", 1, 2), ("add", 3, 4)]


@pytest.mark.parametrize("options", [{}, {"RUN_ONCE": True}])
def test_each_queue_is_a_new_one(settings: Any, options: dict[str, Any]) -> None:
    settings.TASKS = with_options(**options)
    for number in range(3):
        with memory_queue() as queue:
            assert queue.tasks == []
            tasks.add.enqueue(number)
            assert len(queue.tasks) == 1


def test_a_task_for_later_waits(queue: MemoryTransport) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    tasks.add.using(run_after=tomorrow).enqueue(1, 2)

    assert queue.drain() == ran == []
    assert len(queue.drain(tomorrow)) == 1
    assert ran == [("add", 1, 2)]


def test_a_task_that_asks_for_it_is_run_again(
    queue: MemoryTransport, told: list[Told]
) -> None:
    tasks.come_again.enqueue()
    outcomes = queue.drain()

    assert ran == [1, 2, 3]
    assert [outcome.status for outcome in outcomes] == [
        Status.RETRY,
        Status.RETRY,
        Status.DONE,
    ]
    assert [each.signal for each in told] == [
        "enqueued",
        "started",
        "started",
        "started",
        "finished",
    ]
    assert told[-1].result.return_value == "came"


def test_what_a_task_raises_is_raised(queue: MemoryTransport, told: list[Told]) -> None:
    tasks.fail.enqueue("words of its own")
    with pytest.raises(ValueError, match=r"^words of its own$"):
        queue.drain()

    assert [each.signal for each in told] == ["enqueued", "started"]


def test_a_rejected_task_is_over(queue: MemoryTransport, told: list[Told]) -> None:
    tasks.reject.enqueue()
    [outcome] = queue.drain()

    assert outcome.status is Status.REJECTED
    assert (told[-1].signal, told[-1].status) == ("finished", "FAILED")


def test_what_is_no_task_any_more_is_not_found(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.add.enqueue()
    monkeypatch.delattr(tasks, "add")
    with pytest.raises(TaskNotFound):
        queue.drain()


# In place


@pytest.fixture(params=["setting", "option"])
def immediate(request: pytest.FixtureRequest, settings: Any) -> None:
    """Tasks of the default backend are run where they are enqueued."""
    if request.param == "setting":
        settings.CLOUDTASK = {**settings.CLOUDTASK, "TRANSPORT": IMMEDIATE}
    else:
        settings.TASKS = with_options(TRANSPORT=IMMEDIATE)


@pytest.mark.usefixtures("immediate")
def test_a_task_is_run_where_it_is_enqueued(told: list[Told]) -> None:
    result = tasks.look.using(queue_name="emails").enqueue(1)
    asyncio.run(tasks.aadd.aenqueue(3, 4))

    [context, *rest] = ran
    assert rest == [("aadd", 3, 4)]
    assert context.task_result.id == result.id  # type: ignore[attr-defined]
    assert context.attempt == 1  # type: ignore[attr-defined]
    assert context.request.request is None  # type: ignore[attr-defined]
    assert context.request.queue == "emails"  # type: ignore[attr-defined]
    assert [(each.signal, each.status) for each in told] == [
        ("started", "RUNNING"),
        ("finished", "SUCCESSFUL"),
        ("enqueued", "READY"),
    ] * 2
    assert result.name is not None


@pytest.mark.usefixtures("immediate")
def test_what_a_task_raises_surfaces_where_it_is_enqueued() -> None:
    with pytest.raises(ValueError, match=r"^words of its own$"):
        tasks.fail.enqueue("words of its own")
    with pytest.raises(ValueError, match=r"^words of its own$"):
        asyncio.run(tasks.afail.aenqueue("words of its own"))
    tasks.reject.enqueue()

    assert ran[-1] == "reject"


@pytest.mark.usefixtures("immediate")
def test_an_error_that_the_caller_handles_is_not_the_tasks(told: list[Told]) -> None:
    try:
        raise LookupError("the caller's")
    except LookupError:
        tasks.add.enqueue(1, 2)

    [finished] = [each for each in told if each.signal == "finished"]
    assert finished.result.errors == []


# Which of them


def test_backends_that_connect_alike_share_a_transport(settings: Any) -> None:
    settings.TASKS = {
        **TASKS,
        "alike": {
            "BACKEND": BACKEND,
            "OPTIONS": {"SECRET": "b" * 32, "PROJECT": "other", "RUN_ONCE": True},
        },
        "slow": {"BACKEND": BACKEND, "OPTIONS": {"RPC_TIMEOUT": timedelta(minutes=1)}},
        "key": {"BACKEND": BACKEND, "OPTIONS": {"CREDENTIALS": "key.json"}},
        "place": {"BACKEND": BACKEND, "OPTIONS": {"TRANSPORT": IMMEDIATE}},
    }
    default = transport_of("default")

    assert type(default) is MemoryTransport
    assert transport_of("alike") is transport_of("default") is default
    assert type(transport_of("place")) is ImmediateTransport
    assert len({id(transport_of(a)) for a in ("default", "slow", "key", "place")}) == 4


def test_a_shared_transport_serves_each_by_its_settings(settings: Any) -> None:
    settings.TASKS = {
        **TASKS,
        "other": {
            "BACKEND": BACKEND,
            "OPTIONS": {
                "PROJECT": "other",
                "LOCATION": "us-east1",
                "URL": "https://reports.example/",
            },
        },
    }
    with memory_queue() as queue:
        tasks.add.enqueue()
        tasks.add.using(backend="other").enqueue()
        tasks.add.enqueue()

    routes = [task.sent.route for task in queue.tasks]
    assert [(route.queue_path, route.url) for route in routes] == [
        (
            "projects/project/locations/europe-west1/queues/default",
            "https://shop.example/_tasks/",
        ),
        (
            "projects/other/locations/us-east1/queues/default",
            "https://reports.example/",
        ),
        (
            "projects/project/locations/europe-west1/queues/default",
            "https://shop.example/_tasks/",
        ),
    ]


def test_a_transport_that_is_none_is_told(settings: Any) -> None:
    settings.TASKS = with_options(TRANSPORT="tests.backends.authenticators.no_class")

    with pytest.raises(ConfigurationError) as caught:
        tasks.add.enqueue()
    assert str(caught.value) == (
        "TASKS['default']['OPTIONS']['TRANSPORT']: "
        "'tests.backends.authenticators.no_class' is not a subclass of Transport."
    )
