"""What was not sent is sent; what nobody will end is freed."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from cloudtask.dispatch.outcomes import Status
from cloudtask.enqueue import registry
from cloudtask.exceptions import (
    EnqueueError,
    PermissionDenied,
    QueueNotFound,
)
from cloudtask.results.control import cancel
from cloudtask.results.leases import MAX_INTERRUPTIONS
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import Swept, recovery, sweep, traffic
from cloudtask.results.sweeping.recovery import GRACE
from cloudtask.stores import Ending, Standing
from cloudtask.transports import patience
from cloudtask.transports.memory import MemoryTransport
from tests.backends import tasks as django_tasks
from tests.results.samples import (
    AWAY,
    HOUR,
    add,
    ago,
    change,
    claim,
    dispatch,
    expire,
    needs_postgresql,
    payload,
    queue,
    refuse_sending,
    row,
    tidy,
    together,
    values,
)
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


def unsent(task: Any = None, since: timedelta = HOUR, **changes: Any) -> str:
    """A task whose process died after the commit."""
    enqueued = (task or add()).delay()
    queue().clear()
    empty = {"name": "", "sent_at": None, "send_at": ago(since)}
    change(enqueued.id, **{**empty, **changes})
    return str(enqueued.id)


def orphan(task: Any = None, by: timedelta = HOUR, **changes: Any) -> str:
    """A task whose worker died, and whose queue has forgotten it."""
    enqueued = (task or add()).delay()
    queue().clear()
    claim(enqueued.id)
    expire(enqueued.id, by)
    if changes:
        change(enqueued.id, **changes)
    return str(enqueued.id)


def test_what_was_not_sent_is_sent() -> None:
    one, two = unsent(add(1, 2)), unsent(add(3, 4))
    assert sweep() == Swept(sent=2)

    for each in (one, two):
        found = row(each)
        assert (found.status, found.send_at) == ("READY", None)
        assert found.sent_at is not None
        assert queue().has(found.name)
    queue().drain()
    assert sorted(ran) == [("add", 1, 2), ("add", 3, 4)]
    assert {row(each).status for each in (one, two)} == {"SUCCESSFUL"}


def test_what_is_under_way_is_left_alone() -> None:
    add().delay()
    unsent(since=-timedelta(minutes=1))
    unsent(status="FAILED")
    unsent(status="RUNNING")
    finished = add().delay()
    dispatch(finished.id)
    before = list(TaskRecord.objects.order_by("pk").values())

    assert sweep() == Swept()
    assert list(TaskRecord.objects.order_by("pk").values()) == before


def waits(id: str) -> int:  # noqa: A002
    """Seconds until a task is tried again, to the next ten."""
    send_at = row(id).send_at
    assert send_at is not None
    return round((send_at - ago(timedelta(0))).total_seconds(), -1)


def test_what_cannot_be_sent_now_is_sent_a_minute_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = unsent(enqueued_at=ago(48 * HOUR))
    with monkeypatch.context() as patch:
        refuse_sending(patch, AWAY)
        assert sweep() == Swept(unsent=1)
        assert sweep() == Swept()

    assert caplog.record_tuples == [
        (
            "cloudtask",
            logging.WARNING,
            f"task={add.path} id={waiting} was not sent: {AWAY}",
        )
    ]
    assert waits(waiting) == 60
    change(waiting, send_at=ago())
    assert sweep() == Swept(sent=1)


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(timedelta(0), 60), (timedelta(minutes=9), 540), (48 * HOUR, 3600)],
)
@pytest.mark.parametrize(
    "error",
    [
        QueueNotFound("gone", queue_path="q"),
        PermissionDenied("not you", queue_path="q"),
        EnqueueError("invalid", queue_path="q"),
        ValueError("broken"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_refused_for_good_is_tried_ever_less_often_and_told_as_an_error(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    age: timedelta,
    seconds: int,
) -> None:
    waiting = unsent(enqueued_at=ago(age))
    with monkeypatch.context() as patch:
        refuse_sending(patch, error)
        assert sweep() == Swept(unsent=1)
        assert sweep() == Swept()

    assert waits(waiting) == seconds
    assert caplog.record_tuples == [
        (
            "cloudtask",
            logging.ERROR,
            f"task={add.path} id={waiting} was not sent, and is tried again in "
            f"{seconds} s: {error}",
        )
    ]
    # It is never lost.
    change(waiting, send_at=ago())
    assert sweep() == Swept(sent=1)


def test_a_task_that_is_cancelled_while_it_is_refused_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = unsent()

    def send(self: MemoryTransport, task: Any) -> str:
        assert cancel(waiting)
        raise QueueNotFound("gone", queue_path="q")

    monkeypatch.setattr(MemoryTransport, "send", send)

    assert sweep() == Swept(unsent=1)
    assert (row(waiting).status, row(waiting).send_at) == ("FAILED", None)


def test_a_task_that_was_sent_before_counts_as_sent() -> None:
    enqueued = tidy().delay()
    change(enqueued.id, name="", sent_at=None, send_at=ago())
    assert sweep() == Swept(sent=1)

    found = row(enqueued.id)
    assert (found.name, found.send_at) == (enqueued.name, None)
    assert len(queue().tasks) == 1


def test_of_two_tasks_of_one_name_none_waits_for_ever() -> None:
    """The name was free when the transaction began."""
    with transaction.atomic():
        one, two = tidy().delay(), tidy().delay()
    queue().drain()
    TaskRecord.objects.filter(send_at__isnull=False).update(send_at=ago())
    sweep()
    queue().drain()

    assert ran == ["tidy"]
    assert row(one.id).status == "SUCCESSFUL"
    loser = TaskRecord.objects.filter(pk=two.id).first()
    assert loser is None or loser.status == "FAILED"


def test_a_task_whose_name_another_has_is_not_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was committed by a process that died before it was refused."""
    first = tidy().delay()
    second = row(first.id)
    second.pk, second.name = "f" * 32, ""
    second.sent_at, second.send_at = None, ago()
    second.save(force_insert=True)
    assert sweep() == Swept(unsent=1)

    found = row(second.pk)
    assert (found.status, found.send_at) == ("FAILED", None)
    assert [error.type for error in found.errors.all()] == [
        "cloudtask.exceptions.TaskAlreadyExists"
    ]
    assert f"id={second.pk} status=failed reason='{tidy.path} is enq" in caplog.text
    assert row(first.id).status == "READY"


