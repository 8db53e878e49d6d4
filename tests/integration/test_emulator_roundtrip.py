"""Enqueued, stored by the emulator, dispatched to the live view, run."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from django.http import HttpRequest
from django.test import override_settings

from cloudtask import CloudTaskRequest, Reject, Retry, RetryPolicy, Task
from cloudtask.conf import get_settings
from cloudtask.enqueue import registry
from cloudtask.enqueue.decorators import task
from cloudtask.exceptions import EnqueueError, PayloadTooLarge, TaskAlreadyExists
from cloudtask.transports import get_transport
from cloudtask.wire.outgoing import OutgoingTask
from cloudtask.wire.stored_size import check_size, count_stored_bytes
from tests import tasks
from tests.live import SERVICE_ACCOUNT, Live, live
from tests.outgoing import outgoing_task
from tests.tasks import aadd, add, ran

SECRET = "a secret for tests of 32 bytes.."


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


@pytest.fixture
def start() -> Iterator[Callable[..., Live]]:
    """Return a function that runs the project with these settings."""
    with ExitStack() as stack:
        yield lambda *queues, **settings: stack.enter_context(live(*queues, **settings))


@pytest.fixture
def occupied() -> Iterator[Callable[[], threading.Event]]:
    """
    Return a function that makes a queue of ONE_AT_A_TIME busy.

    What is enqueued then waits until the event that it gives is set.
    """
    begun, free = hold_events = threading.Event(), threading.Event()
    holding.append(hold_events)

    def occupy() -> threading.Event:
        hold().delay()
        assert begun.wait(10)
        return free

    yield occupy
    free.set()
    holding.clear()


@contextmanager
def deployed(**changes: Any) -> Iterator[None]:
    """Go on with other settings, as a new revision would."""
    raw = {**django_settings.CLOUDTASK, **changes}
    with override_settings(CLOUDTASK=raw):
        yield


#: A queue that has room for one dispatch at a time.
ONE_AT_A_TIME = "default:max_concurrent_dispatches=1,min_backoff=0.01,max_backoff=0.05"
holding: list[tuple[threading.Event, threading.Event]] = []


@task
def hold(request: CloudTaskRequest) -> None:
    begun, free = holding[0]
    begun.set()
    free.wait(10)


def statuses(site: Live) -> list[int | None]:
    return [attempt.status for attempt in site.emulator.attempts]


@task
def third_time_lucky(request: CloudTaskRequest) -> None:
    ran.append((request.attempt, request.previous_response, request.is_last_attempt))
    if request.attempt < 3:
        raise ValueError("no luck")


@task(retry=RetryPolicy(max_attempts=2))
def twice_at_most(request: CloudTaskRequest) -> None:
    ran.append((request.attempt, request.is_last_attempt))
    raise ValueError("broken")


@task
def wait_a_moment(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    if request.attempt == 1:
        raise Retry("busy", after=timedelta(milliseconds=10))


@task
def come_again(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    if request.attempt < 3:
        raise Retry("busy")


@task
def think_twice(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    if request.attempt == 2:
        raise Reject("hopeless")
    raise ValueError("not sure")


@task(
    deadline=timedelta(minutes=20),
    retry=RetryPolicy(
        max_attempts=7,
        min_backoff=timedelta(milliseconds=250),
        max_backoff=timedelta(minutes=3),
        max_doublings=4,
        max_retry_duration=timedelta(hours=2),
    ),
)
def patient(request: CloudTaskRequest) -> None: ...


@task(named="largest")
def weigh(request: CloudTaskRequest, text: str) -> None: ...


# Who dispatched it


def test_the_secret_is_sent_along_and_accepted(start: Callable[..., Live]) -> None:
    site = start(SECRET=SECRET)
    add(1, 2).delay()
    site.finish()

    [attempt] = site.emulator.attempts
    assert ran == [("add", 1, 2)]
    assert (attempt.status, attempt.outcome) == (200, "done")
    assert attempt.headers["X-Task-Secret"] == SECRET
    assert "Authorization" not in attempt.headers


def test_a_token_is_signed_for_us_and_accepted(start: Callable[..., Live]) -> None:
    site = start(SECRET=None, SAE=SERVICE_ACCOUNT)
    add(1, 2).delay()
    aadd(3, 4).delay()
    site.finish()

    assert sorted(ran) == [("aadd", 3, 4), ("add", 1, 2)]
    assert statuses(site) == [200, 200]
    for attempt in site.emulator.attempts:
        assert attempt.headers["Authorization"].startswith("Bearer ey")
        assert "X-Task-Secret" not in attempt.headers


@pytest.mark.parametrize("raw", [{}, {"AUTH": "all"}, {"SIGN_KEYS": [SECRET]}])
def test_a_task_is_known_by_its_signature_alone(
    start: Callable[..., Live], raw: dict[str, Any]
) -> None:
    site = start(SECRET=None, **raw)
    add(1, 2).delay()
    aadd(3, 4).delay()
    add(5, 6).schedule(after=timedelta(days=29))
    asyncio.run(add(7, 8).adelay())
    site.emulator.advance(days=29)
    site.finish()

    assert len(ran) == 4
    assert statuses(site) == [200] * 4
    headers = [attempt.headers for attempt in site.emulator.attempts]
    assert all("Authorization" not in each for each in headers)
    assert len({each["X-Task-Signature"] for each in headers}) == 4


def test_a_signature_that_was_refused_counts_once_its_key_is_listed(
    start: Callable[..., Live], occupied: Callable[[], threading.Event]
) -> None:
    site = start(ONE_AT_A_TIME, SECRET=None)
    free = occupied()
    add(1, 2).delay()
    former, own = django_settings.SECRET_KEY, "the next one, of 32 bytes and more"
    with override_settings(SECRET_KEY=own):
        free.set()
        site.emulator.wait_for(lambda: 403 in statuses(site))
        assert ran == []
    with override_settings(SECRET_KEY=own, SECRET_KEY_FALLBACKS=[former]):
        site.finish()

    assert ran == [("add", 1, 2)]
    assert statuses(site)[-1] == 200


def test_all_may_be_asked_for(start: Callable[..., Live]) -> None:
    site = start(SECRET=SECRET, SAE=SERVICE_ACCOUNT, AUTH="all", AUDIENCE="shop")
    add(1, 2).delay()
    site.finish()

    assert ran == [("add", 1, 2)]
    assert statuses(site) == [200]
    [attempt] = site.emulator.attempts
    assert {"Authorization", "X-Task-Secret", "X-Task-Signature"} <= set(
        attempt.headers
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Another service account than the one that signs.
        (
            {"SECRET": None, "SAE": SERVICE_ACCOUNT},
            {"SECRET": None, "SAE": "other@project.iam.gserviceaccount.com"},
        ),
        # Another audience than the token is for.
        (
            {"SECRET": None, "SAE": SERVICE_ACCOUNT},
            {"SECRET": None, "SAE": SERVICE_ACCOUNT, "AUDIENCE": "https://other/"},
        ),
        # Another secret.
        ({"SECRET": SECRET}, {"SECRET": "b" * 32}),
        # One of two.
        (
            {"SECRET": SECRET},
            {"SECRET": SECRET, "SAE": SERVICE_ACCOUNT, "AUTH": "all"},
        ),
        # None at all.
        ({"SECRET": SECRET}, {"SECRET": None}),
    ],
)
def test_a_refused_task_waits_until_it_is_accepted_again(
    start: Callable[..., Live],
    occupied: Callable[[], threading.Event],
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    site = start(ONE_AT_A_TIME, SIGN=False, **before)
    free = occupied()
    add(1, 2).delay()
    with deployed(**after):
        free.set()
        site.emulator.wait_for(lambda: 403 in statuses(site))
        assert ran == []
    site.finish()

    assert ran == [("add", 1, 2)]
    assert statuses(site)[:2] == [200, 403]
    assert statuses(site)[-1] == 200


def test_a_former_secret_is_accepted_as_long_as_it_is_listed(
    start: Callable[..., Live], occupied: Callable[[], threading.Event]
) -> None:
    site = start(ONE_AT_A_TIME, SECRET="a" * 32)
    free = occupied()
    add(1, 2).delay()
    with deployed(SECRET="b" * 32, SECRET_FALLBACKS=["a" * 32]):
        add(3, 4).delay()
        free.set()
        site.finish()

    assert ran == [("add", 1, 2), ("add", 3, 4)]
    assert statuses(site) == [200, 200, 200]


# What becomes of it


def test_a_task_may_fail_twice_and_then_succeed(start: Callable[..., Live]) -> None:
    site = start()
    third_time_lucky().delay()
    site.finish()

    assert ran == [(1, None, False), (2, 500, False), (3, 500, False)]
    assert statuses(site) == [500, 500, 200]
    assert [a.outcome for a in site.emulator.attempts] == ["retry", "retry", "done"]


def test_the_last_attempt_of_the_tasks_own_policy_ends_it(
    start: Callable[..., Live],
) -> None:
    site = start()
    twice_at_most().delay()
    site.finish()

    assert ran == [(1, False), (2, True)]
    # Answered with success: it is over, and Cloud Tasks has to know.
    assert statuses(site) == [500, 200]


def test_the_settings_policy_ends_it_as_well(start: Callable[..., Live]) -> None:
    site = start(RETRY={"max_attempts": 3})
    tasks.fail("broken").delay()
    site.finish()

    assert ran == [("fail", "broken")] * 3
    assert statuses(site) == [500, 500, 200]


def test_without_a_policy_the_queues_ends_it(start: Callable[..., Live]) -> None:
    site = start("default:min_backoff=0.01,max_attempts=3")
    tasks.fail("broken").delay()
    site.finish()

    assert ran == [("fail", "broken")] * 3
    assert statuses(site) == [500, 500, 500]
    assert site.emulator.attempts[-1].outcome == "gave up"


def test_a_retry_comes_no_earlier_than_asked_for(start: Callable[..., Live]) -> None:
    site = start()
    wait_a_moment().delay()
    site.finish()

    first, second = site.emulator.attempts
    assert ran == [1, 2]
    assert (first.status, second.status) == (500, 200)
    # Retry-After counts whole seconds.
    assert second.dispatch_time - first.response_time >= timedelta(seconds=1)


def test_a_retry_without_a_time_follows_the_queue(start: Callable[..., Live]) -> None:
    site = start()
    come_again().delay()
    site.finish()

    assert ran == [1, 2, 3]
    assert statuses(site) == [500, 500, 200]


def test_a_rejected_task_is_over(start: Callable[..., Live]) -> None:
    site = start()
    tasks.reject().delay()
    think_twice().delay()
    site.finish()

    assert sorted(ran, key=str) == [("reject",), 1, 2]
    assert sorted(statuses(site)) == [200, 200, 500]


def test_a_task_of_a_later_revision_waits_for_it(
    start: Callable[..., Live], occupied: Callable[[], threading.Event]
) -> None:
    site = start(ONE_AT_A_TIME)
    later = task(path="roundtrip.later")(add.func)
    free = occupied()
    later(1, 2).delay()
    del registry._definitions["roundtrip.later"]
    free.set()
    site.emulator.wait_for(lambda: 404 in statuses(site))
    assert ran == []

    registry.register(later)
    site.finish()
    assert ran == [("add", 1, 2)]
    assert statuses(site)[-1] == 200


def test_a_task_runs_although_its_function_was_renamed(
    start: Callable[..., Live], occupied: Callable[[], threading.Event]
) -> None:
    site = start(ONE_AT_A_TIME)
    free = occupied()
    task(path="roundtrip.former")(add.func)(1, 2).delay()
    del registry._definitions["roundtrip.former"]
    task(path="roundtrip.renamed", aliases=("roundtrip.former",))(aadd.func)
    free.set()
    site.finish()

    assert ran == [("aadd", 1, 2)]
    assert statuses(site) == [200, 200]


# What is stored


def test_policy_and_deadline_go_out_with_the_task(start: Callable[..., Live]) -> None:
    site = start()
    enqueued = patient().schedule(after=timedelta(days=1))
    with site.client() as client:
        stored = client.get_task(name=enqueued.name)

    config = stored.retry_config
    assert (config.max_attempts, config.max_doublings) == (7, 4)
    assert config.min_backoff == timedelta(milliseconds=250)
    assert config.max_backoff == timedelta(minutes=3)
    assert config.max_retry_duration == timedelta(hours=2)
    assert stored.dispatch_deadline == timedelta(minutes=20)
    assert stored.schedule_time == enqueued.schedule_time


def test_without_options_google_decides(start: Callable[..., Live]) -> None:
    site = start()
    enqueued = add().schedule(after=timedelta(days=1))
    with site.client() as client:
        stored = client.get_task(name=enqueued.name)

    assert "retry_config" not in stored
    assert stored.dispatch_deadline == timedelta(minutes=10)


def test_the_request_of_a_dispatch_reaches_the_task(
    start: Callable[..., Live],
) -> None:
    site = start()
    enqueued = tasks.inspect().delay()
    site.finish()

    [request] = ran
    [attempt] = site.emulator.attempts
    assert isinstance(request.request, HttpRequest)
    assert request.request.path == "/_tasks/"
    assert request.id == enqueued.id
    assert request.task_name == attempt.task_id
    assert attempt.name == enqueued.name
    assert request.headers["User-Agent"] == "Google-Cloud-Tasks"
    assert request.remaining() < timedelta(minutes=10)


def test_from_a_loop_to_a_task_and_back(start: Callable[..., Live]) -> None:
    site = start()

    async def enqueue() -> None:
        await asyncio.gather(*(aadd(n, 0).adelay() for n in range(10)))

    asyncio.run(enqueue())
    site.finish()

    assert sorted(ran) == [("aadd", n, 0) for n in range(10)]


def test_the_largest_task_that_we_send_is_the_largest_that_is_taken(
    start: Callable[..., Live],
) -> None:
    site = start()
    # With all its digits, as the size is counted.
    at = datetime.now(UTC).replace(microsecond=999_999) + timedelta(days=1)

    def schedule(characters: int) -> Any:
        return weigh("x" * characters).schedule(at=at)

    with pytest.raises(PayloadTooLarge) as caught:
        schedule(1_048_569)
    largest = 1_048_569 - (caught.value.size - caught.value.limit)
    # One byte more is refused here,
    with pytest.raises(PayloadTooLarge) as caught:
        schedule(largest + 1)
    assert caught.value.size == caught.value.limit + 1
    # and, sent all the same, there.
    transport = get_transport(get_settings())
    heavy = weigh("x" * (largest + 1))
    route = weigh.route(get_settings(), transport)
    _, outgoing = heavy._outgoing(get_settings(), route, at)
    with pytest.raises(EnqueueError, match="INVALID_ARGUMENT: Task size too large"):
        transport.send(outgoing)
    assert count_stored_bytes(outgoing) == 1_048_570

    schedule(largest)
    assert site.emulator.pending == 1


@pytest.mark.parametrize(
    "fields",
    [
        # Nothing but a body.
        {},
        # All that a task can have.
        {
            "url": "http://127.0.0.1/größe/" + "x" * 1000,
            "headers": {"Content-Type": "application/json", "X-Shop": "y" * 5000},
            "deadline": timedelta(minutes=20, milliseconds=1),
            "retry": RetryPolicy(
                max_attempts=-1,
                max_doublings=3,
                min_backoff=timedelta(milliseconds=1),
                max_backoff=timedelta(days=1),
                max_retry_duration=timedelta(0),
            ),
        },
    ],
)
def test_the_emulator_counts_bytes_as_we_do(
    start: Callable[..., Live], fields: dict[str, Any]
) -> None:
    start()
    transport = get_transport(get_settings())
    at = datetime.now(UTC).replace(microsecond=999_999) + timedelta(days=1)

    def outgoing(task_id: str, body: int) -> OutgoingTask:
        return outgoing_task(
            **{
                "queue_path": transport.target(get_settings()).queue_path("default"),
                "url": "http://127.0.0.1/",
                "headers": {},
                **fields,
                "task_id": task_id,
                "schedule_time": at,
                "body": bytes(body),
            }
        )

    # Of lengths in this range the length takes as many bytes itself.
    body = 1_048_569 - (count_stored_bytes(outgoing("a", 1_000_000)) - 1_000_000)
    check_size(outgoing("a", body))
    transport.send(outgoing("a", body))
    with pytest.raises(PayloadTooLarge):
        check_size(outgoing("b", body + 1))
    with pytest.raises(EnqueueError, match="INVALID_ARGUMENT: Task size too large"):
        transport.send(outgoing("b", body + 1))


# Transactions and names


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
def test_nothing_leaves_the_process_before_the_commit(
    start: Callable[..., Live],
) -> None:
    site = start()
    with transaction.atomic():
        add(1, 2).delay()
        scheduled = add(3, 4).schedule(after=timedelta(0))
        assert scheduled.name is None
        assert site.emulator.pending == 0
    with transaction.atomic():
        add(5, 6).delay()
        transaction.set_rollback(True)
    site.finish()

    assert sorted(ran) == [("add", 1, 2), ("add", 3, 4)]


@pytest.mark.parametrize("run_first", [False, True], ids=["waiting", "finished"])
def test_a_name_is_refused_while_it_waits_and_after(
    start: Callable[..., Live], run_first: bool
) -> None:
    site = start()
    waiting: Task[Any] = tasks.clean()
    if run_first:
        waiting.delay()
        site.finish()
    else:
        waiting.schedule(after=timedelta(days=1))

    with pytest.raises(TaskAlreadyExists):
        tasks.clean().delay()
    assert ran == ([("clean",)] if run_first else [])
