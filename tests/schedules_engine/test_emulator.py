"""The engine, Google's client, the emulator's Cloud Scheduler, and ticks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client as Browser
from google.api_core.exceptions import NotFound
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1 import Job as GoogleJob
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)

from cloudtask import schedule, transports
from cloudtask.conf import GOOGLE_TRANSPORT
from cloudtask.emulator import Emulator
from cloudtask.planning import declarations
from cloudtask.results.models import TaskRecord
from cloudtask.schedules import delete_scheduled_task, pause_scheduled_task
from cloudtask.schedules.engines.cloud_scheduler import client as engine_client
from cloudtask.schedules.models import ScheduledTask, Slot
from tests.clocks import set_clock
from tests.live import serve
from tests.schedules.samples import hourly
from tests.tasks import add

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

LOS_ANGELES = ZoneInfo("America/Los_Angeles")


class Google:
    """The emulator, and Google's client to look into it."""

    def __init__(self, emulator: Emulator, client: CloudSchedulerClient) -> None:
        self.emulator = emulator
        self.client = client

    def job(self, row: ScheduledTask) -> GoogleJob:
        return self.client.get_job(name=self.emulator.job_path(f"shop-{row.uid}"))

    def jobs(self) -> list[GoogleJob]:
        return list(self.client.list_jobs(parent=self.emulator.parent))

    def tick(self, job: GoogleJob, slot: datetime) -> int:
        """Send what the job would for a slot. Returns the status."""
        target = job.http_target
        response = Browser().post(
            "/_tasks/",
            target.body,
            content_type="application/json",
            headers={
                **{n: v for n, v in target.headers.items() if n != "Content-Type"},
                "X-CloudScheduler": "true",
                "X-CloudScheduler-JobName": job.name.rpartition("/")[2],
                "X-CloudScheduler-ScheduleTime": slot.astimezone(
                    LOS_ANGELES
                ).isoformat(),
            },
        )
        return response.status_code


@pytest.fixture
def google(
    settings: Any, monkeypatch: pytest.MonkeyPatch, _results: None
) -> Iterator[Google]:
    declared: dict[str, Any] = {}
    monkeypatch.setattr(declarations, "_declared", declared)
    with Emulator((), project="project", location="europe-west1") as emulator:
        set_clock(monkeypatch, lambda: emulator.now.timestamp())
        settings.CLOUDTASK = {
            **settings.CLOUDTASK,
            "TRANSPORT": GOOGLE_TRANSPORT,
            "EMULATOR_HOST": emulator.host,
            "SCHEDULER": "scheduler",
            "SCHEDULER_PREFIX": "shop",
        }
        with grpc.insecure_channel(emulator.host) as channel:
            transport = CloudSchedulerGrpcTransport(channel=channel)
            yield Google(emulator, CloudSchedulerClient(transport=transport))
        if engine_client._open is not None:
            engine_client._open[1].close()
            engine_client._open = None
        for _, each in list(transports._open.values()):
            each.close()
        transports._open.clear()


def run(*args: str) -> str:
    out = StringIO()
    try:
        call_command("cloudtask", "schedules", *args, stdout=out)
    except SystemExit as error:
        out.write(f"exit {error.code}")
    return out.getvalue()


def runs() -> int:
    return TaskRecord.objects.filter(path="tests.tasks.add").count()


def test_a_changed_cron_is_applied(google: Google) -> None:
    row = hourly(timezone="Europe/Zurich")
    assert google.job(row).schedule == "0 * * * *"
    hourly(timezone="Asia/Tokyo", cron="30 2 * * *")
    job = google.job(row)
    assert (job.schedule, job.time_zone) == ("30 2 * * *", "Asia/Tokyo")


def test_a_paused_schedule_that_is_saved_again_stays_paused(google: Google) -> None:
    row = hourly()
    pause_scheduled_task(row.pk)
    row = ScheduledTask.objects.get()
    row.cron = "5 * * * *"
    row.save()
    job = google.job(row)
    assert (job.state, job.schedule) == (GoogleJob.State.PAUSED, "5 * * * *")


def test_a_renamed_one_leaves_no_old_job(google: Google) -> None:
    row = hourly()
    row.name = "each hour"
    row.save()
    [job] = google.jobs()
    assert job.description == "each hour (tests.tasks.add) [shop]"


def test_a_renamed_declaration_leaves_no_old_job(google: Google) -> None:
    schedule("0 3 * * *", name="night")(add)
    run("apply")
    declarations._declared.clear()
    schedule("0 3 * * *", name="each night")(add)
    run("apply")
    [job] = google.jobs()
    assert job.description == "each night (tests.tasks.add) [shop]"
    assert run("plan") == "Nothing to do.\n"


def test_deleted_rows_leave_no_orphans(google: Google) -> None:
    row = hourly()
    delete_scheduled_task(row.pk)
    with pytest.raises(NotFound):
        google.job(row)
    for name in "abc":
        hourly(name=name)
    ScheduledTask.objects.all().delete()
    assert google.jobs() == []


@pytest.mark.parametrize("sign", [True, False])
def test_a_second_plan_is_empty(google: Google, settings: Any, sign: bool) -> None:
    email = "tasks@project.iam.gserviceaccount.com"
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SIGN": sign, "SAE": email}
    schedule("*/15 6-20 * * MON-FRI", name="often", timezone="Europe/Zurich")(add)
    hourly()
    hourly(name="paused", enabled=False)
    assert run("plan").endswith("exit 2")
    run("apply")
    assert run("plan") == "Nothing to do.\n"
    google.emulator.advance(minutes=1)
    assert run("plan") == "Nothing to do.\n"


