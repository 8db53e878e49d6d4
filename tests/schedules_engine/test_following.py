"""Jobs at Cloud Scheduler follow the rows of schedules."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F

from cloudtask.schedules import (
    delete_scheduled_task,
    pause_scheduled_task,
    resume_scheduled_task,
)
from cloudtask.schedules.engines import get_engine
from cloudtask.schedules.engines.cloud_scheduler.client import Client
from cloudtask.schedules.engines.cloud_scheduler.jobs import Job
from cloudtask.schedules.models import ScheduledTask
from tests.backends import tasks as django_tasks
from tests.schedules.samples import hourly
from tests.schedules_engine.service import Code, Service, State

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

PARENT = "projects/project/locations/europe-west6"


def job_of(service: Service) -> Any:
    """The one job that is there."""
    [job] = service.jobs.values()
    return job


def test_a_schedule_gets_a_job(cloud: Service) -> None:
    row = hourly(timezone="Europe/Zurich")
    job = job_of(cloud)
    assert job.name == f"{PARENT}/jobs/shop-{row.uid}"
    assert job.description == "hourly (tests.tasks.add) [shop]"
    assert (job.schedule, job.time_zone) == ("0 * * * *", "Europe/Zurich")
    assert job.attempt_deadline.ToTimedelta() == timedelta(minutes=1)
    assert job.retry_config.retry_count == 5
    target = job.http_target
    assert target.uri == "https://shop.example/_tasks/"
    assert target.http_method == 1
    assert target.oidc_token.service_account_email == (
        "tasks@project.iam.gserviceaccount.com"
    )
    assert target.oidc_token.audience == "https://shop.example/_tasks/"
    assert target.headers["Content-Type"] == "application/json"
    assert {"X-Task-Secret", "X-Task-Signature"} < set(target.headers)
    assert cloud.calls == ["GetJob", "CreateJob"]


def test_a_task_of_django_goes_to_its_backend(cloud: Service) -> None:
    hourly(task=django_tasks.add.using(queue_name="emails"))
    assert job_of(cloud).http_target.headers["X-Task-Backend"] == "default"


def test_nothing_is_asked_before_the_commit_nor_after_a_rollback(
    cloud: Service,
) -> None:
    with transaction.atomic():
        hourly()
        assert cloud.calls == []
        transaction.set_rollback(True)
    assert cloud.calls == []


def test_a_changed_cron_is_applied_in_place(cloud: Service) -> None:
    hourly()
    cloud.calls.clear()
    hourly(cron="30 3 * * *")
    assert job_of(cloud).schedule == "30 3 * * *"
    assert cloud.calls == ["GetJob", "UpdateJob"]
    assert cloud.masks == [["schedule", "time_zone"]]


def test_a_changed_zone_goes_with_the_cron(cloud: Service) -> None:
    hourly()
    hourly(timezone="Asia/Tokyo")
    job = job_of(cloud)
    assert (job.schedule, job.time_zone) == ("0 * * * *", "Asia/Tokyo")
    assert cloud.masks == [["schedule", "time_zone"]]


def test_what_is_saved_again_is_not_written_again(cloud: Service) -> None:
    hourly()
    cloud.calls.clear()
    hourly(args=[7])
    assert cloud.calls == ["GetJob"]


def test_a_paused_schedule_that_is_saved_again_stays_paused(cloud: Service) -> None:
    row = hourly()
    pause_scheduled_task(row.pk)
    row = ScheduledTask.objects.get()
    row.cron = "5 * * * *"
    row.save()
    row.save()
    job = job_of(cloud)
    assert (job.state, job.schedule) == (State.PAUSED, "5 * * * *")
    assert cloud.calls.count("PauseJob") == 1
    assert "ResumeJob" not in cloud.calls


def test_a_resumed_one_is_resumed_once(cloud: Service) -> None:
    row = hourly()
    pause_scheduled_task(row.pk)
    resume_scheduled_task(row.pk)
    hourly()
    assert job_of(cloud).state == State.ENABLED
    assert cloud.calls.count("ResumeJob") == 1


def test_one_that_is_made_paused_is_paused(cloud: Service) -> None:
    hourly(enabled=False)
    assert job_of(cloud).state == State.PAUSED
    assert cloud.calls == ["GetJob", "CreateJob", "PauseJob"]


def test_a_renamed_one_keeps_its_only_job(cloud: Service) -> None:
    row = hourly()
    row.name = "each hour"
    row.save()
    job = job_of(cloud)
    assert job.name == f"{PARENT}/jobs/shop-{row.uid}"
    assert job.description == "each hour (tests.tasks.add) [shop]"


def test_a_deleted_row_leaves_no_job(cloud: Service) -> None:
    delete_scheduled_task(hourly().pk)
    hourly(name="one")
    hourly(name="two").delete()
    assert len(cloud.jobs) == 1
    for name in "abc":
        hourly(name=name)
    ScheduledTask.objects.all().delete()
    assert cloud.jobs == {}


def test_a_job_that_is_gone_is_made_again(cloud: Service) -> None:
    row = hourly()
    cloud.jobs.clear()
    row.save()
    assert len(cloud.jobs) == 1
    cloud.jobs.clear()
    row.delete()
    assert cloud.jobs == {}


@pytest.mark.parametrize("state", [State.UPDATE_FAILED, State.DISABLED])
def test_a_broken_job_is_updated_again(cloud: Service, state: State) -> None:
    row = hourly()
    job_of(cloud).state = state
    row.save()
    assert job_of(cloud).state == State.ENABLED
    job_of(cloud).state = state
    pause_scheduled_task(row.pk)
    assert job_of(cloud).state == State.PAUSED


def test_what_is_not_shown_is_written(cloud: Service) -> None:
    row = hourly()
    cloud.has_full_view = False
    job_of(cloud).http_target.uri = "https://elsewhere.example/"
    row.save()
    assert job_of(cloud).http_target.uri == "https://shop.example/_tasks/"
    assert job_of(cloud).http_target.body


def test_an_error_breaks_no_save_and_says_what_to_do(
    cloud: Service, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.fails("*", Code.PERMISSION_DENIED, details="No.")
    row = hourly()
    assert ScheduledTask.objects.get() == row
    assert (
        "schedule='hourly': its job at Cloud Scheduler is not as it should be. Run "
        "`manage.py cloudtask schedules apply`."
    ) in caplog.text
    assert "PERMISSION_DENIED: No. Give the account" in caplog.text
    row.delete()
    assert "`manage.py cloudtask schedules prune`" in caplog.text
    assert not ScheduledTask.objects.exists()


def test_a_wrong_setting_breaks_no_save(
    cloud: Service, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "PROJECT": None}
    hourly()
    assert "CLOUDTASK['PROJECT']: is not set" in caplog.text


def test_secrets_are_in_no_error(
    cloud: Service, caplog: pytest.LogCaptureFixture
) -> None:
    row = hourly()
    headers = dict(job_of(cloud).http_target.headers)
    row.time_zone = "Asia/Tokyo"
    told = " ".join([headers["X-Task-Secret"], headers["X-Task-Signature"]])
    cloud.fails("UpdateJob", Code.INVALID_ARGUMENT, details=f"bad header {told}")
    row.save()
    [record] = [each for each in caplog.records if "was not updated" in each.message]
    assert "INVALID_ARGUMENT: bad header ... ... If the region" in record.message
    assert headers["X-Task-Secret"] not in caplog.text
    assert headers["X-Task-Signature"] not in caplog.text


def test_an_outage_is_waited_for_once(
    cloud: Service, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        hourly(name=name)
    wait = timedelta(seconds=0.3)
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RPC_TIMEOUT": wait}
    cloud.fails("*", Code.UNAVAILABLE)
    cloud.calls.clear()
    ScheduledTask.objects.all().delete()
    asked = len(cloud.calls)
    assert asked > 0
    assert "did not answer a moment ago" in caplog.text
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 3


@pytest.mark.parametrize("is_done", [True, False])
def test_a_call_whose_answer_is_lost_is_repeated(cloud: Service, is_done: bool) -> None:
    for method in ("CreateJob", "PauseJob", "ResumeJob", "UpdateJob", "DeleteJob"):
        cloud.fails(method, Code.UNAVAILABLE, is_done=is_done)
    row = hourly()
    pause_scheduled_task(row.pk)
    assert job_of(cloud).state == State.PAUSED
    resume_scheduled_task(row.pk)
    assert job_of(cloud).state == State.ENABLED
    row = hourly(cron="5 5 * * *")
    assert job_of(cloud).schedule == "5 5 * * *"
    row.delete()
    assert cloud.jobs == {}
    assert not any(cloud.faults.values())


def test_somebody_else_may_create_it_at_the_same_time(cloud: Service) -> None:
    row = hourly()
    kept = job_of(cloud)
    kept.schedule = "7 7 * * *"
    cloud.fails("GetJob", Code.NOT_FOUND)
    row.save()
    assert job_of(cloud).schedule == "0 * * * *"


def test_a_job_that_goes_meanwhile_is_an_error(
    cloud: Service, caplog: pytest.LogCaptureFixture
) -> None:
    row = hourly()
    cloud.fails("UpdateJob", Code.NOT_FOUND, details="Job not found.")
    row.cron = "1 1 * * *"
    row.save()
    assert "was not updated: NOT_FOUND: Job not found." in caplog.text


def test_a_switch_that_is_refused_is_an_error(
    cloud: Service, caplog: pytest.LogCaptureFixture
) -> None:
    row = hourly()
    cloud.fails("PauseJob", Code.FAILED_PRECONDITION, details="It is not enabled.")
    pause_scheduled_task(row.pk)
    assert "was not paused: FAILED_PRECONDITION: It is not enabled." in caplog.text


def test_the_last_change_wins_whoever_is_late(
    cloud: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = hourly()
    put = Client.put

    def put_late(client: Client, wanted: Job) -> None:
        put(client, wanted)
        # Another process, whose own call came before this one.
        rows = ScheduledTask.objects.filter(pk=row.pk, cron="1 1 * * *")
        rows.update(cron="2 2 * * *", generation=row.generation + 1)

    monkeypatch.setattr(Client, "put", put_late)
    row.cron = "1 1 * * *"
    row.save()
    assert job_of(cloud).schedule == "2 2 * * *"
    assert cloud.calls.count("UpdateJob") == 2


@pytest.mark.usefixtures("cloud")
def test_a_tick_that_did_not_come_is_told(caplog: pytest.LogCaptureFixture) -> None:
    get_engine().revive(hourly())
    assert "schedule='hourly': Cloud Scheduler has sent no tick" in caplog.text


@pytest.mark.usefixtures("queue")
def test_tasks_that_stay_in_this_process_have_no_jobs(cloud: Service) -> None:
    hourly()
    assert cloud.calls == []


def test_a_switch_that_is_not_allowed_is_an_error(
    cloud: Service, caplog: pytest.LogCaptureFixture
) -> None:
    row = hourly()
    cloud.fails("PauseJob", Code.PERMISSION_DENIED)
    pause_scheduled_task(row.pk)
    assert "was not paused: PERMISSION_DENIED" in caplog.text


def test_a_job_that_comes_and_goes_is_an_error(
    cloud: Service, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.fails("CreateJob", Code.ALREADY_EXISTS)
    hourly()
    assert "was not read: NOT_FOUND: Job not found." in caplog.text


def test_a_row_that_never_rests_is_left_to_those_who_change_it(
    cloud: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = hourly()
    put = Client.put

    def put_late(client: Client, wanted: Job) -> None:
        put(client, wanted)
        ScheduledTask.objects.update(generation=F("generation") + 1)

    monkeypatch.setattr(Client, "put", put_late)
    cloud.calls.clear()
    row.save()
    assert cloud.calls == ["GetJob"] * 5
