"""Tasks of a transaction go to Cloud Tasks together, over the wire."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, transaction

from cloudtask import EnqueuedTask, Task, task
from cloudtask.emulator import Emulator
from cloudtask.results.control import cancel
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import Swept, sweep
from cloudtask.transports.google import transport as google
from cloudtask.wire.outgoing import OutgoingTask
from tests.results.samples import (
    add,
    ago,
    change,
    dispatch,
    emulate,
    fail_twice,
    row,
    statements,
    verbs,
)
from tests.tasks import ran
from tests.wire import Calls, stored, watch

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

CREATE = "BatchCreateTasks"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return watch(monkeypatch)


@pytest.fixture
def emulator(settings: Any, calls: Calls) -> Iterator[Emulator]:
    with emulate(settings, "default", "urgent") as emulator:
        yield emulator


@pytest.fixture
def short(settings: Any) -> None:
    """Nobody waits long for an answer."""
    patience = timedelta(milliseconds=300)
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RPC_TIMEOUT": patience}


@task(queue="urgent")
def hurry(request: object, number: int) -> None: ...


@task(named=lambda number: f"number-{number}")
def once(request: object, number: int) -> None: ...


def later(definition: Any, *arguments: int) -> EnqueuedTask:
    """Enqueue a task for tomorrow: it stays in its queue."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    enqueued: EnqueuedTask = definition(*arguments).schedule(at=tomorrow)
    return enqueued


def check(emulator: Emulator, *tasks: EnqueuedTask) -> None:
    """Hold the rows, the names and the bodies of tasks against the queues."""
    found = {**stored(emulator), **stored(emulator, "urgent")}
    assert len(found) == len(tasks)
    for each in tasks:
        kept = row(each.id)
        assert (kept.name, kept.send_at) == (each.name, None)
        assert kept.sent_at is not None
        assert found[kept.name].decode() == kept.body


class Undo(Exception):
    """Ends a transaction without a commit."""


def test_the_tasks_of_a_transaction_take_few_calls_and_statements(
    emulator: Emulator, calls: Calls
) -> None:
    with statements() as queries, transaction.atomic():
        tasks = [later(add, number, 0) for number in range(250)]
        assert calls.methods == []
        within = len(verbs(queries))

    assert calls.methods == [CREATE] * 3
    assert verbs(queries)[:within] == ["INSERT"] * 250
    assert verbs(queries)[within:] == ["SELECT", "UPDATE"] * 3
    check(emulator, *tasks)


def test_one_task_takes_one_statement_after_the_commit(
    emulator: Emulator, calls: Calls
) -> None:
    with statements() as queries, transaction.atomic():
        enqueued = later(add)

    assert calls.methods == ["CreateTask"]
    assert verbs(queries) == ["INSERT", "UPDATE"]
    check(emulator, enqueued)


def test_what_was_rolled_back_is_not_sent(emulator: Emulator, calls: Calls) -> None:
    lost = []
    with transaction.atomic():
        with suppress(Undo), transaction.atomic():
            lost.append(later(add, 0))
            raise Undo
        one = later(add, 1)
        with transaction.atomic():
            two = later(add, 2)
            with suppress(Undo), transaction.atomic():
                lost.append(later(add, 3))
                with transaction.atomic():
                    lost.append(later(add, 4))
                raise Undo
            three = later(add, 5)
        with suppress(Undo), transaction.atomic():
            lost.append(later(add, 6))
            raise Undo
        # Django calls back for this one all the same.
        savepoint = connection.savepoint()
        lost.append(later(add, 7))
        connection.savepoint_rollback(savepoint)

    assert calls.methods == [CREATE]
    check(emulator, one, two, three)
    assert [each.name for each in lost] == [None] * 5
    assert TaskRecord.objects.count() == 3


def test_a_transaction_that_is_rolled_back_sends_nothing(
    emulator: Emulator, calls: Calls
) -> None:
    with suppress(Undo), transaction.atomic():
        later(add, 1)
        later(add, 2)
        raise Undo
    with transaction.atomic():
        tasks = later(add, 3), later(add, 4)

    assert calls.methods == [CREATE]
    check(emulator, *tasks)


def test_each_queue_gets_its_tasks(emulator: Emulator, calls: Calls) -> None:
    with transaction.atomic():
        tasks = [
            later(definition, number)
            for number in range(3)
            for definition in (add, hurry)
        ]

    assert calls.methods == [CREATE, CREATE]
    assert len(stored(emulator, "urgent")) == 3
    check(emulator, *tasks)


