"""The decorator, definitions, and tasks that are enqueued or run in place."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.test import override_settings
from django.utils import timezone as django_timezone

import cloudtask.decorators
from cloudtask import CloudTaskRequest, RetryPolicy, Task, TaskDefinition
from cloudtask.enqueue import registry
from cloudtask.enqueue.decorators import task
from cloudtask.exceptions import (
    ConfigurationError,
    EncodeError,
    InvalidTask,
    PayloadTooLarge,
    TaskAlreadyExists,
)
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import MemoryTransport
from tests import tasks
from tests.tasks import aadd, add, ran

QUEUES = "projects/project/locations/europe-west1/queues"


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


@pytest.fixture
def configure() -> Iterator[Callable[..., MemoryTransport]]:
    """Return a function that changes settings and gives their queue."""
    contexts: list[Any] = []

    def configure(**changes: Any) -> MemoryTransport:
        raw = {**django_settings.CLOUDTASK, **changes}
        for context in (override_settings(CLOUDTASK=raw), memory_queue()):
            entered = context.__enter__()
            contexts.append(context)
        assert isinstance(entered, MemoryTransport)
        return entered

    yield configure
    for context in reversed(contexts):
        context.__exit__(None, None, None)


def clean(request: CloudTaskRequest) -> None:
    """Called as one of tests.tasks is."""


# Definitions


@pytest.mark.parametrize(
    "decorate",
    [
        task,  # @task
        task(),  # @task()
        task(queue="emails"),  # @task(...)
        cloudtask.decorators.task,  # As dj-cloud-task's README imports it.
    ],
)
def test_every_form_of_the_decorator_makes_a_definition(
    decorate: Callable[..., Any],
) -> None:
    def greet(request: CloudTaskRequest, name: str) -> str:
        """Say hello."""
        return f"Hello {name}"

    definition = decorate(greet)

    assert isinstance(definition, TaskDefinition)
    assert definition.func is greet
    assert definition.__name__ == "greet"
    assert definition.__doc__ == "Say hello."
    assert definition("Ada").execute() == "Hello Ada"


def test_the_path_is_the_functions_own_unless_another_is_given() -> None:
    assert add.path == "tests.tasks.add"
    assert task(path="shop.total")(clean).path == "shop.total"


def test_definitions_and_tasks_show_what_they_are_and_no_arguments() -> None:
    assert repr(add) == "<TaskDefinition tests.tasks.add>"
    assert repr(add(1, 2)) == "<Task tests.tasks.add>"


def test_a_definition_that_was_replaced_cannot_be_enqueued(
    queue: MemoryTransport,
) -> None:
    first = task(clean)
    second = task(clean)

    with pytest.raises(
        InvalidTask,
        match=r"^tests\.unit\.test_tasks\.clean: this definition was replaced by a "
        r"later one\.$",
    ):
        first().delay()
    second().delay()

    assert len(queue.tasks) == 1


def test_a_definition_whose_path_is_anothers_cannot_be_enqueued(
    queue: MemoryTransport,
) -> None:
    claimant = task(path="tests.tasks.clean")(clean)

    with pytest.raises(
        InvalidTask,
        match=r"^tests\.unit\.test_tasks\.clean: the task path 'tests\.tasks\.clean' "
        r"belongs to tests\.tasks\.clean\. Give one of them another path=\.$",
    ):
        claimant().delay()
    assert queue.tasks == []


def test_definitions_share_no_headers(queue: MemoryTransport) -> None:
    given = {"X-Shop": "1"}
    first, second = task(headers=given)(clean), task(path="shop.other")(clean)
    first.headers["X-More"] = "2"
    given["X-Late"] = "3"
    second().delay()

    assert second.headers == {"Content-Type": "application/json"}
    assert queue.tasks[0].sent.route.headers == second.headers
    assert set(first.headers) == {"Content-Type", "X-Shop", "X-More"}


# Binding


def test_a_call_binds_arguments_and_runs_nothing() -> None:
    bound = add(1, b=2)

    assert isinstance(bound, Task)
    assert (bound.args, bound.kwargs) == ((1,), {"b": 2})
    assert ran == []


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        # A name that the function does not know.
        ((), {"c": 1}, "got an unexpected keyword argument 'c'"),
        # More than it takes.
        ((1, 2, 3), {}, "too many positional arguments"),
        # The same argument twice.
        ((1,), {"a": 1}, "multiple values for argument 'a'"),
        # The request is not the caller's to give.
        ((), {"request": None}, "multiple values for argument 'request'"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        add(*args, **kwargs)
    assert str(caught.value) == f"tests.tasks.add(): {message}"


def test_a_missing_argument_is_refused_at_the_call() -> None:
    @task(path="shop.greet")
    def greet(request: CloudTaskRequest, name: str) -> None: ...

    with pytest.raises(TypeError) as caught:
        greet()
    assert str(caught.value) == "shop.greet(): missing a required argument: 'name'"


# Queue and URL


@pytest.mark.parametrize(
    ("options", "settings", "expected"),
    [
        # The setting's, where the task names none.
        ({}, {"QUEUE": "default"}, "default"),
        # The task's own.
        ({"queue": "emails"}, {}, "emails"),
        # An alias stands for a queue at Google.
        ({"queue": "mail"}, {"QUEUE_ALIASES": {"mail": "emails-v2"}}, "emails-v2"),
        # The setting may be an alias, too.
        ({}, {"QUEUE_ALIASES": {"default": "main"}}, "main"),
        # A priority chooses the highest band that it reaches.
        ({"priority": 60}, {"PRIORITY_QUEUES": {0: "low", 50: "high"}}, "high"),
    ],
)
def test_a_task_knows_its_queue(
    configure: Callable[..., MemoryTransport],
    options: dict[str, Any],
    settings: dict[str, Any],
    expected: str,
) -> None:
    queue = configure(**settings)
    bound = task(**options)(clean)()
    enqueued = bound.delay()

    assert bound.queue == enqueued.queue == expected
    assert queue.tasks[0].sent.route.queue_path == f"{QUEUES}/{expected}"


def test_a_queue_that_no_queue_can_be_named_is_refused(queue: MemoryTransport) -> None:
    with pytest.raises(InvalidTask) as caught:
        task(queue="e_mails")(clean)().delay()

    assert str(caught.value) == (
        "'e_mails' is neither an alias of CLOUDTASK['QUEUE_ALIASES'] nor a queue "
        "name: 1 to 100 letters, digits or hyphens."
    )
    assert queue.tasks == []


def test_the_url_of_a_task_that_was_refused_may_still_change(
    queue: MemoryTransport,
) -> None:
    definition = task(named="once")(clean)
    definition().delay()
    refused = definition()
    with pytest.raises(TaskAlreadyExists):
        refused.delay()
    with pytest.raises(TaskAlreadyExists):
        async_to_sync(refused.adelay)()

    refused.url = "https://other.example/"

    assert refused.url == "https://other.example/"


def test_the_queue_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        add().queue = "other"


def test_the_url_is_the_settings_then_the_definitions_then_the_tasks(
    queue: MemoryTransport,
) -> None:
    definition = task(url="https://mysite.com/emails-tasks")(clean)
    bound = definition()
    changed = definition()
    changed.url = "https://mysite.com/tasks"

    assert add().url == "https://shop.example/_tasks/"
    assert bound.url == "https://mysite.com/emails-tasks"
    assert changed.url == "https://mysite.com/tasks"
    for each in (add(), bound, changed):
        each.delay()
    assert [stored.sent.route.url for stored in queue.tasks] == [
        "https://shop.example/_tasks/",
        "https://mysite.com/emails-tasks",
        "https://mysite.com/tasks",
    ]


def test_the_url_cannot_be_changed_once_the_task_is_enqueued(
    queue: MemoryTransport,
) -> None:
    bound = add()
    bound.delay()

    with pytest.raises(InvalidTask) as caught:
        bound.url = "https://mysite.com/tasks"
    assert str(caught.value) == (
        "tests.tasks.add: the URL cannot change, the task is enqueued."
    )


def test_a_url_without_a_scheme_is_refused() -> None:
    bound = add()

    with pytest.raises(InvalidTask) as caught:
        bound.url = "mysite.com/tasks"
    assert str(caught.value) == (
        "tests.tasks.add: the URL must start with https:// and a host, "
        "not 'mysite.com/tasks'."
    )
    assert bound.url == "https://shop.example/_tasks/"


# Enqueueing


def test_delay_hands_the_arguments_over(queue: MemoryTransport) -> None:
    enqueued = add(1, b=2).delay()

    [stored] = queue.tasks
    assert (stored.payload.task, stored.payload.kind) == (
        "tests.tasks.add",
        "cloudtask",
    )
    assert (stored.payload.args, stored.payload.kwargs) == ((1,), {"b": 2})
    assert stored.payload.id == enqueued.id
    assert stored.name == enqueued.name
    assert enqueued.queue == "default"
    assert enqueued.schedule_time is None


def test_the_time_of_enqueueing_is_carried_along(queue: MemoryTransport) -> None:
    before = datetime.now(UTC)
    add().delay()

    assert before <= queue.tasks[0].payload.enqueued_at <= datetime.now(UTC)


def test_nothing_is_opened_to_enqueue_outside_a_transaction(
    queue: MemoryTransport,
) -> None:
    # Without the mark for it, pytest-django refuses every connection.
    add().delay()
    asyncio.run(_adelay(add()))

    assert len(queue.tasks) == 2


@pytest.mark.parametrize(
    "enqueue",
    [
        Task.delay,
        Task.push,  # dj-cloud-task's other word.
        async_to_sync(Task.adelay),
        async_to_sync(Task.apush),
    ],
)
def test_each_verb_enqueues(
    queue: MemoryTransport, enqueue: Callable[..., Any]
) -> None:
    enqueued = enqueue(add(a=1))

    assert [stored.name for stored in queue.tasks] == [enqueued.name]


def test_code_on_a_loop_may_use_the_sync_verb(
    queue: MemoryTransport,
) -> None:
    async def main() -> str | None:
        return add(a=1).delay().name

    assert asyncio.run(main()) == queue.tasks[0].name


def test_one_task_can_be_enqueued_twice(queue: MemoryTransport) -> None:
    bound = add()

    assert bound.delay().id != bound.delay().id
    assert len({stored.name for stored in queue.tasks}) == 2


def test_an_argument_that_no_payload_carries_is_refused_at_once(
    queue: MemoryTransport,
) -> None:
    with pytest.raises(
        EncodeError, match=r"^tests\.tasks\.add: args\[0\] is a object, "
    ):
        add(object()).delay()
    assert queue.tasks == []


def test_a_task_too_large_to_store_is_refused_at_once(queue: MemoryTransport) -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        tasks.fail("x" * 1_048_576).delay()

    assert caught.value.size > caught.value.limit == 1_048_569
    assert str(caught.value) == (
        f"tests.tasks.fail takes {caught.value.size} bytes as a stored task; Cloud "
        "Tasks takes at most 1048569. Store the data elsewhere and pass its key."
    )
    assert queue.tasks == []


def test_changed_settings_are_seen(configure: Callable[..., MemoryTransport]) -> None:
    first = configure(PROJECT="one", QUEUE="first")
    add().delay()
    second = configure(PROJECT="two", QUEUE="second", URL="https://two.example/")
    add().delay()

    assert first.tasks[0].sent.route.queue_path.startswith("projects/one/")
    assert second.tasks[0].sent.route.queue_path == (
        "projects/two/locations/europe-west1/queues/second"
    )
    assert second.tasks[0].sent.route.url == "https://two.example/"


def test_a_task_without_any_queue_is_refused() -> None:
    raw = {**django_settings.CLOUDTASK, "QUEUE": None}
    with (
        override_settings(CLOUDTASK=raw),
        pytest.raises(ConfigurationError, match=r"^CLOUDTASK\['QUEUE'\]: is not set"),
    ):
        add().delay()


@pytest.mark.parametrize(
    ("options", "settings", "expected"),
    [
        # Google's default: nothing is sent.
        ({}, {}, (None, None)),
        # The settings' for tasks without.
        (
            {},
            {"DEADLINE": timedelta(minutes=5), "RETRY": {"max_attempts": 3}},
            (timedelta(minutes=5), RetryPolicy(max_attempts=3)),
        ),
        # The task's own goes first.
        (
            {"deadline": timedelta(minutes=1), "retry": RetryPolicy(max_attempts=9)},
            {"DEADLINE": timedelta(minutes=5), "RETRY": {"max_attempts": 3}},
            (timedelta(minutes=1), RetryPolicy(max_attempts=9)),
        ),
    ],
)
def test_deadline_and_retry_are_the_tasks_or_the_settings(
    configure: Callable[..., MemoryTransport],
    options: dict[str, Any],
    settings: dict[str, Any],
    expected: tuple[object, object],
) -> None:
    queue = configure(**settings)
    task(**options)(clean)().delay()

    sent = queue.tasks[0].sent
    assert (sent.route.deadline, sent.route.retry) == expected


def test_options_and_content_type_are_sent_as_headers(queue: MemoryTransport) -> None:
    task(headers={"X-Shop": "berlin"})(clean)().delay()

    assert queue.tasks[0].sent.route.headers == {
        "Content-Type": "application/json",
        "X-Shop": "berlin",
    }


# Scheduling


@pytest.mark.parametrize(
    "at",
    [
        # As django.utils.timezone.now() gives.
        datetime.now(UTC) + timedelta(days=2),
        # In another zone.
        datetime.now(timezone(timedelta(hours=-8))) + timedelta(days=2),
        # Past: at once.
        datetime(2020, 1, 1, tzinfo=UTC),
        # To the last moment that Cloud Tasks takes.
        datetime.now(UTC) + timedelta(days=30),
    ],
)
@pytest.mark.parametrize("schedule", [Task.schedule, async_to_sync(Task.aschedule)])
def test_a_time_is_kept_in_utc(
    queue: MemoryTransport, schedule: Callable[..., Any], at: datetime
) -> None:
    enqueued = schedule(add(), at=at)

    assert enqueued.schedule_time == at
    assert enqueued.schedule_time.tzinfo is UTC
    assert queue.tasks[0].sent.schedule_time == queue.tasks[0].due == at


def test_a_time_from_now_is_counted_from_now(queue: MemoryTransport) -> None:
    before = datetime.now(UTC)
    enqueued = add().schedule(after=timedelta(hours=1))
    after = datetime.now(UTC)

    assert before <= enqueued.schedule_time - timedelta(hours=1) <= after


NAIVE = datetime(2026, 1, 31, 12)  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize(
    ("times", "message"),
    [
        # Nobody can tell when a naive time is.
        (
            {"at": NAIVE},
            "schedule(at=datetime.datetime(2026, 1, 31, 12, 0)) must be an aware "
            "datetime, as django.utils.timezone.now() gives.",
        ),
        # Text is no time.
        (
            {"at": "2026-01-31T12:00:00Z"},
            "schedule(at='2026-01-31T12:00:00Z') must be an aware datetime, as "
            "django.utils.timezone.now() gives.",
        ),
        # Neither.
        ({}, "schedule() takes at= or after=, one of them."),
        # Both.
        (
            {"at": django_timezone.now(), "after": timedelta(0)},
            "schedule() takes at= or after=, one of them.",
        ),
        # A number of what?
        ({"after": 60}, "schedule(after=60) must be a timedelta."),
    ],
)
def test_a_time_that_is_none_is_refused(
    queue: MemoryTransport, times: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidTask) as caught:
        add().schedule(**times)
    assert str(caught.value) == f"tests.tasks.add: {message}"
    assert queue.tasks == []


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        # A year ahead.
        ({"at": datetime(2999, 1, 1, tzinfo=UTC)}, "at=datetime.datetime(2999,"),
        # The same, from now.
        ({"after": timedelta(days=31)}, "after=datetime.timedelta(days=31)"),
        # Beyond the calendar.
        ({"after": timedelta.max}, "after=datetime.timedelta(days=999999999,"),
    ],
)
def test_a_time_too_far_ahead_is_refused(
    queue: MemoryTransport, times: dict[str, Any], shown: str
) -> None:
    with pytest.raises(InvalidTask) as caught:
        add().schedule(**times)
    text = str(caught.value)
    assert text.startswith(f"tests.tasks.add: schedule({shown}")
    assert text.endswith(
        ") is more than 30 days ahead, further than Cloud Tasks schedules."
    )
    assert queue.tasks == []


# Named tasks


def test_an_unnamed_task_never_has_a_name_of_ours(queue: MemoryTransport) -> None:
    for _ in range(100):
        add(1, 2).delay()

    assert {stored.sent.task_id for stored in queue.tasks} == {None}
    assert len({stored.name for stored in queue.tasks}) == 100


@pytest.mark.parametrize(
    ("named", "key", "readable"),
    [
        # One name for all tasks of the function.
        (True, "", "tests-unit-test_tasks-clean"),
        # A fixed one.
        ("nightly_2026-01-31", "nightly_2026-01-31", "nightly_2026-01-31"),
    ],
)
def test_a_named_task_has_a_hash_in_front_of_its_name(
    queue: MemoryTransport, named: bool | str, key: str, readable: str
) -> None:
    enqueued = task(named=named)(clean)().delay()

    digest = hashlib.sha256(f"tests.unit.test_tasks.clean\0{key}".encode()).hexdigest()
    assert enqueued.name == f"{QUEUES}/default/tasks/{digest[:16]}-{readable}"


def test_a_callable_names_a_task_by_its_arguments_defaults_included(
    queue: MemoryTransport,
) -> None:
    seen: list[dict[str, Any]] = []

    def name(**arguments: Any) -> str:
        seen.append(arguments)
        return f"user-{arguments['user_id']}"

    @task(named=name)
    def welcome(
        request: CloudTaskRequest, user_id: int, /, language: str = "en"
    ) -> None: ...

    first = welcome(7).delay()
    second = welcome(8, language="de").delay()

    assert seen == [
        {"user_id": 7, "language": "en"},
        {"user_id": 8, "language": "de"},
    ]
    assert str(first.name).endswith("-user-7")
    assert str(second.name).endswith("-user-8")
    assert queue.tasks[0].payload.kwargs == {}  # Defaults are not sent.


def test_a_callable_gets_further_keywords_as_the_function_does(
    queue: MemoryTransport,
) -> None:
    @task(named=lambda **arguments: "-".join(sorted(arguments)))
    def note(request: CloudTaskRequest, **values: int) -> None: ...

    enqueued = note(b=1, a=2).delay()

    assert str(enqueued.name).endswith("-a-b")


def test_two_functions_of_one_name_in_two_modules_do_not_collide(
    queue: MemoryTransport,
) -> None:
    ours = task(named=True)(clean)
    fixed = task(named="nightly", path="shop.nightly")(clean)
    other = task(named="nightly", path="blog.nightly")(clean)

    for definition in (ours, tasks.clean, fixed, other):
        definition().delay()

    assert len(queue.tasks) == 4


@pytest.mark.parametrize("delay", [Task.delay, async_to_sync(Task.adelay)])
def test_a_duplicate_is_refused(
    queue: MemoryTransport, delay: Callable[..., Any]
) -> None:
    first = delay(tasks.clean())

    with pytest.raises(TaskAlreadyExists) as caught:
        delay(tasks.clean())
    assert caught.value.name == first.name
    assert caught.value.queue_path == f"{QUEUES}/default"
    assert caught.value.retryable is False
    assert str(caught.value) == (
        f"tests.tasks.clean is enqueued already as {first.name}, or was within the "
        "last 24 hours. Wait, or give it another id with named=."
    )
    assert len(queue.tasks) == 1


@pytest.mark.parametrize("key", ["", "a/b", "ä", "a" * 484, 7, None])
def test_a_name_that_a_callable_makes_up_must_be_valid(
    queue: MemoryTransport, key: object
) -> None:
    definition = task(named=lambda: key)(clean)

    with pytest.raises(InvalidTask) as caught:
        definition().delay()
    assert str(caught.value) == (
        f"tests.unit.test_tasks.clean: the task id {key!r} must be 1 to 483 letters, "
        "digits, hyphens or underscores. Hash longer or other keys first."
    )
    assert queue.tasks == []


# In place


@pytest.mark.parametrize("definition", [add, aadd])  # def, async def
@pytest.mark.parametrize(
    "run",
    [
        Task.execute,
        lambda bound: bound(),  # bound.__call__()
        async_to_sync(Task.aexecute),
    ],
)
def test_a_task_runs_in_place_and_gives_its_value(
    definition: TaskDefinition[..., int], run: Callable[..., int]
) -> None:
    assert run(definition(1, b=2)) == 3
    assert ran == [(definition.__name__, 1, 2)]


def test_in_place_the_request_is_the_first_and_the_last_attempt() -> None:
    tasks.inspect().execute()

    [request] = ran
    assert isinstance(request, CloudTaskRequest)
    assert len(request.id) == 32
    assert (request.request, dict(request.headers)) == (None, {})
    assert (request.task_name, request.queue, request.eta) == (None, None, None)
    assert (request.attempt, request.is_last_attempt) == (1, True)
    assert request.previous_response is None
    assert request.remaining() is None


def test_in_place_an_exception_is_the_callers() -> None:
    with pytest.raises(ValueError, match=r"^out of stock$"):
        tasks.fail("out of stock").execute()


def test_running_in_place_needs_no_settings() -> None:
    with override_settings(CLOUDTASK=None):
        assert add(2, 3).execute() == 5


async def _adelay(bound: Task[Any]) -> None:
    await bound.adelay()
