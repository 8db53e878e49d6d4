"""Defining Django tasks, and changing them with using()."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from cloudtask import RetryPolicy
from cloudtask.backends import CloudTasksBackend
from cloudtask.backends.definitions import CloudTask
from cloudtask.exceptions import ConfigurationError
from cloudtask.framework import (
    InvalidTask,
    InvalidTaskBackend,
    Task,
    task,
    task_backends,
)
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.payload import Using
from tests.backends import tasks
from tests.backends.samples import (
    BACKEND,
    IS_BACKPORT,
    IS_PICKLED,
    TAKES_OPTIONS,
    TASKS,
    with_options,
)
from tests.tasks import ran

BANDS = {50: "urgent", 0: "normal", -50: "bulk"}
FAR = timedelta(days=30, minutes=1)


@pytest.fixture
def bands(settings: Any) -> None:
    """A queue for each priority."""
    settings.TASKS = {"default": TASKS["default"]}
    settings.CLOUDTASK = {**settings.CLOUDTASK, "PRIORITY_QUEUES": BANDS}


def refusal(define: Callable[[], object]) -> str:
    with pytest.raises(InvalidTask) as caught:
        define()
    return str(caught.value)


def queues(queue: MemoryTransport) -> list[str]:
    """Names at Google of the queues that tasks went to, and forget them."""
    names = [stored.sent.route.queue for stored in queue.tasks]
    queue.tasks.clear()
    return names


# What the decorator makes


def test_a_task_is_of_the_backends_class() -> None:
    assert type(tasks.add) is type(tasks.aadd) is CloudTask
    assert isinstance(tasks.add, Task)
    assert (tasks.add.name, tasks.add.module_path) == (
        "add",
        "tests.backends.tasks.add",
    )
    assert (tasks.add.timeout, tasks.add.retry) == (None, None)
    assert tasks.add.get_backend() is task_backends["default"]


def test_a_task_can_be_called() -> None:
    assert tasks.add.call(1, b=2) == 3
    assert tasks.aadd.call(1, b=2) == 3


@pytest.mark.skipif(not TAKES_OPTIONS, reason="this @task takes no options")
def test_the_decorator_takes_the_options_of_the_class() -> None:
    policy = RetryPolicy(max_attempts=3)
    defined = task(timeout=timedelta(minutes=5), retry=policy)(tasks.no_arguments)

    assert type(defined) is CloudTask
    assert (defined.timeout, defined.retry) == (timedelta(minutes=5), policy)


@pytest.mark.skipif(TAKES_OPTIONS, reason="this @task takes options")
def test_the_decorator_of_django_6_0_takes_no_options() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'timeout'"):
        task(timeout=timedelta(minutes=5))


def test_a_time_to_run_is_no_option_of_the_decorator() -> None:
    with pytest.raises(TypeError, match="run_after") as caught:
        task(run_after=datetime.now(UTC))(tasks.no_arguments)

    if TAKES_OPTIONS and not IS_BACKPORT:
        assert str(caught.value) == (
            "run_after cannot be defined statically with the @task decorator. "
            "Use .using(run_after=...) to set it dynamically."
        )


def test_what_the_backend_supports(backend: CloudTasksBackend) -> None:
    assert backend.supports_defer is True
    assert backend.supports_async_task is True
    assert backend.supports_get_result is False
    assert backend.supports_priority is False


@pytest.mark.usefixtures("bands")
def test_priorities_are_supported_where_queues_serve_them() -> None:
    assert task_backends["default"].supports_priority is True


def test_priorities_are_supported_by_the_backend_that_has_them(settings: Any) -> None:
    settings.TASKS = {
        "default": TASKS["default"],
        **with_options("bands", PRIORITY_QUEUES=BANDS),
    }

    assert task_backends["default"].supports_priority is False
    assert task_backends["bands"].supports_priority is True
    assert tasks.add.using(backend="bands", priority=7).priority == 7


# What is refused


def generate() -> Any:
    yield ran.append("ran")


async def agenerate() -> Any:
    yield ran.append("ran")


@pytest.mark.parametrize("func", [generate, agenerate])
def test_a_generator_is_refused(func: Any) -> None:
    with pytest.raises(InvalidTask, match=f"{func.__name__} is a generator"):
        task(func)


@pytest.mark.parametrize(
    "defined",
    [
        tasks.send,
        tasks.send.using(priority=0),
        tasks.Letters.write,
        tasks.shadowed_before,
    ],
    ids=["another name", "changed by using()", "in a staticmethod", "replaced"],
)
def test_a_task_that_its_path_does_not_lead_to_is_refused(
    queue: MemoryTransport, defined: Any
) -> None:
    with pytest.raises(InvalidTask, match="does not lead to this task"):
        defined.enqueue()
    with pytest.raises(InvalidTask, match="does not lead to this task"):
        asyncio.run(defined.aenqueue())

    assert queue.tasks == []
    tasks.shadowed.enqueue()
    assert len(queue.tasks) == 1


def local() -> Callable[[], None]:
    def function() -> None: ...

    return function


@pytest.mark.parametrize(
    "function",
    [local(), len, partial(tasks.no_arguments), int],
    ids=["local", "builtin", "partial", "class"],
)
def test_a_function_must_be_at_module_level(function: Any) -> None:
    assert refusal(lambda: task(function)) == (
        "Task function must be defined at a module level."
    )


@pytest.mark.parametrize("function", [tasks.context_second, tasks.no_arguments])
def test_a_context_must_be_the_first_argument(function: Any) -> None:
    assert refusal(lambda: task(takes_context=True)(function)) == (
        "Task takes context but does not have a first argument of 'context'."
    )


def test_a_context_that_is_first_is_accepted() -> None:
    assert task(takes_context=True)(tasks.context_first).takes_context


@pytest.mark.parametrize("priority", [-1, 1, 100])
def test_a_priority_is_refused_without_queues_for_them(priority: int) -> None:
    words = "Backend does not support setting priority of tasks."

    assert refusal(lambda: task(priority=priority)(tasks.no_arguments)) == words
    assert refusal(lambda: tasks.add.using(priority=priority)) == words


@pytest.mark.usefixtures("bands")
@pytest.mark.parametrize("priority", [-101, 101, 3.1, 1000])
def test_a_priority_must_be_a_whole_number_of_the_range(priority: Any) -> None:
    words = "priority must be a whole number between -100 and 100."

    assert refusal(lambda: task(priority=priority)(tasks.no_arguments)) == words
    assert refusal(lambda: tasks.add.using(priority=priority)) == words


def test_a_time_to_run_must_be_aware() -> None:
    assert refusal(lambda: tasks.add.using(run_after=datetime(2026, 1, 31))) == (  # noqa: DTZ001
        "run_after must be an aware datetime."
    )


def test_a_queue_must_be_one_of_the_backends() -> None:
    words = "Queue 'unknown' is not valid for backend."

    assert refusal(lambda: tasks.add.using(queue_name="unknown")) == words
    assert refusal(lambda: task(queue_name="unknown")(tasks.no_arguments)) == words


def test_a_backend_without_queues_takes_any_that_google_takes(settings: Any) -> None:
    settings.TASKS = with_options()

    assert tasks.add.using(queue_name="any-1").queue_name == "any-1"
    assert refusal(lambda: tasks.add.using(queue_name="any_1")) == (
        "tests.backends.tasks.add: 'any_1' is neither an alias of "
        "CLOUDTASK['QUEUE_ALIASES'] nor a queue name: 1 to 100 letters, digits or "
        "hyphens."
    )


def test_a_queue_of_the_backend_may_be_impossible_at_google(settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["e_mails"]}}
    wanted = partial(tasks.add.using, queue_name="e_mails")
    assert "'e_mails' is neither an alias of" in refusal(wanted)

    settings.CLOUDTASK = {**settings.CLOUDTASK, "QUEUE_ALIASES": {"e_mails": "emails"}}
    assert wanted().queue_name == "e_mails"


def test_a_backend_must_exist() -> None:
    with pytest.raises(InvalidTaskBackend) as caught:
        tasks.add.using(backend="unknown")
    assert str(caught.value) == "The connection 'unknown' doesn't exist."

    with pytest.raises(InvalidTaskBackend, match="The connection 'unknown' doesn't"):
        task(backend="unknown")(tasks.no_arguments)


def test_no_time_to_run_is_more_than_30_days_ahead() -> None:
    run_after = datetime.now(UTC) + FAR

    assert refusal(lambda: tasks.add.using(run_after=run_after)) == (
        f"run_after={run_after!r} is more than 30 days ahead, further than Cloud "
        "Tasks schedules."
    )


@pytest.mark.parametrize("delay", [timedelta(days=30), timedelta(-9999), timedelta(0)])
def test_other_times_to_run_are_accepted(delay: timedelta) -> None:
    run_after = datetime.now(UTC) + delay

    assert tasks.add.using(run_after=run_after).run_after == run_after


def test_a_task_that_another_backend_made_is_refused_as_it_is_enqueued(
    backend: CloudTasksBackend, queue: MemoryTransport
) -> None:
    run_after = datetime.now(UTC) + FAR
    far = tasks.add.using(backend="dummy", run_after=run_after)

    assert refusal(lambda: backend.enqueue(far, (), {})) == (
        f"run_after={run_after!r} is more than 30 days ahead, further than Cloud "
        "Tasks schedules."
    )
    assert queue.tasks == []


@pytest.mark.parametrize("timeout", [timedelta(seconds=14), timedelta(hours=1), 60])
def test_a_timeout_must_be_one_of_cloud_tasks(timeout: Any) -> None:
    define = tasks.with_options(timeout=timeout)

    assert refusal(lambda: define(tasks.no_arguments)) == (
        "tests.backends.tasks.no_arguments: timeout= must be a timedelta from 15 "
        f"seconds to 30 minutes, not {timeout!r}."
    )


@pytest.mark.parametrize("retry", [{"max_attempts": 3}, 3, True])
def test_a_retry_must_be_a_policy(retry: Any) -> None:
    define = tasks.with_options(retry=retry)

    assert refusal(lambda: define(tasks.no_arguments)) == (
        "tests.backends.tasks.no_arguments: retry= must be a RetryPolicy, not "
        f"{retry!r}."
    )


# using()


def test_using_gives_another_task() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    changed = tasks.patient.using(queue_name="emails", run_after=soon)

    assert type(changed) is CloudTask
    assert (changed.queue_name, changed.run_after) == ("emails", soon)
    assert changed.func is tasks.patient.func
    assert changed.timeout == tasks.patient.timeout == timedelta(minutes=20)
    assert changed.retry is tasks.patient.retry
    assert (tasks.patient.queue_name, tasks.patient.run_after) == ("default", None)
    assert changed.using() == changed


def test_using_asks_the_backend_that_is_used(settings: Any) -> None:
    settings.TASKS = {
        **TASKS,
        "other": {"BACKEND": BACKEND, "QUEUES": ["reports"]},
    }

    assert refusal(lambda: tasks.add.using(backend="other")) == (
        "Queue 'default' is not valid for backend."
    )
    changed = tasks.add.using(backend="other", queue_name="reports")
    assert changed.get_backend().alias == "other"


def test_a_task_of_another_package_may_be_sent_here(queue: MemoryTransport) -> None:
    there = task(backend="immediate")(tasks.plain)
    assert type(there) is Task

    here = there.using(backend="default")
    here.enqueue(1, b=2)

    assert type(here) is Task
    [stored] = queue.tasks
    assert stored.payload.task == "tests.backends.tasks.add"
    assert stored.sent.route.retry is stored.sent.route.deadline is None


def test_a_task_of_ours_may_be_run_elsewhere() -> None:
    result = tasks.add.using(backend="immediate").enqueue(1, b=2)

    assert result.return_value == 3


# Queues


@pytest.mark.usefixtures("bands")
@pytest.mark.parametrize(
    ("priority", "name"),
    [
        (100, "urgent"),
        (50, "urgent"),
        (49, "normal"),
        (1, "normal"),
        (-1, "bulk"),
        (-50, "bulk"),
        (-51, "bulk"),
        (-100, "bulk"),
    ],
)
def test_a_priority_chooses_a_queue(
    queue: MemoryTransport, priority: int, name: str
) -> None:
    result = tasks.add.using(priority=priority).enqueue()

    [stored] = queue.tasks
    assert queues(queue) == [name]
    assert stored.payload.using == Using("default", priority)
    assert result.task.priority == priority


@pytest.mark.usefixtures("bands")
def test_a_task_without_a_priority_goes_to_its_queue(queue: MemoryTransport) -> None:
    tasks.add.enqueue()
    tasks.add.using(queue_name="emails").enqueue()
    tasks.add.using(priority=0, queue_name="emails").enqueue()

    assert queues(queue) == ["default", "emails", "emails"]


@pytest.mark.usefixtures("bands")
def test_a_priority_and_a_queue_contradict_each_other() -> None:
    words = (
        "tests.backends.tasks.add: priority=7 chooses the queue; leave "
        "queue_name='emails' out, or the priority."
    )

    assert refusal(lambda: tasks.add.using(priority=7, queue_name="emails")) == words
    assert refusal(lambda: tasks.add.using(priority=7).using(queue_name="emails")) == (
        words
    )


def test_a_queue_may_have_another_name_at_google(
    settings: Any, queue: MemoryTransport
) -> None:
    settings.TASKS = {
        "default": {
            "BACKEND": BACKEND,
            "QUEUES": ["default", "emails"],
            "OPTIONS": {"QUEUE_ALIASES": {"emails": "shop-emails-v2"}},
        }
    }
    result = tasks.add.using(queue_name="emails").enqueue()
    tasks.add.enqueue()

    assert queues(queue) == ["shop-emails-v2", "default"]
    assert result.task.queue_name == "emails"


@pytest.mark.usefixtures("bands")
def test_a_priority_may_lead_to_an_alias(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "QUEUE_ALIASES": {"urgent": "express"}}
    with memory_queue() as queue:
        tasks.add.using(priority=60).enqueue()

    assert queues(queue) == ["express"]


# Without time zones


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_without_use_tz_times_are_those_of_the_time_zone(
    settings: Any, queue: MemoryTransport, zone: str
) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = zone
    naive = datetime.now().replace(microsecond=5) + timedelta(days=1)  # noqa: DTZ005
    hours = {"UTC": 0, "Asia/Tokyo": 9}[zone]
    result = tasks.add.using(run_after=naive).enqueue()

    [stored] = queue.tasks
    assert stored.sent.schedule_time is not None
    assert stored.sent.schedule_time == naive.replace(tzinfo=UTC) - timedelta(
        hours=hours
    )
    assert stored.payload.using == Using("default", 0, naive)
    assert result.task.run_after == naive
    assert result.enqueued_at is not None
    assert result.enqueued_at.tzinfo is None


def test_without_use_tz_30_days_are_the_limit_too(settings: Any) -> None:
    settings.USE_TZ = False
    naive = datetime.now() + timedelta(days=32)  # noqa: DTZ005

    assert "is more than 30 days ahead" in refusal(
        lambda: tasks.add.using(run_after=naive)
    )


# Pickling


@pytest.mark.skipif(not IS_PICKLED, reason="Django's tasks cannot be pickled there")
@pytest.mark.parametrize("name", ["add", "aadd", "patient", "look", "reject"])
def test_a_task_can_be_pickled(name: str) -> None:
    original = getattr(tasks, name)
    soon = datetime.now(UTC) + timedelta(hours=1)
    for each in (original, original.using(queue_name="emails", run_after=soon)):
        copy = pickle.loads(pickle.dumps(each))  # noqa: S301

        assert type(copy) is CloudTask
        assert copy == each


@pytest.mark.skipif(IS_PICKLED, reason="Django's tasks can be pickled there")
def test_a_task_cannot_be_pickled_before_django_6_1() -> None:
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(tasks.add)


# Broken settings

BROKEN = {
    "in CLOUDTASK": ({"QUEU": "x"}, {}),
    "in OPTIONS": ({}, {"URLS": "x"}),
    "of a wrong value": ({}, {"RETRY": 5}),
}


@pytest.mark.parametrize("place", BROKEN)
def test_broken_settings_do_not_keep_a_task_from_being_defined(
    settings: Any, place: str
) -> None:
    raw, options = BROKEN[place]
    settings.CLOUDTASK = {**settings.CLOUDTASK, **raw}
    settings.TASKS = with_options(**options)

    # Whatever they would say of queues and priorities.
    defined = task(priority=7, queue_name="any_thing")(tasks.plain)

    assert defined.using(priority=8).priority == 8
    assert task_backends["default"].supports_priority is True
    with pytest.raises(ConfigurationError):
        defined.enqueue()


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"QUEUE": "default"},
            "TASKS['default']['OPTIONS']['QUEUE']: belongs in CLOUDTASK: a Django "
            "task always names its queue. Map it with QUEUE_ALIASES.",
        ),
        (
            {"IMPORTS": []},
            "TASKS['default']['OPTIONS']['IMPORTS']: belongs in CLOUDTASK: tasks are "
            "found once for all backends.",
        ),
        (
            {"RETRY": {"max_attempts": 3}, "RUN_ONCE": True},
            "TASKS['default']['OPTIONS']['RUN_ONCE']: contradicts RETRY: leave one of "
            "them out.",
        ),
        (
            ["SECRET"],
            "TASKS['default']['OPTIONS']: must be a dictionary, not a list.",
        ),
    ],
)
def test_wrong_options_are_told_by_the_first_enqueue(
    settings: Any, options: Any, message: str
) -> None:
    settings.TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": options}}

    with pytest.raises(ConfigurationError) as caught:
        tasks.add.enqueue()
    assert str(caught.value) == message