def test_an_unknown_task_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    waiting = unsent()
    del registry._definitions[add.path]
    assert sweep() == Swept(unsent=1)
    assert row(waiting).status == "READY"
    assert f"was not sent: No task is registered as {add.path!r}." in caplog.text

    # Another process knows it.
    registry._definitions[add.path] = add
    change(waiting, send_at=ago())
    assert sweep() == Swept(sent=1)


def test_a_row_that_cannot_be_sent_does_not_hold_up_others(settings: Any) -> None:
    """Its backend is gone from TASKS, or its queue, or its body is damaged."""
    gone = django_tasks.add.enqueue()
    queue().clear()
    change(gone.id, send_at=ago(2 * HOUR), backend="gone")
    payload_of_gone = row(gone.id).body.replace('"default"', '"gone"', 1)
    change(gone.id, body=payload_of_gone)
    damaged = unsent(since=2 * HOUR, body="{}")
    left_out = django_tasks.add.using(queue_name="emails").enqueue()
    queue().clear()
    change(left_out.id, send_at=ago(2 * HOUR))
    settings.CLOUDTASK = {**settings.CLOUDTASK, "PRIORITY_QUEUES": {0: "all"}}
    fine = [unsent() for _ in range(3)]

    swept = sweep()
    assert swept.sent >= 3
    assert {row(each).send_at for each in fine} == {None}
    assert row(damaged).status == "READY"
    assert row(gone.id).status == "READY"


