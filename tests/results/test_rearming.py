"""A task that asks for another time is let go of, and sent anew for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, transaction
from django.test import Client

from cloudtask import CloudTaskRequest, Retry, RetryPolicy, task
from cloudtask.dispatch.execution import arun, run
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.dispatch.outcomes import Outcome, Rearm, Status
from cloudtask.exceptions import (
    PayloadTooLarge,
    PermissionDenied,
    StoreUnavailable,
)
from cloudtask.results import claims, heartbeat, sending
from cloudtask.results.control import cancel, redrive, retry_now
from cloudtask.results.leases import Lease
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import Swept, outbox, recovery, sweep
from cloudtask.results.verbs.note_sent import note_sent
from cloudtask.stores import Ending, Rearming, Standing
from cloudtask.transports.memory import MemoryTransport, StoredTask
from cloudtask.wire.limits import MAX_STORED_BYTES
from cloudtask.wire.stored_size import count_stored_bytes
from tests.backends import tasks as django_tasks
from tests.clocks import set_clock
from tests.results.samples import (
    AWAY,
    HOUR,
    SECRET,
    add,
    ago,
    alarm,
    change,
    claim,
    die,
    dispatch,
    expire,
    meta,
    payload_of,
    post,
    queue,
    refuse_sending,
    row,
    statements,
    values,
    verbs,
)
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
#: Between two looks at the clock in one test.
SOON = timedelta(seconds=30)


@task
def come_later(request: CloudTaskRequest, after: timedelta = HOUR) -> str:
    ran.append(request.attempt)
    if request.attempt > 1:
        return "came"
    raise Retry("the gateway is busy", after=after)


@task
async def acome_later(request: CloudTaskRequest) -> str:
    ran.append(request.attempt)
    if request.attempt > 1:
        return "came"
    raise Retry("the gateway is busy", after=HOUR)


@task(retry=RetryPolicy(max_attempts=3))
def never_come(request: CloudTaskRequest, after: timedelta = HOUR) -> None:
    ran.append(request.attempt)
    request.progress(request.attempt, 3, "tried")
    raise Retry("busy", after=after)


@task(named=True, retry=RetryPolicy(max_attempts=3))
def settle(request: CloudTaskRequest, month: int = 1) -> None:
    ran.append(request.attempt)
    raise Retry("busy", after=HOUR)


@task(named=lambda text: "x" * 400)
def read_later(request: CloudTaskRequest, text: str) -> None:
    raise Retry("busy", after=75 * DAY)


#: When `go_on` asks to go on; nothing is left of it when it is over.
moments: list[datetime] = []


def _go_on(request: CloudTaskRequest) -> str:
    ran.append(request.attempt)
    if moments:
        raise Rearm(moments.pop(), "half done")
    return "done"


@task(retry=RetryPolicy(max_attempts=1))
def go_on(request: CloudTaskRequest) -> str:
    return _go_on(request)


@task
async def ago_on(request: CloudTaskRequest) -> str:
    return _go_on(request)


@task(run_once=True)
def go_on_once(request: CloudTaskRequest) -> str:
    return _go_on(request)


@pytest.fixture(autouse=True)
def _no_moments() -> Iterator[None]:
    yield
    moments.clear()


def now() -> datetime:
    return datetime.now(UTC)


def only() -> StoredTask:
    [stored] = queue().tasks
    return stored


def header(stored: StoredTask | None = None) -> str | None:
    return (stored or only()).sent.headers.get("X-Task-Rearm")


def drain(after: timedelta = timedelta(0)) -> list[Status]:
    """Run what is due so much later."""
    return [outcome.status for outcome in queue().drain(now() + after)]


def deliver(id: str, arming: str = "", attempt: int = 1) -> Outcome:  # noqa: A002
    """Run a dispatch of the alarm that says so."""
    headers = {**meta(attempt), "HTTP_X_TASK_REARM": arming}
    return run(make_attempt(payload_of(id), headers))


def rearmed(task: Any = None) -> str:
    """A task that came once, and is to come again in an hour."""
    enqueued = (task or never_come()).delay()
    assert drain() == [Status.REARMED]
    ran.clear()
    return str(enqueued.id)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds since the epoch, for this process and the queue in it."""
    moment = [now().timestamp()]
    set_clock(monkeypatch, lambda: moment[0])
    return moment


