"""The queue of tests: what it keeps, and how it is drained."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudtask import CloudTaskRequest, Reject, Retry, RetryPolicy
from cloudtask.dispatch.outcomes import Outcome, Status
from cloudtask.enqueue.decorators import task
from cloudtask.exceptions import TaskAlreadyExists
from cloudtask.transports.memory import BUSY_WAIT, MemoryTransport
from cloudtask.wire.limits import DEFAULT_MAX_ATTEMPTS
from tests import tasks
from tests.tasks import add, ran

HOUR = timedelta(hours=1)


@task
def note(request: CloudTaskRequest, what: str) -> None:
    ran.append(what)


@task
def order(request: CloudTaskRequest, item: str) -> None:
    ran.append(f"order {item}")
    note(f"mail {item}").delay()
    note(f"remind {item}").schedule(after=HOUR)


@task
def twice_unready(request: CloudTaskRequest) -> str:
    ran.append(request.attempt)
    if request.attempt < 3:
        raise Retry("not yet")
    return "ready"


@task
def tomorrow(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    if request.attempt == 1:
        raise Retry(after=timedelta(days=1))


@task(retry=RetryPolicy(max_attempts=2))
def impatient(request: CloudTaskRequest) -> None:
    ran.append(request.attempt)
    raise Retry("not yet")


@task
def sulk(request: CloudTaskRequest) -> None:
    raise Reject("never")


def soon(**ahead: float) -> datetime:
    return datetime.now(UTC) + timedelta(**ahead)


def test_tasks_are_kept_in_the_order_they_were_enqueued(
    queue: MemoryTransport,
) -> None:
    note("a").schedule(after=HOUR)
    note("b").delay()
    note("c").schedule(at=datetime(2020, 1, 1, tzinfo=UTC))

    assert [stored.payload.args for stored in queue.tasks] == [("a",), ("b",), ("c",)]
    assert ran == []


def test_what_is_due_runs_in_the_order_it_is_due(queue: MemoryTransport) -> None:
    note("now").delay()
    note("now, too").delay()
    note("tomorrow").schedule(after=24 * HOUR)
    note("yesterday").schedule(at=soon(days=-1))
    note("last year").schedule(at=soon(days=-365))

    assert len(queue.drain()) == 4
    assert ran == ["last year", "yesterday", "now", "now, too"]
    assert [stored.payload.args for stored in queue.tasks] == [("tomorrow",)]


def test_tests_can_drain_as_of_any_time(queue: MemoryTransport) -> None:
    note("tomorrow").schedule(after=24 * HOUR)
    note("in an hour").schedule(after=HOUR)

    assert queue.drain(now=soon(minutes=59)) == []
    queue.drain(now=soon(minutes=61))
    assert ran == ["in an hour"]
    queue.drain(now=soon(hours=25))
    assert ran == ["in an hour", "tomorrow"]


def test_what_tasks_enqueue_runs_as_well_when_it_is_due(
    queue: MemoryTransport,
) -> None:
    order("tea").delay()

    assert len(queue.drain()) == 2
    assert ran == ["order tea", "mail tea"]
    queue.drain(now=soon(hours=2))
    assert ran == ["order tea", "mail tea", "remind tea"]


def test_each_attempt_has_its_outcome(queue: MemoryTransport) -> None:
    add(1, 2).delay()
    sulk().delay()

    assert queue.drain() == [
        Outcome(Status.DONE, value=3),
        Outcome(Status.REJECTED),
    ]
    assert queue.tasks == []


def test_a_task_that_asks_for_it_is_tried_again(queue: MemoryTransport) -> None:
    twice_unready().delay()
    outcomes = queue.drain()

    assert ran == [1, 2, 3]
    assert [outcome.status for outcome in outcomes] == ["retry", "retry", "done"]
    assert outcomes[-1].value == "ready"


def test_a_task_is_tried_again_no_earlier_than_it_asks(
    queue: MemoryTransport,
) -> None:
    tomorrow().delay()
    queue.drain()
    assert ran == [1]

    queue.drain(now=soon(hours=23))
    assert ran == [1]
    queue.drain(now=soon(hours=25))
    assert ran == [1, 2]


def test_the_tasks_own_policy_ends_its_retries(queue: MemoryTransport) -> None:
    impatient().delay()

    with pytest.raises(Retry, match=r"^not yet$"):
        queue.drain()
    assert ran == [1, 2]
    assert queue.tasks == []


def test_a_task_that_asks_for_ever_ends_as_at_cloud_tasks(
    queue: MemoryTransport,
) -> None:
    tasks.try_again().delay()

    with pytest.raises(Retry):
        queue.drain()
    assert len(ran) == DEFAULT_MAX_ATTEMPTS == 100
    assert queue.tasks == []


def test_what_a_task_raises_surfaces_and_the_others_stay(
    queue: MemoryTransport,
) -> None:
    note("before").delay()
    tasks.fail("broken").delay()
    note("after").delay()

    with pytest.raises(ValueError, match=r"^broken$"):
        queue.drain()
    assert ran == ["before", ("fail", "broken")]
    queue.drain()
    assert ran == ["before", ("fail", "broken"), "after"]


def test_the_request_tells_of_the_dispatch(queue: MemoryTransport) -> None:
    at = datetime(2026, 1, 31, 12, 0, 0, 1, UTC)
    enqueued = tasks.inspect().schedule(at=at)
    queue.drain(now=datetime(2026, 2, 1, tzinfo=UTC))

    [request] = ran
    assert isinstance(request, CloudTaskRequest)
    assert request.id == enqueued.id
    assert request.queue == "default"
    assert request.task_name == str(enqueued.name).rpartition("/")[2]
    assert request.eta == at
    assert request.headers["content-type"] == "application/json"


def test_a_name_stays_used_after_the_task_ran(queue: MemoryTransport) -> None:
    tasks.clean().delay()
    queue.drain()

    with pytest.raises(TaskAlreadyExists):
        tasks.clean().delay()
    queue.clear()
    tasks.clean().delay()
    assert len(queue.tasks) == 1


def test_tasks_can_be_forgotten(queue: MemoryTransport) -> None:
    note("a").delay()
    queue.clear()

    assert queue.tasks == []
    assert queue.drain() == []


def test_a_task_is_in_the_queue_until_it_is_deleted(queue: MemoryTransport) -> None:
    first, second = (str(add(n, 0).delay().name) for n in (1, 2))
    kept = queue.tasks
    assert queue.has(first)

    queue.delete(first)
    queue.delete(first)  # One that is not there is no error.

    assert (queue.has(first), queue.has(second)) == (False, True)
    # Who holds the list sees it, too.
    assert [task.name for task in kept] == [second]
    assert len(queue.drain()) == 1
    assert ran == [("add", 2, 0)]


def test_a_task_that_ran_is_in_the_queue_no_more(queue: MemoryTransport) -> None:
    name = str(add(1, 2).delay().name)
    queue.drain()

    assert not queue.has(name)


def test_a_task_that_another_worker_has_is_asked_for_again(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = iter([Status.BUSY, Status.DONE])
    monkeypatch.setattr(
        "cloudtask.transports.memory.execution.run", lambda _: Outcome(next(statuses))
    )
    add().delay()

    assert [outcome.status for outcome in queue.drain()] == [Status.BUSY]
    [waiting] = queue.tasks
    assert waiting.attempt == 2
    assert timedelta(0) < waiting.due - datetime.now(UTC) <= BUSY_WAIT
    assert [o.status for o in queue.drain(now=waiting.due)] == [Status.DONE]
    assert queue.tasks == []