def test_a_name_that_is_taken_concerns_its_task_alone(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction.atomic():
        first, second, other = later(once, 1), later(once, 1), later(add)

    check(emulator, first, other)
    assert second.name is None
    assert not TaskRecord.objects.filter(pk=second.id).exists()
    [message] = caplog.messages
    assert message.startswith(f"task={once.path} id={second.id}: {once.path} is enq")


def test_a_task_that_is_cancelled_before_the_commit_is_not_sent(
    emulator: Emulator,
) -> None:
    with transaction.atomic():
        one, two, three = later(add, 1), later(add, 2), later(add, 3)
        assert cancel(two.id)

    check(emulator, one, three)
    assert row(two.id).status == "FAILED"


def test_what_cannot_be_sent_is_sent_by_the_sweeper(
    emulator: Emulator, calls: Calls, short: None, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.inject("unavailable", times=None)
    with transaction.atomic():
        tasks = [later(add, number) for number in range(5)]
    emulator.clear_faults()

    assert stored(emulator) == {}
    assert [each.name for each in tasks] == [None] * 5
    assert [message.partition(":")[0] for message in caplog.messages] == [
        f"task={add.path} id={each.id} is kept, and sent later" for each in tasks
    ]
    assert sweep() == Swept()  # It is not due.
    TaskRecord.objects.update(send_at=ago())
    calls.calls.clear()
    assert sweep() == Swept(sent=5)
    assert calls.methods == [CREATE]
    for each in tasks:
        each.note_sent(row(each.id).name)
    check(emulator, *tasks)


def test_a_lost_answer_doubles_nothing(emulator: Emulator, calls: Calls) -> None:
    emulator.inject("executed_then_unavailable", method=CREATE)
    with transaction.atomic():
        tasks = [later(add, number) for number in range(5)]

    assert calls.methods == [CREATE, CREATE]
    check(emulator, *tasks)


def test_of_a_task_that_was_sent_twice_one_copy_runs(
    emulator: Emulator, short: None
) -> None:
    """No answer came in time, and the sweeper knows no better."""
    emulator.inject("executed_then_unavailable", method=CREATE, times=None)
    with transaction.atomic():
        tasks = [later(add, number, 0) for number in range(2)]
        named = later(once, 7)
    emulator.clear_faults()
    assert len(stored(emulator)) == 3
    TaskRecord.objects.update(send_at=ago())
    assert sweep() == Swept(sent=3)

    assert len(stored(emulator)) == 5
    assert row(named.id).name.endswith("-number-7")
    for each in tasks:
        assert [dispatch(each.id).status for _ in range(2)] == ["done", "duplicate"]
    assert sorted(ran) == [("add", 0, 0), ("add", 1, 0)]


def test_tasks_stay_if_nobody_knows_which_were_committed(
    emulator: Emulator,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = OperationalError("away")

    def away(**conditions: object) -> None:
        raise error

    with monkeypatch.context() as patch, transaction.atomic():
        one, two = later(add, 1), later(add, 2)
        patch.setattr(TaskRecord.objects, "filter", away)

    assert calls.methods == []
    assert caplog.messages == [f"2 tasks are sent later: {error!r}"]
    assert row(one.id).send_at is not None
    assert row(two.id).send_at is not None


# The sweeper


def unsent(count: int, definition: Any = add) -> list[str]:
    """Tasks whose process died after the commit."""
    with suppress(Dead), transaction.atomic():
        transaction.on_commit(die)
        ids = [later(definition, number).id for number in range(count)]
    TaskRecord.objects.filter(pk__in=ids).update(send_at=ago())
    return ids


class Dead(BaseException):
    pass


def die() -> None:
    raise Dead


def test_a_pass_takes_few_calls_and_statements(
    emulator: Emulator, calls: Calls
) -> None:
    unsent(100)
    assert calls.methods == []
    with statements() as queries:
        assert sweep() == Swept(sent=100)

    assert calls.methods == [CREATE]
    # Those that look for tasks are a SELECT and no more.
    sending = ["SELECT", "UPDATE", "SELECT", "UPDATE"]
    assert verbs(queries)[:4] == sending
    assert len(verbs(queries)) < 12
    assert TaskRecord.objects.filter(send_at=None, look_at__isnull=False).count() == 100
    assert set(TaskRecord.objects.values_list("name", flat=True)) == {*stored(emulator)}


def test_a_pass_of_many_tasks_notes_each_call(emulator: Emulator, calls: Calls) -> None:
    ids = [*unsent(120), *unsent(3, hurry)]
    assert sweep(limit=123) == Swept(sent=123)

    # A call for each queue of each hundred.
    assert 3 <= len(calls.methods) <= 4
    found = {**stored(emulator), **stored(emulator, "urgent")}
    assert {row(each).name for each in ids} == found.keys()


def test_names_that_are_taken_are_told_apart_in_one_call(
    emulator: Emulator, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    """One was sent before and not noted, one is another's, two share one."""
    before, first = later(once, 1), later(once, 2)
    change(before.id, name="", sent_at=None, send_at=ago())
    ids = unsent(4, once)  # Of the names 0 to 3.
    twin = row(ids[3])
    twin.pk = "f" * 32
    twin.save(force_insert=True)
    TaskRecord.objects.filter(pk=ids[1]).delete()
    calls.calls.clear()
    assert sweep() == Swept(sent=3, unsent=2)

    assert calls.methods == [CREATE]
    check(
        emulator,
        before,
        first,
        EnqueuedTask(ids[0], "default", row(ids[0]).name),
        *(
            EnqueuedTask(each, "default", row(each).name)
            for each in (ids[3], twin.pk)
            if row(each).status == "READY"
        ),
    )
    # The other's, and one of the two.
    failed = TaskRecord.objects.filter(status="FAILED")
    assert failed.filter(pk=ids[2]).exists()
    assert failed.filter(pk__in=[ids[3], twin.pk]).count() == 1
    assert all("status=failed" in message for message in caplog.messages)


def test_a_queue_that_is_missing_holds_up_no_other(
    emulator: Emulator, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    lost = unsent(3)
    TaskRecord.objects.update(queue="missing")
    unsent(3)
    assert sweep() == Swept(sent=3, unsent=3)

    assert calls.methods == [CREATE, CREATE]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    for each in lost:
        assert f"task={add.path} id={each} was not sent, and is tried ag" in caplog.text


def test_a_task_that_cannot_be_written_holds_up_no_other(
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = unsent(3)
    write = google.to_message

    def fail_for_one(task: OutgoingTask) -> Any:
        if task.id == ids[1]:
            raise ValueError("broken")
        return write(task)

    monkeypatch.setattr(google, "to_message", fail_for_one)
    assert sweep() == Swept(sent=2, unsent=1)

    assert {row(ids[0]).name, row(ids[2]).name} == stored(emulator).keys()
    [message] = caplog.messages
    assert message.startswith(f"task={add.path} id={ids[1]} was not sent, and is tr")


def test_where_no_client_can_be_made_all_wait(
    emulator: Emulator, settings: Any, calls: Calls
) -> None:
    ids = unsent(3)
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "EMULATOR_HOST": None,
        "CREDENTIALS": "/nowhere/key.json",
    }
    assert sweep() == Swept(unsent=3)

    assert calls.methods == []
    assert all(row(each).send_at is not None for each in ids)


def test_tasks_of_all_queues_outlast_an_outage(
    emulator: Emulator, short: None, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [*unsent(30), *unsent(3, hurry), *unsent(1)]
    emulator.inject("deadline_exceeded", times=None)
    assert sweep() == Swept(unsent=34)

    # It passes, so it is no error.
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    emulator.clear_faults()
    assert sweep() == Swept()
    TaskRecord.objects.filter(pk__in=ids).update(send_at=ago())
    assert sweep() == Swept(sent=34)


# In place


@pytest.mark.parametrize("enqueue", [Task.delay, async_to_sync(Task.adelay)])
def test_a_task_that_fails_in_place_is_over(settings: Any, enqueue: Any) -> None:
    """Nobody would try it again, though its policy has attempts left."""
    transport = "cloudtask.transports.immediate.ImmediateTransport"
    settings.CLOUDTASK = {**settings.CLOUDTASK, "TRANSPORT": transport}

    with pytest.raises(ValueError, match="broken"):
        enqueue(fail_twice())

    found = TaskRecord.objects.get()
    assert (found.status, found.errors.count()) == ("FAILED", 1)