def test_prune_leaves_the_jobs_of_others(google: Google) -> None:
    row = hourly()
    for job_id, description in [
        ("backup", "a job of somebody's [shop]"),
        (f"shop-{'a' * 32}", "a job of somebody's"),
        (f"shop-{'b' * 32}", "ours [shop]"),
    ]:
        job = google.job(row)
        job.name = google.emulator.job_path(job_id)
        job.description = description
        google.client.create_job(parent=google.emulator.parent, job=job)
    run("prune", "--yes")
    assert len(google.jobs()) == 3
    assert f"shop-{'b' * 32}" not in str(google.jobs())


def in_hours(google: Google, hours: int) -> tuple[ScheduledTask, datetime]:
    """A schedule whose next slot is some hours ahead, and that slot."""
    due = google.emulator.now + timedelta(hours=hours)
    row = hourly(cron=f"0 {due.hour} * * *")
    assert row.next_at is not None
    return row, row.next_at


def advance_to(google: Google, moment: datetime) -> None:
    left = moment - google.emulator.now
    google.emulator.advance(microseconds=left // timedelta(microseconds=1))


def take_job(google: Google, row: ScheduledTask) -> GoogleJob:
    """The job, whose ticks the test sends itself from now on."""
    job = google.job(row)
    google.client.pause_job(name=job.name)
    return job


def test_five_deliveries_of_a_tick_enqueue_once(google: Google) -> None:
    row, slot = in_hours(google, 3)
    job = take_job(google, row)
    advance_to(google, slot)
    assert [google.tick(job, slot) for _ in range(5)] == [200] * 5
    assert Slot.objects.get().state == "enqueued"
    assert runs() == 1


def test_a_tick_for_an_unknown_task_keeps_the_slot(google: Google) -> None:
    row, slot = in_hours(google, 3)
    job = take_job(google, row)
    ScheduledTask.objects.update(path="tests.tasks.later")
    advance_to(google, slot)
    # Cloud Scheduler tries again what was not answered by a 2xx.
    assert google.tick(job, slot) == 500
    assert not Slot.objects.exists()
    ScheduledTask.objects.update(path="tests.tasks.add")
    assert google.tick(job, slot) == 200
    assert Slot.objects.get().instant == slot


def test_a_forced_run_leaves_the_natural_slot_alone(google: Google) -> None:
    row, slot = in_hours(google, 3)
    job = take_job(google, row)
    for _ in range(2):
        assert google.tick(job, slot) == 200
    assert [each.state for each in Slot.objects.all()] == ["manual"]
    advance_to(google, slot)
    assert google.tick(job, slot) == 200
    assert Slot.objects.get(instant=slot).state == "enqueued"
    assert runs() == 2


def test_a_tick_that_is_repeated_for_weeks_makes_nothing_run(
    google: Google, settings: Any
) -> None:
    # Its signature alone lets it in.
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SECRET": None}
    row, slot = in_hours(google, 3)
    job = take_job(google, row)
    advance_to(google, slot)
    for _ in range(3):
        assert google.tick(job, slot) == 200
        google.emulator.advance(minutes=5)
    google.emulator.advance(days=40)
    # Its signature holds still, and the plan says what is due.
    ScheduledTask.objects.update(decided_until=google.emulator.now)
    assert google.tick(job, slot) == 200
    assert runs() == 1


def test_a_tick_with_another_body_is_refused(google: Google, settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SECRET": None}
    row, other = hourly(), hourly(name="other")
    job = google.job(row)
    job.http_target.body = google.job(other).http_target.body
    assert google.tick(job, google.emulator.now) == 403
    assert runs() == 0


# Over HTTP, both ways

needs_server = pytest.mark.skipif(
    connection.vendor == "sqlite",
    reason="threads of a server lock each other out of SQLite in memory",
)


@pytest.fixture
def served(google: Google, settings: Any) -> Iterator[Google]:
    """The emulator's ticks reach the project, and so do its tasks."""
    with serve() as origin:
        url = f"{origin}/_tasks/"
        settings.CLOUDTASK = {**settings.CLOUDTASK, "URL": url}
        google.emulator.create_queue("default")
        yield google


@needs_server
def test_slots_run_as_the_clock_is_moved(served: Google) -> None:
    row = hourly()
    start = row.next_at
    assert start is not None
    advance_to(served, start + timedelta(hours=2, minutes=1))
    instants = Slot.objects.values_list("instant", flat=True)
    assert sorted(instants) == [start + timedelta(hours=n) for n in range(3)]
    served.emulator.drain()
    done = TaskRecord.objects.filter(path="tests.tasks.add", status="SUCCESSFUL")
    assert done.count() == 3
    assert run("plan") == "Nothing to do.\n"


@needs_server
def test_what_is_forced_in_the_console_runs_beside_the_slot(served: Google) -> None:
    row, slot = in_hours(served, 3)
    served.emulator.run_job(f"shop-{row.uid}")
    assert [each.state for each in Slot.objects.all()] == ["manual"]
    advance_to(served, slot + timedelta(minutes=1))
    assert Slot.objects.get(instant=slot).state == "enqueued"


@needs_server
def test_a_paused_schedule_has_no_slots(served: Google) -> None:
    row, slot = in_hours(served, 3)
    pause_scheduled_task(row.pk)
    advance_to(served, slot + timedelta(days=2))
    assert not Slot.objects.exists()
    assert served.emulator.job_attempts == []