def test_an_orphan_that_cannot_be_looked_for_does_not_hold_up_others() -> None:
    gone = orphan(by=2 * HOUR, backend="gone")
    fine = orphan()
    assert sweep() == Swept(freed=1)

    assert row(fine).status == "READY"
    assert row(gone).status == "RUNNING"


def test_passes_are_bounded_and_serve_who_waits_longest_first() -> None:
    ids = [unsent(since=timedelta(minutes=10 - n)) for n in range(5)]
    assert sweep(limit=2) == Swept(sent=2)
    assert [bool(row(each).name) for each in ids] == [True, True, False, False, False]
    assert sweep(limit=2) == Swept(sent=2)
    assert sweep(limit=2) == Swept(sent=1)
    assert sweep(limit=2) == Swept()


def test_rows_that_fail_go_to_the_end_of_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison = [unsent(since=10 * HOUR) for _ in range(3)]
    fine = [unsent(since=HOUR) for _ in range(3)]
    refuse_sending(monkeypatch, AWAY, *poison)

    assert sweep(limit=3) == Swept(unsent=3)
    assert sweep(limit=3) == Swept(sent=3)
    assert {row(each).send_at for each in fine} == {None}


def test_a_pass_waits_for_an_outage_once(monkeypatch: pytest.MonkeyPatch) -> None:
    unsent, lost = add().delay().id, orphan()
    change(unsent, name="", sent_at=None, send_at=ago(HOUR))
    asked: list[str] = []
    clock = [0.0]

    def silent(self: Any, about: Any, *args: float) -> Any:
        asked.append(getattr(about, "id", "has"))
        clock[0] += 10
        raise AWAY

    monkeypatch.setattr(MemoryTransport, "send", silent)
    monkeypatch.setattr(MemoryTransport, "has", silent)
    monkeypatch.setattr(patience, "monotonic", lambda: clock[0])

    assert sweep() == Swept(unsent=1)
    assert asked == [unsent]
    assert row(lost).status == "RUNNING"


def test_silent_orphans_go_to_the_end_of_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {row(orphan(by=10 * HOUR)).name for _ in range(3)}
    fine = orphan()

    def has(self: Any, name: str, timeout: float) -> bool:
        if name in names:
            raise AWAY
        return False

    monkeypatch.setattr(MemoryTransport, "has", has)
    assert sweep(limit=3) == Swept()
    assert sweep(limit=3) == Swept(freed=1)
    assert row(fine).status == "READY"


