"""A project without time zones, or a database with a zone of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone
from django.utils.formats import date_format

from cloudtask import CloudTaskRequest, task
from cloudtask.dispatch.outcomes import Status
from cloudtask.framework import task_finished
from cloudtask.results import get_result
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.sweeping import sweep, traffic
from cloudtask.results.verbs import note_sent
from cloudtask.stores import Ending
from cloudtask.testing import memory_queue
from tests.backends import tasks as django_tasks
from tests.results.conftest import (  # noqa: F401 - fixtures
    _nothing_is_kept,
    _results,
    heart,
)
from tests.results.samples import (
    add,
    advance,
    change,
    claim,
    dispatch,
    fail_twice,
    payload,
    post,
    row,
)
from tests.results_admin.conftest import SETTINGS
from tests.results_admin.rows import make_person

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture(
    autouse=True,
    params=[
        (False, "Asia/Tokyo", None),
        (False, "America/New_York", None),
        (True, "Asia/Tokyo", "America/New_York"),
    ],
    ids=["Tokyo", "New York", "a database in New York"],
)
def _zones(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    use_tz, zone, database_zone = request.param

    def begin_anew() -> None:
        # As a process that starts with these settings.
        connection.close()
        for name in ("timezone", "timezone_name"):
            with suppress(AttributeError):
                delattr(connection, name)

    former = connection.settings_dict["TIME_ZONE"]
    settings.USE_TZ, settings.TIME_ZONE = use_tz, zone
    connection.settings_dict["TIME_ZONE"] = database_zone
    begin_anew()
    yield
    connection.settings_dict["TIME_ZONE"] = former
    begin_anew()


@pytest.fixture(autouse=True)
def _queue() -> Iterator[None]:
    with memory_queue():
        yield


def run(action: str, *args: str) -> str:
    out = StringIO()
    call_command("cloudtask", action, *args, stdout=out)
    return out.getvalue()


def is_now(moment: datetime | None, since: timedelta = timedelta(0)) -> bool:
    assert moment is not None
    return abs(datetime.now(UTC) - since - moment) < MINUTE


def unsent() -> str:
    """A task that is to be sent, and was not."""
    enqueued = add().delay()
    # A clock of milliseconds may be behind.
    due = datetime.now(UTC) - timedelta(seconds=1)
    change(enqueued.id, sent_at=None, name="", send_at=due)
    return enqueued.id


@task(sensitive=("token",))
def pay(request: CloudTaskRequest, token: str = "") -> None:
    raise ValueError("no money")


def test_all_times_of_a_task_agree() -> None:
    enqueued = fail_twice().schedule(after=HOUR)
    found = row(enqueued.id)
    assert is_now(found.enqueued_at)
    assert is_now(found.sent_at)
    assert is_now(found.schedule_time, -HOUR)
    assert is_now(found.look_at, -note_sent.LOOK_AFTER - HOUR)

    held = claim(enqueued.id)
    found = row(enqueued.id)
    assert is_now(found.started_at)
    assert is_now(found.last_attempted_at)
    assert is_now(found.lease_expires_at, -timedelta(seconds=30))
    held.end(Ending(final=False))

    dispatch(enqueued.id, attempt=2)
    assert is_now(row(enqueued.id).finished_at)
    assert is_now(TaskError.objects.get().happened_at)


def test_results_have_aware_times() -> None:
    enqueued = add().delay()
    dispatch(enqueued.id)
    result = get_result(enqueued.id)

    assert result.enqueued_at.tzinfo is not None
    for moment in (
        result.enqueued_at,
        result.started_at,
        result.last_attempted_at,
        result.finished_at,
    ):
        assert is_now(moment)


def test_results_of_django_have_times_as_django_has_them() -> None:
    result = django_tasks.add.enqueue(1, 2)
    dispatch(result.id)
    result.refresh()

    for moment in (
        result.enqueued_at,
        result.started_at,
        result.last_attempted_at,
        result.finished_at,
    ):
        assert moment is not None
        assert abs(timezone.now() - moment) < MINUTE


def test_what_was_not_sent_is_sent_when_it_is_due() -> None:
    due, later = unsent(), unsent()
    change(later, send_at=datetime.now(UTC) + MINUTE)

    assert sweep().sent == 1
    assert row(due).send_at is None


def test_pruning_takes_what_is_old_and_no_other() -> None:
    old, new = add().delay(), add().delay()
    for each in (old, new):
        dispatch(each.id)
    change(old.id, finished_at=datetime.now(UTC) - 3 * HOUR)

    assert run("prune", "--older-than", "2h") == "1 tasks deleted.\n"
    assert [each.pk for each in TaskRecord.objects.all()] == [new.id]


def test_traffic_prunes_what_is_old_and_no_other(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "PRUNE_AFTER": 2 * HOUR}
    old, new = add().delay(), add().delay()
    dispatch(old.id)
    change(old.id, finished_at=datetime.now(UTC) - 3 * HOUR)
    monkeypatch.setattr(traffic, "_last_pass", float("-inf"))

    assert post(new.id).status_code == 200
    assert [each.pk for each in TaskRecord.objects.all()] == [new.id]


def test_what_failed_lately_is_redriven_and_no_other() -> None:
    old, new = fail_twice().delay(), fail_twice().delay()
    for each in (old, new):
        dispatch(each.id, attempt=2)
    change(old.id, finished_at=datetime.now(UTC) - 2 * HOUR)

    assert run("redrive", "--failed-within", "1h") == "1 tasks run again.\n"
    assert row(old.id).status == "FAILED"


def test_what_cannot_be_sent_waits_as_long_as_it_has_waited() -> None:
    waiting = unsent()
    change(waiting, body="", enqueued_at=datetime.now(UTC) - HOUR / 2)

    assert sweep().unsent == 1
    assert is_now(row(waiting).send_at, -HOUR / 2)


def test_a_task_that_another_worker_has_is_busy() -> None:
    enqueued = add().delay()
    claim(enqueued.id)

    assert post(enqueued.id).status_code == 409
    change(enqueued.id, lease_expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert post(enqueued.id).status_code == 200


@pytest.mark.parametrize("enqueue", [add().delay, django_tasks.add.enqueue])
def test_a_task_whose_workers_died_is_given_up(enqueue: Callable[[], Any]) -> None:
    told: list[Any] = []

    def tell(**kwargs: Any) -> None:
        told.append(kwargs["task_result"].finished_at)

    orphan, other = enqueue(), unsent()
    claim(orphan.id)
    change(orphan.id, interruptions=2, lease_expires_at=datetime.now(UTC) - HOUR)
    task_finished.connect(tell)
    try:
        swept = sweep()
    finally:
        task_finished.disconnect(tell)

    assert (swept.sent, swept.freed) == (1, 1)
    assert row(other).send_at is None
    assert row(orphan.id).status == "FAILED"
    assert is_now(row(orphan.id).finished_at)
    for moment in told:
        assert abs(timezone.now() - moment) < MINUTE


def test_the_admin_shows_times_errors_and_no_hidden_argument() -> None:
    failed, running = pay(token="tok-12345678").delay(), advance().delay()
    dispatch(failed.id)
    claim(running.id)
    change(running.id, started_at=datetime.now(UTC) - timedelta(seconds=5))

    with override_settings(**SETTINGS):
        client = Client()
        client.force_login(make_person("view"))
        url = "/admin/cloudtask_results/taskrecord/"
        html = client.get(f"{url}{failed.id}/change/").content.decode()
        listed = client.get(url).content.decode()
        since = timezone.now() - HOUR
        recent = client.get(url, {"enqueued_at__gte": str(since)}).content.decode()
        none = client.get(
            url, {"enqueued_at__gte": str(since + 2 * HOUR)}
        ).content.decode()
        bad = client.get(url, {"enqueued_at__gte": "0001-01-01 00:00:00"})

    assert "tok-12345678" not in html
    assert "&quot;token&quot;: &quot;***&quot;" in html
    happened = timezone.localtime(TaskError.objects.get().happened_at)
    assert f"Attempt 1, {happened:%Y-%m-%d %H:%M:%S}" in html
    local = datetime.now(UTC).astimezone(timezone.get_default_timezone())
    assert any(
        date_format(local - n * MINUTE, "DATETIME_FORMAT") in html for n in (0, 1)
    )
    assert "5." in listed
    assert failed.id in recent
    assert failed.id not in none
    assert bad.status_code in (200, 302)


def test_a_last_failure_is_kept_with_errors_alone(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "errors"}
    failed = payload(fail_twice.path)

    assert dispatch(failed, attempt=2).status is Status.FAILED
    assert is_now(row(failed.id).finished_at)
    assert is_now(TaskError.objects.get().happened_at)


@pytest.mark.parametrize("hour", [5, 6])
def test_an_hour_that_comes_twice_is_told_apart(hour: int) -> None:
    """In New York it is half past one at both of these."""
    moment = datetime(2026, 11, 1, hour, 30, tzinfo=UTC)
    enqueued = add().delay()
    change(enqueued.id, schedule_time=moment)

    found = row(enqueued.id).schedule_time
    assert found is not None
    assert found.astimezone(UTC) == moment
    assert TaskRecord.objects.filter(schedule_time=found).count() == 1


@pytest.mark.skipif(
    connection.vendor == "postgresql",
    reason="its driver reads none that ends in the year 10,000 of the session's zone",
)
def test_a_moment_at_the_end_of_time_can_be_read() -> None:
    last = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    enqueued = add().delay()
    change(enqueued.id, schedule_time=last)

    assert row(enqueued.id).schedule_time == last
