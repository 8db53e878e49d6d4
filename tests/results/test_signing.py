"""Each task that is sent is signed for itself, however it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from cloudtask.auth import signing
from cloudtask.conf import get_settings
from cloudtask.emulator import Emulator
from cloudtask.results import sending
from cloudtask.results.control import redrive, run_again
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import sweep
from cloudtask.wire.payload import decode
from tests.backends import tasks as django_tasks
from tests.clocks import set_clock
from tests.results.samples import add, ago, change, dispatch, emulate, fail, row
from tests.wire import messages

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

TOMORROW = datetime.now(UTC) + timedelta(days=1)
LATER = timedelta(days=20).total_seconds()


@pytest.fixture
def emulator(settings: Any) -> Iterator[Emulator]:
    with emulate(settings, "default", SECRET=None) as emulator:
        yield emulator


def signed(emulator: Emulator) -> dict[str, float]:
    """Until when each task in the queue is signed, by its id."""
    found = {}
    for message in messages(emulator):
        http = message.http_request
        payload = decode(http.body)
        header, backend = http.headers["X-Task-Signature"], payload.backend or ""
        assert http.headers.get("X-Task-Backend", "") == backend
        about = signing.open_header(header, backend, get_settings())
        assert about.has_body(http.body)
        assert about.is_of(payload)
        found[payload.id] = float(header.split(".")[1])
    return found


def test_the_tasks_of_a_batch_are_signed_each(emulator: Emulator) -> None:
    deferred = django_tasks.add.using(run_after=TOMORROW)
    with transaction.atomic():
        ours = [add(n).schedule(at=TOMORROW).id for n in range(3)]
        theirs = [deferred.enqueue(n, n).id for n in range(3)]
    found = signed(emulator)

    assert found.keys() == {*ours, *theirs}
    assert set(found.values()) == {int(TOMORROW.timestamp()) + 31 * 86_400}


def test_a_task_of_the_outbox_is_signed_when_it_is_sent(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred = django_tasks.add.using(run_after=TOMORROW)
    ids = [add(1).schedule(at=TOMORROW).id, deferred.enqueue(1, 2).id]
    before = signed(emulator)
    sending.delete_many([row(each) for each in ids], sending.make_patience())
    assert signed(emulator) == {}
    for each in ids:
        change(each, send_at=ago(), sent_at=None)
    # Its time is long past, and it is no less valid.
    now = TOMORROW.timestamp() + LATER
    set_clock(monkeypatch, lambda: now)
    assert sweep().sent == 2

    after = signed(emulator)
    assert after.keys() == before.keys()
    assert set(after.values()) == {int(now) + 31 * 86_400}


def test_a_task_that_is_redriven_or_run_again_is_signed_anew(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueued = fail().schedule(at=TOMORROW)
    [first] = signed(emulator).values()
    dispatch(enqueued.id, attempt=100)
    change(enqueued.id, status="FAILED")
    sending.delete_many([row(enqueued.id)], sending.make_patience())
    failed = TaskRecord.objects.filter(pk=enqueued.id)
    [copy] = run_again(failed).values()
    assert redrive(failed) == 1
    for each in (enqueued.id, copy):
        change(each, schedule_time=TOMORROW)
    now = TOMORROW.timestamp() + 60
    set_clock(monkeypatch, lambda: now)
    assert sweep().sent == 2
    found = signed(emulator)

    assert found.keys() == {enqueued.id, copy}
    assert all(last > first for last in found.values())