def test_a_pass_looks_for_tasks_no_longer_than_a_call_may_take(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost = {orphan() for _ in range(3)}
    asked: list[float] = []
    clock = [0.0]

    def has(self: Any, name: str, timeout: float) -> bool:
        asked.append(timeout)
        clock[0] += 4
        raise AWAY

    monkeypatch.setattr(MemoryTransport, "has", has)
    monkeypatch.setattr(patience, "monotonic", lambda: clock[0])
    assert sweep() == Swept()

    # The third one would not be answered either.
    assert asked == [10, 6]
    assert len(caplog.messages) == 3
    assert {row(each).status for each in lost} == {"RUNNING"}


@needs_postgresql
def test_of_several_sweepers_one_sends_each_task() -> None:
    ids = {unsent() for _ in range(40)}
    answers = together(4, lambda: sweep(limit=40))

    assert sum(each.sent for each in answers) == 40
    assert {each.payload.id for each in queue().tasks} == ids
    assert len(queue().tasks) == 40


@needs_postgresql
def test_of_several_sweepers_one_frees_each_task() -> None:
    for _ in range(20):
        orphan()
    answers = together(4, lambda: sweep(limit=20))

    assert sum(each.freed for each in answers) == 20
    assert set(TaskRecord.objects.values_list("interruptions", flat=True)) == {1}


@needs_postgresql
def test_tasks_of_later_passes_are_not_taken_by_a_sweeper_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While one sweeper sends, another finds nothing of its."""
    unsent()
    sending, done = threading.Event(), threading.Event()
    send = MemoryTransport.send

    def slow(self: MemoryTransport, task: Any) -> str:
        sending.set()
        assert done.wait(10)
        return send(self, task)

    monkeypatch.setattr(MemoryTransport, "send", slow)

    def either() -> Swept:
        if threading.current_thread().name == names[0]:
            return sweep()
        assert sending.wait(10)
        try:
            return sweep()
        finally:
            done.set()

    names: list[str] = []
    barrier = threading.Lock()

    def call() -> Swept:
        with barrier:
            names.append(threading.current_thread().name)
        return either()

    answers = together(2, call)
    assert sorted(each.sent for each in answers) == [0, 1]


# Orphans


def test_an_orphan_is_freed_and_sent_again() -> None:
    lost = orphan(add(1, 2))
    assert sweep() == Swept(freed=1)
    found = row(lost)
    assert (found.status, found.lease, found.interruptions) == ("READY", "", 1)
    assert (found.name, found.task_id, found.lease_expires_at) == ("", "", None)

    assert sweep() == Swept(sent=1)
    queue().drain()
    assert ran == [("add", 1, 2)]
    assert row(lost).status == "SUCCESSFUL"


def test_a_named_orphan_is_sent_under_a_name_of_its_own() -> None:
    enqueued = tidy().delay()
    queue().tasks.clear()
    claim(enqueued.id)
    expire(enqueued.id)
    assert sweep() == Swept(freed=1)
    assert sweep() == Swept(sent=1)

    assert row(enqueued.id).name not in ("", enqueued.name)
    queue().drain()
    assert ran == ["tidy"]


def test_what_the_queue_still_has_is_left_to_the_next_attempt() -> None:
    enqueued = add().delay()
    claim(enqueued.id)
    expire(enqueued.id)
    assert sweep() == Swept()

    assert row(enqueued.id).status == "RUNNING"
    assert claim(enqueued.id).standing is Standing.FREE


@pytest.mark.parametrize("by", [timedelta(seconds=-20), GRACE - timedelta(minutes=1)])
def test_a_lease_that_is_over_for_a_moment_is_no_orphan(by: timedelta) -> None:
    lost = orphan(by=by)
    before = values(lost)

    assert sweep() == Swept()
    assert values(lost) == before


def test_an_orphan_is_kept_while_its_queue_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost = orphan()

    def silent(*args: Any) -> bool:
        raise AWAY

    monkeypatch.setattr(MemoryTransport, "has", silent)
    assert sweep() == Swept()
    assert row(lost).status == "RUNNING"
    assert caplog.messages == [
        f"task={add.path} id={lost}: Cloud Tasks did not answer: UNAVAILABLE"
    ]


def test_a_worker_that_was_only_slow_writes_nothing_after_it_was_freed() -> None:
    enqueued = add().delay()
    queue().clear()
    slow = claim(enqueued.id)
    expire(enqueued.id)
    assert sweep().freed == 1
    before = values(enqueued.id)

    assert slow.end(Ending(succeeded=True, value="late")) is False
    assert values(enqueued.id) == before


def test_an_orphan_that_is_taken_over_meanwhile_is_not_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = orphan()

    def has(self: Any, name: str, timeout: float) -> bool:
        expire(lost)
        claim(lost)
        return False

    monkeypatch.setattr(MemoryTransport, "has", has)
    assert sweep() == Swept()
    assert row(lost).status == "RUNNING"


def test_an_orphan_that_killed_its_workers_is_given_up() -> None:
    """However often its queue forgets it."""
    lost = orphan(interruptions=MAX_INTERRUPTIONS - 1)
    sweep()

    found = row(lost)
    assert (found.status, found.send_at) == ("FAILED", None)
    assert found.errors.count() == 1


def test_a_cancelled_orphan_is_over() -> None:
    lost = orphan()
    assert cancel(lost)
    sweep()

    found = row(lost)
    assert (found.status, found.send_at) == ("FAILED", None)
    assert found.finished_at is not None


def test_a_task_that_was_known_by_its_dispatch_alone_is_freed_and_sent() -> None:
    unknown = payload()
    claim(unknown)
    expire(unknown.id)
    assert sweep().freed == 1
    assert sweep().sent == 1

    [sent] = queue().tasks
    assert sent.sent.route.url == "https://shop.example/_tasks/"
    assert sent.sent.route.queue == "default"
    queue().drain()
    assert row(unknown.id).status == "SUCCESSFUL"


def test_a_task_that_used_up_the_attempts_of_its_queue_is_not_stuck() -> None:
    """Its worker lived, and Cloud Tasks has deleted it."""
    enqueued = add().delay()
    held = claim(enqueued.id, attempt=10)
    assert held.end(Ending(final=False, error=ValueError("broken")))
    queue().clear()
    TaskRecord.objects.update(
        enqueued_at=ago(48 * HOUR),
        sent_at=ago(48 * HOUR),
        started_at=ago(48 * HOUR),
        last_attempted_at=ago(48 * HOUR),
        look_at=ago(HOUR),
    )

    assert sweep().freed == 1
    assert row(enqueued.id).status == "FAILED"


def test_a_task_that_waits_for_its_next_attempt_is_left_alone() -> None:
    enqueued = add().delay()
    TaskRecord.objects.update(look_at=ago(HOUR))

    assert sweep().freed == 0
    assert row(enqueued.id).status == "READY"
    # Not looked for again at once.
    assert row(enqueued.id).look_at > ago(timedelta(0))


def test_traffic_makes_a_pass_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(traffic, "monotonic", lambda: clock[0])
    monkeypatch.setattr(traffic, "_last_pass", 1000.0)
    waiting = [unsent() for _ in range(11)]
    busy = [add().delay() for _ in range(3)]
    clock[0] += traffic.SECONDS - 0.1
    dispatch(busy[0].id)
    assert not any(row(each).name for each in waiting)
    clock[0] += 0.2
    dispatch(busy[1].id)
    assert [bool(row(each).name) for each in waiting].count(True) == 10
    dispatch(busy[2].id)
    assert [bool(row(each).name) for each in waiting].count(True) == 10


@pytest.mark.parametrize(
    ("key", "pruned"),
    [("PRUNE_AFTER", "SUCCESSFUL"), ("PRUNE_FAILED_AFTER", "FAILED")],
)
def test_traffic_prunes_what_the_settings_have_pruned(
    monkeypatch: pytest.MonkeyPatch, settings: Any, key: str, pruned: str
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, key: 24 * HOUR}
    monkeypatch.setattr(traffic, "_last_pass", float("-inf"))
    monkeypatch.setattr(traffic, "PRUNED", 1)
    old = {}
    for status in ("SUCCESSFUL", "FAILED"):
        old[status] = [add().delay().id for _ in range(2)]
        for age, each in zip((50, 40), old[status], strict=True):
            change(each, status=status, finished_at=ago(age * HOUR))
    new = add().delay()

    dispatch(new.id)

    left = set(TaskRecord.objects.values_list("pk", flat=True))
    assert {*old["SUCCESSFUL"], *old["FAILED"]} - left == {old[pruned][0]}
    assert new.id in left


def test_a_pass_that_fails_leaves_the_task_that_made_it_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any) -> Swept:
        raise DatabaseError("away")

    monkeypatch.setattr(traffic, "_last_pass", float("-inf"))
    monkeypatch.setattr(traffic, "sweep", away)
    enqueued = add().delay()
    assert dispatch(enqueued.id).status is Status.DONE
    assert caplog.messages == [
        f"a pass of the sweeper failed: {DatabaseError('away')!r}"
    ]


def test_a_task_that_comes_back_while_it_is_looked_for_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    queue().clear()
    TaskRecord.objects.update(look_at=ago(HOUR))

    def is_queued(found: TaskRecord, _: Any) -> bool:
        TaskRecord.objects.filter(pk=found.pk).update(status="RUNNING")
        return False

    monkeypatch.setattr(recovery, "is_queued", is_queued)

    assert sweep().freed == 0
    assert row(enqueued.id).status == "RUNNING"