def pass_time(clock: list[float], wait: timedelta) -> list[Status]:
    clock[0] += wait.total_seconds()
    return [outcome.status for outcome in queue().drain()]


# Exactly then


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda: come_later().delay(),
        lambda: acome_later().delay(),
        lambda: django_tasks.come_later.enqueue(),
        lambda: django_tasks.acome_later.enqueue(),
    ],
    ids=["def", "async def", "Django's def", "Django's async def"],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_task_comes_when_it_asked_to_and_not_before(
    enqueue: Callable[[], Any], is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_async:
        monkeypatch.setattr("cloudtask.dispatch.execution.run", async_to_sync(arun))
    enqueued = enqueue()
    before = now()
    assert drain() == [Status.REARMED]
    after = now()

    found = row(enqueued.id)
    assert before + HOUR <= found.schedule_time <= after + HOUR
    assert only().due == found.schedule_time
    assert header() == "1.1"
    assert (found.status, found.arming, found.attempts_before) == ("READY", 1, 1)
    assert (found.lease, found.lease_expires_at) == ("", None)
    assert (found.attempt, found.finished_at) == (1, None)
    assert found.name == only().name
    assert found.sent_at is not None
    assert found.send_at is None
    assert abs(found.look_at - found.schedule_time - 2 * HOUR) < SOON

    assert drain(59 * MINUTE) == []
    assert drain(61 * MINUTE) == [Status.DONE]
    assert drain(DAY) == []
    assert ran == [1, 2]
    found = row(enqueued.id)
    assert (found.status, found.return_value, found.attempt) == (
        *("SUCCESSFUL", "came"),
        2,
    )


def test_the_dispatch_that_asks_for_it_is_over() -> None:
    enqueued = come_later().delay()
    answer = post(enqueued.id)

    assert (answer.status_code, answer.json()) == (200, {"status": "rearmed"})
    assert "Retry-After" not in answer
    assert row(enqueued.id).status == "READY"
    assert len(queue().tasks) == 2  # The one that was posted is here still.
    assert header(queue().tasks[1]) == "1.1"


@pytest.mark.parametrize("results", ["errors", "none"])
def test_without_rows_it_is_a_wish(settings: Any, results: str) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": results}
    come_later().delay()
    stored = only()
    outcome = run(make_attempt(stored.payload, meta()))

    assert (outcome.status, outcome.after) == (Status.RETRY, HOUR)
    assert queue().tasks == [stored]


def test_a_wait_of_nothing_is_left_to_the_backoff() -> None:
    enqueued = come_later(timedelta(0)).delay()

    assert dispatch(enqueued.id).status is Status.RETRY
    assert row(enqueued.id).arming == 0


def test_the_longest_wait_is_longer_than_anybody_waits() -> None:
    rearmed(come_later(timedelta.max))

    [found] = TaskRecord.objects.all()
    assert found.schedule_time.year > 3000
    assert header().startswith("1.1.")  # type: ignore[union-attr]
    assert timedelta(days=29) < only().due - now() < timedelta(days=30)


def test_a_line_says_when_and_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cloudtask")
    enqueued = come_later().delay()
    dispatch(enqueued.id)

    at = row(enqueued.id).schedule_time.isoformat()
    assert caplog.record_tuples == [
        (
            "cloudtask",
            logging.INFO,
            f"task={come_later.path} id={enqueued.id} attempt=1 status=rearmed "
            f"reason='the gateway is busy' at={at}",
        )
    ]


def test_it_takes_two_statements_more_than_another_retry() -> None:
    enqueued = come_later().delay()
    wanted = payload_of(enqueued.id)
    queue().clear()
    with statements() as queries:
        dispatch(wanted)

    assert verbs(queries) == ["UPDATE", "UPDATE", "INSERT", "SELECT", "UPDATE"]


# Attempts go on counting


def test_a_policy_ends_a_task_that_was_rearmed(clock: list[float]) -> None:
    enqueued = never_come().delay()
    assert drain() == [Status.REARMED]
    assert pass_time(clock, 59 * MINUTE) == []
    assert pass_time(clock, 2 * MINUTE) == [Status.REARMED]
    with pytest.raises(Retry):
        pass_time(clock, HOUR)

    assert ran == [1, 2, 3]
    found = enqueued.result()
    assert (found.status, found.attempt) == ("FAILED", 3)
    assert [error.attempt for error in found.errors] == [1, 2, 3]
    assert found.progress is not None
    assert {error.type for error in found.errors} == {"cloudtask.exceptions.Retry"}
    assert queue().tasks == []


def test_repeats_of_cloud_tasks_count_beside_those_before() -> None:
    waiting = rearmed()

    assert deliver(waiting, "1.1", attempt=2).status is Status.FAILED
    assert ran == [3]
    assert row(waiting).attempt == 3


def test_the_last_attempt_is_not_repeated_if_its_worker_died() -> None:
    waiting = rearmed()
    change(waiting, attempts_before=3)

    assert dispatch(waiting).status is Status.FAILED
    assert ran == []


def test_progress_is_kept() -> None:
    waiting = rearmed()

    found = row(waiting)
    assert (found.progress_done, found.progress_message) == (1, "tried")


# The fence


@pytest.mark.parametrize("arming", ["", "nonsense", "0.0", "1.1", "3.3"])
def test_no_alarm_of_before_takes_what_was_rearmed(arming: str) -> None:
    waiting = rearmed()
    dispatch(waiting)
    assert row(waiting).arming == 2
    before = values(waiting)
    ran.clear()

    assert deliver(waiting, arming).status is Status.DUPLICATE
    assert post_as(waiting, arming).status_code == 200
    assert ran == []
    assert values(waiting) == before


def post_as(id: str, arming: str) -> Any:  # noqa: A002
    return Client().post(
        "/_tasks/",
        row(id).body,
        content_type="application/json",
        HTTP_X_TASK_SECRET=SECRET,
        HTTP_X_TASK_REARM=arming,
        **meta(),
    )


def test_no_alarm_of_before_waits_for_the_one_that_runs() -> None:
    waiting = rearmed()
    assert claim(waiting).standing is Standing.FREE

    assert deliver(waiting).status is Status.DUPLICATE
    assert deliver(waiting, "1.1").status is Status.BUSY


def test_an_alarm_that_is_delivered_twice_counts_once() -> None:
    waiting = rearmed()

    assert deliver(waiting, "1.1").status is Status.REARMED
    assert deliver(waiting, "1.1").status is Status.DUPLICATE
    assert ran == [2]
    assert row(waiting).attempts_before == 2


def test_a_fence_costs_no_further_statement() -> None:
    waiting = rearmed(come_later())
    wanted = make_attempt(payload_of(waiting), alarm(waiting))
    with statements() as queries:
        assert run(wanted).status is Status.DONE

    assert verbs(queries) == ["UPDATE", "UPDATE"]


def test_a_late_note_of_a_former_alarm_says_nothing_of_the_next() -> None:
    waiting = rearmed()
    change(waiting, name="", sent_at=None, send_at=ago())
    before = values(waiting)
    note_sent({waiting: "projects/p/locations/l/queues/default/tasks/0"})
    twin = rearmed()
    note_sent({waiting: "old", twin: "old"})

    assert values(waiting) == before
    note_sent({waiting: "new"}, 1)
    assert (row(waiting).name, row(waiting).send_at) == ("new", None)


def test_a_task_that_came_before_its_caller_gave_up_is_not_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send = MemoryTransport.send

    def interrupt(self: MemoryTransport, sent: Any) -> str:
        name = send(self, sent)
        if not row(sent.id).arming:
            run(make_attempt(payload_of(sent.id), meta()))
            raise KeyboardInterrupt
        return name

    monkeypatch.setattr(MemoryTransport, "send", interrupt)
    with pytest.raises(KeyboardInterrupt):
        never_come().delay()
    TaskRecord.objects.update(name="", sent_at=None)
    [found] = TaskRecord.objects.all()

    assert (found.status, found.arming) == ("READY", 1)


# Names


def test_a_named_task_gets_names_of_its_own(clock: list[float]) -> None:
    first = settle(1).delay()
    original = row(first.id).task_id
    assert drain() == [Status.REARMED]
    assert only().name.endswith(f"/tasks/{original}-{first.id}-r1")
    assert pass_time(clock, HOUR) == [Status.REARMED]
    assert only().name.endswith(f"/tasks/{original}-{first.id}-r2")
    assert row(first.id).task_id == original


def test_a_named_alarm_that_is_sent_twice_is_there_once() -> None:
    waiting = rearmed(settle(1))
    sent = only()
    change(waiting, name="", sent_at=None, send_at=ago())

    assert sweep() == Swept(sent=1)
    assert only() is sent
    found = row(waiting)
    assert (found.name, found.send_at, found.status) == (sent.name, None, "READY")


def test_a_later_task_of_the_name_has_alarms_of_its_own() -> None:
    first = rearmed(settle(1))
    # The name is free again before the first one comes.
    queue()._names.clear()
    second = settle(1).delay()
    assert drain() == [Status.REARMED]

    assert {row(each).status for each in (first, second.id)} == {"READY"}
    assert len(queue().tasks) == 2


def test_an_unnamed_task_stays_unnamed() -> None:
    rearmed()

    assert only().sent.task_id is None


# Hops


def test_what_is_due_in_months_comes_in_hops(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    enqueued = never_come(75 * DAY).delay()
    start = clock[0]
    assert pass_time(clock, timedelta(0)) == [Status.REARMED]
    begun = row(enqueued.id)
    due = begun.schedule_time
    assert due == datetime.fromtimestamp(start, UTC) + 75 * DAY
    caplog.set_level(logging.INFO, "cloudtask")
    caplog.clear()

    for hop in (1, 2):
        assert timedelta(days=29) < only().due - now_of(clock) <= timedelta(days=30)
        microseconds = (due - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta.resolution
        assert header() == f"{hop}.1.{microseconds}"
        assert row(enqueued.id).look_at < now() + 31 * DAY
        assert pass_time(clock, timedelta(days=29, hours=22)) == []
        with statements() as queries:
            assert pass_time(clock, timedelta(hours=2)) == [Status.REARMED]
        assert verbs(queries) == ["UPDATE", "UPDATE", "SELECT", "UPDATE"]
        found = row(enqueued.id)
        assert (found.schedule_time, found.arming) == (due, hop + 1)
        assert (found.attempt, found.attempts_before, found.status) == (1, 1, "READY")
        assert found.started_at == begun.started_at
        assert f"attempt=2 status=rearmed reason='' at={due.isoformat()}" in caplog.text
    assert ran == [1]
    assert len(caplog.messages) == 2

    assert (only().due, header()) == (due, "3.1")
    assert pass_time(clock, due - now_of(clock) - MINUTE) == []
    assert pass_time(clock, 2 * MINUTE) == [Status.REARMED]
    assert ran == [1, 2]


def now_of(clock: list[float]) -> datetime:
    return datetime.fromtimestamp(clock[0], UTC)


def hop(moment: datetime) -> str:
    """The header of an alarm that is too early."""
    return f"0.0.{(moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta.resolution}"


@pytest.mark.parametrize("definition", [come_later, go_on_once])
def test_what_never_began_may_begin_after_hops(definition: Any) -> None:
    enqueued = definition().delay()
    queue().clear()
    change(enqueued.id, schedule_time=now() + 40 * DAY)
    assert deliver(enqueued.id, hop(now() + 40 * DAY)).status is Status.REARMED
    found = row(enqueued.id)
    assert (found.started_at, found.attempt, found.status) == (None, 0, "READY")

    change(enqueued.id, schedule_time=now())
    assert dispatch(enqueued.id).status in (Status.REARMED, Status.DONE)
    assert ran == [1]


def test_a_django_task_hops_as_any_other() -> None:
    enqueued = django_tasks.come_later.enqueue()
    assert deliver(enqueued.id, hop(now() + DAY)).status is Status.REARMED

    assert ran == []
    enqueued.refresh()
    assert (str(enqueued.status), enqueued.attempts) == ("READY", 0)


def test_a_dispatch_within_a_minute_is_in_time() -> None:
    enqueued = come_later().delay()

    deliver(enqueued.id, hop(now() + SOON))
    assert ran == [1]


def test_a_hop_of_an_unknown_task_waits_for_its_time() -> None:
    enqueued = come_later().delay()
    wanted, due = payload_of(enqueued.id), now() + 3 * DAY
    queue().clear()
    TaskRecord.objects.all().delete()
    headers = {**meta(), "HTTP_X_TASK_REARM": hop(due).replace("0.0.", "4.2.")}

    assert run(make_attempt(wanted, headers)).status is Status.REARMED
    assert ran == []
    found = row(enqueued.id)
    assert (found.arming, found.attempts_before, found.attempt) == (5, 2, 2)
    assert abs(only().due - due) < timedelta(milliseconds=1)
    assert header() == "5.2"


@pytest.mark.parametrize("results", ["errors", "none"])
def test_nothing_runs_early_where_nothing_keeps_it(settings: Any, results: str) -> None:
    enqueued = come_later().delay()
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": results}

    with pytest.raises(StoreUnavailable, match=r"is due at .* = 'all' keeps a task"):
        deliver(enqueued.id, hop(now() + DAY))
    assert post_as(enqueued.id, hop(now() + DAY)).status_code == 503
    assert ran == []


def test_a_hop_whose_lease_is_lost_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = come_later().delay()
    monkeypatch.setattr(claims, "rearm_row", lambda *args, **options: False)

    assert deliver(enqueued.id, hop(now() + DAY)).status is Status.BUSY


# What people do


def test_a_cancelled_task_leaves_the_queue() -> None:
    waiting = rearmed()
    assert cancel(waiting) is True

    assert queue().tasks == []
    assert deliver(waiting, "1.1").status is Status.DUPLICATE


def test_what_is_cancelled_while_it_runs_is_not_sent_again() -> None:
    enqueued = never_come().delay()
    queue().clear()
    held = claim(enqueued.id)
    cancel(enqueued.id)
    at = now() + HOUR
    ending = Ending(final=False, rearming=Rearming(at=at, attempts=1))
    assert held.end(ending) is True

    found = row(enqueued.id)
    assert (found.status, found.send_at) == ("FAILED", None)
    assert found.finished_at is not None
    assert queue().tasks == []


def test_a_redriven_task_starts_over(clock: list[float]) -> None:
    waiting = rearmed()
    for _ in range(2):
        dispatch(waiting)
    assert row(waiting).status == "FAILED"
    queue().clear()
    ran.clear()
    assert redrive(TaskRecord.objects.all()) == 1
    found = row(waiting)
    assert (found.arming, found.attempts_before, found.attempt) == (3, 0, 0)
    assert sweep() == Swept(sent=1)

    assert header() == "3.0"
    for stale in ("", "1.1", "2.2"):
        assert deliver(waiting, stale).status is Status.DUPLICATE
    assert pass_time(clock, HOUR) == [Status.REARMED]
    assert pass_time(clock, HOUR) == [Status.REARMED]
    assert ran == [1, 2]


def test_a_task_that_waits_may_be_dispatched_now() -> None:
    waiting = rearmed()
    assert retry_now(TaskRecord.objects.all()) == [waiting]

    assert drain(SOON) == [Status.REARMED]
    assert ran == [2]


def test_a_task_that_hops_may_be_dispatched_now() -> None:
    enqueued = never_come(75 * DAY).delay()
    assert drain() == [Status.REARMED]
    assert retry_now(TaskRecord.objects.all()) == [enqueued.id]

    # It comes too early, and finds that this is wanted.
    assert drain(SOON) == [Status.REARMED, Status.REARMED]
    assert ran == [1, 2]
    assert row(enqueued.id).arming == 3


# Sending


def test_what_cannot_be_sent_is_left_to_the_sweeper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = never_come().delay()
    queue().clear()
    with monkeypatch.context() as patch:
        refuse_sending(patch, AWAY)
        assert post(enqueued.id).status_code == 200
    found = row(enqueued.id)
    assert (found.status, found.name, found.sent_at) == ("READY", "", None)
    assert timedelta(0) < found.send_at - now() <= MINUTE
    assert sweep() == Swept()
    change(enqueued.id, send_at=ago())

    assert sweep() == Swept(sent=1)
    assert header() == "1.1"
    assert only().due == found.schedule_time


def test_a_refusal_is_tried_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enqueued = never_come().delay()
    change(enqueued.id, enqueued_at=ago(10 * DAY))
    refuse_sending(monkeypatch, PermissionDenied("no", queue_path="q"))
    dispatch(enqueued.id)

    # As long as it has waited, which began with its attempt.
    assert "is tried again in 60 s" in caplog.text
    assert MINUTE - SOON < row(enqueued.id).send_at - now() <= MINUTE


@pytest.mark.parametrize(
    ("error", "level"),
    [(OperationalError("away"), "WARNING"), (ValueError("a bug"), "ERROR")],
)
def test_an_error_of_sending_is_not_one_of_the_task(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    level: str,
) -> None:
    enqueued = never_come().delay()

    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr(outbox, "note_answers", fail)
    assert post(enqueued.id).status_code == 200

    [record] = [each for each in caplog.records if "is sent later" in each.message]
    assert record.levelname == level
    assert row(enqueued.id).send_at is not None


def test_what_another_has_sent_meanwhile_is_not_sent_again() -> None:
    waiting = rearmed()
    outbox.send_at_once(waiting)

    assert len(queue().tasks) == 1


def test_in_the_callers_transaction_it_is_sent_at_the_commit() -> None:
    enqueued = never_come().delay()
    queue().clear()
    with transaction.atomic():
        assert dispatch(enqueued.id).status is Status.REARMED
        assert queue().tasks == []
    assert header() == "1.1"


def test_what_the_caller_rolls_back_was_never_rearmed() -> None:
    enqueued = never_come().delay()
    queue().clear()
    with transaction.atomic():
        dispatch(enqueued.id)
        transaction.set_rollback(True)

    assert queue().tasks == []
    found = row(enqueued.id)
    assert (found.arming, found.attempt, found.schedule_time) == (0, 0, None)


def test_a_transaction_that_is_managed_by_hand_leaves_it_to_the_sweeper() -> None:
    enqueued = never_come().delay()
    wanted = payload_of(enqueued.id)
    queue().clear()
    connection.set_autocommit(False)
    try:
        assert dispatch(wanted).status is Status.REARMED
        connection.commit()
    finally:
        connection.set_autocommit(True)

    assert queue().tasks == []
    change(enqueued.id, send_at=ago())
    assert sweep() == Swept(sent=1)


@pytest.mark.parametrize(
    ("results", "definition"), [("all", read_later), ("errors", add)]
)
def test_the_largest_task_can_be_sent_once_more(
    settings: Any, results: str, definition: Any
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": results}
    with pytest.raises(PayloadTooLarge) as caught:
        definition("x" * MAX_STORED_BYTES).delay()
    length = MAX_STORED_BYTES - (caught.value.size - caught.value.limit)
    with pytest.raises(PayloadTooLarge):
        definition("x" * (length + 1)).delay()
    definition("x" * length).delay()
    stored = only()
    queue().clear()
    if results == "all":
        assert dispatch(stored.payload).status is Status.REARMED
    else:
        headers = {**meta(), "HTTP_X_TASK_REARM": "999999998.0"}
        asked = make_attempt(stored.payload, headers)
        asked.store.claim(asked.payload, asked.request).end(Ending())
        redrive(TaskRecord.objects.all())
        sweep()

    size = count_stored_bytes(only().sent)
    assert count_stored_bytes(stored.sent) < size <= MAX_STORED_BYTES


# When the database fails


def fail_once(
    patch: pytest.MonkeyPatch, times: int = 1, *, is_done_before: bool = False
) -> None:
    """Have the UPDATE fail, perhaps once it was made."""
    rearm, left = claims.rearm_row, [times]

    def fail(*args: Any, **options: Any) -> bool:
        if not left[0]:
            return rearm(*args, **options)
        left[0] -= 1
        if is_done_before:
            rearm(*args, **options)
        raise OperationalError("gone")

    patch.setattr(claims, "rearm_row", fail)


def test_an_end_whose_answer_was_lost_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued = come_later().delay()
    moments[:] = [now() + HOUR]
    quiet = go_on().delay()
    queue().clear()
    for each in (enqueued, quiet):
        with monkeypatch.context() as patch:
            fail_once(patch, is_done_before=each is quiet)
            assert post(each.id).status_code == 200

    assert len(queue().tasks) == 2
    assert {row(each.id).arming for each in (enqueued, quiet)} == {1}


def test_an_end_that_is_written_late_rearms_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = come_later().delay()
    queue().clear()
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "holds", lambda lease: False)
        fail_once(patch, 2)
        assert post(enqueued.id).status_code == 503
    assert row(enqueued.id).status == "RUNNING"
    due = now() + HOUR
    heartbeat.HEART.write_deferred()

    found = row(enqueued.id)
    assert (found.status, found.arming, found.interruptions) == ("READY", 1, 0)
    assert abs(found.schedule_time - due) < SOON
    # The thread that prolongs leases calls nobody.
    assert queue().tasks == []
    change(enqueued.id, send_at=ago())
    assert sweep() == Swept(sent=1)
    assert header() == "1.1"


def test_the_repeat_of_a_dispatch_whose_end_is_late_finds_it_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = come_later().delay()
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "holds", lambda lease: False)
        fail_once(patch, 2)
        assert post(enqueued.id).status_code == 503

    # Cloud Tasks still has the first alarm.
    assert deliver(enqueued.id, "", attempt=2).status is Status.DUPLICATE
    assert ran == [1]
    assert row(enqueued.id).arming == 1


def test_a_worker_that_was_taken_over_rearms_nothing() -> None:
    waiting = rearmed()
    late = claim(waiting)
    expire(waiting)
    taken = claim(waiting)
    rearming = Rearming(at=now() + DAY, attempts=2)
    queue().clear()

    assert late.end(Ending(final=False, rearming=rearming)) is False
    assert (row(waiting).status, queue().tasks) == ("RUNNING", [])
    assert taken.end(Ending(final=False, rearming=rearming)) is True
    assert row(waiting).arming == 2


# Recovery


def test_a_dead_workers_task_is_sent_with_its_header(clock: list[float]) -> None:
    waiting = rearmed(settle(1))
    queue().clear()
    die(waiting)

    assert sweep() == Swept(freed=1)
    assert sweep() == Swept(sent=1)
    assert header() == "1.1"
    assert pass_time(clock, HOUR) == [Status.REARMED]
    assert row(waiting).attempt == 2


def test_what_was_rearmed_since_it_was_looked_for_does_not_fail() -> None:
    enqueued = never_come().delay()
    dispatch(enqueued.id)
    queue().clear()
    change(enqueued.id, look_at=ago())
    looked_at = row(enqueued.id)
    # It is dispatched while a sweeper asks, and its alarm is gone then.
    dispatch(enqueued.id)

    assert recovery.fail_if_gone(looked_at, sending.make_patience()) is False
    assert row(enqueued.id).status == "READY"


def test_what_its_queue_has_lost_fails() -> None:
    waiting = rearmed()
    queue().clear()
    change(waiting, look_at=ago())

    assert sweep() == Swept(freed=1)
    assert row(waiting).status == "FAILED"


def test_an_alarm_is_looked_for_when_it_is_over() -> None:
    waiting = rearmed()
    change(waiting, schedule_time=now() + 100 * DAY, send_at=ago())
    sweep()

    # And not when its task is due.
    assert 29 * DAY < row(waiting).look_at - now() < 31 * DAY


# Code that asks for it


@pytest.mark.parametrize("definition", [go_on, ago_on, go_on_once])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_task_goes_on_later(
    definition: Any,
    is_async: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if is_async:
        monkeypatch.setattr("cloudtask.dispatch.execution.run", async_to_sync(arun))
    caplog.set_level(logging.INFO, "cloudtask")
    at = now() + HOUR
    moments[:] = [now() + 3 * HOUR, at]
    enqueued = definition().delay()
    [outcome] = queue().drain()

    assert (outcome.status, outcome.error) == (Status.REARMED, None)
    assert f"status=rearmed reason='half done' at={at.isoformat()}" in caplog.text
    assert abs(only().due - at) < timedelta(milliseconds=1)
    assert row(enqueued.id).attempt == 1
    # It has not failed, so that its only attempt is left.
    assert drain(2 * HOUR) == [Status.REARMED]
    assert drain(4 * HOUR) == [Status.DONE]
    assert ran == [1, 1, 1]
    found = enqueued.result()
    assert (found.status, found.return_value, found.errors) == (
        *("SUCCESSFUL", "done"),
        (),
    )


def test_a_moment_that_has_passed_is_at_once() -> None:
    moments[:] = [now() - DAY]
    go_on().delay()

    assert drain() == [Status.REARMED, Status.DONE]


def test_what_runs_once_is_given_up_as_before_if_its_worker_dies() -> None:
    moments[:] = [now() + HOUR]
    enqueued = go_on_once().delay()
    drain()
    asked = make_attempt(payload_of(enqueued.id), alarm(enqueued.id))
    asked.store.claim(asked.payload, asked.request)
    expire(enqueued.id)
    # A stale alarm does not do that.
    assert deliver(enqueued.id).status is Status.DUPLICATE
    assert row(enqueued.id).status == "RUNNING"

    assert dispatch(enqueued.id).status is Status.DUPLICATE
    assert row(enqueued.id).status == "FAILED"


@pytest.mark.parametrize("results", ["errors", "none"])
def test_what_nothing_keeps_cannot_go_on(
    settings: Any, results: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": results}
    moments[:] = [now() + HOUR]
    go_on().delay()
    outcome = run(make_attempt(only().payload, meta()))

    assert outcome.status is Status.FAILED
    assert str(outcome.error).startswith(
        f"CLOUDTASK['RESULTS']: must be 'all' for {go_on.path}, which goes on at "
    )
    assert "CLOUDTASK['RESULTS']: must be 'all'" in caplog.text


def test_a_moment_is_aware() -> None:
    with pytest.raises(ValueError, match="must be an aware datetime"):
        Rearm(datetime(2030, 1, 1))  # noqa: DTZ001
