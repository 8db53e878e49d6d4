"""`manage.py cloudtask schedules plan` and `apply`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError

from cloudtask.planning import declarations
from cloudtask.results.models import TaskRecord
from cloudtask.schedules import pause_scheduled_task
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.reconciling import compare_all
from cloudtask.transports.memory import MemoryTransport
from tests.backends import tasks as django_tasks
from tests.schedules.conftest import MovedClock
from tests.schedules.samples import at, hourly, ticks
from tests.schedules_engine.service import Code, Service, State
from tests.tasks import aadd, add

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

Run = Callable[..., str]
Declare = Callable[..., None]
NOTHING = "Nothing to do.\n"


# The code and its rows


def test_what_the_code_declares_becomes_rows(
    queue: MemoryTransport, run: Run, declare: Declare
) -> None:
    declare(add, name="night", args=[1], catch_up="none", timezone="Asia/Tokyo")
    told = (
        "+ schedule night\n"
        "    task: tests.tasks.add\n"
        "    kind: cloudtask\n"
        "    cron: 0 * * * *\n"
        "    time zone: Asia/Tokyo\n"
        "    catch_up: 0\n"
    )
    planned = run("plan")
    assert planned.startswith("+ schedule night\n")
    for line in told.splitlines()[1:]:
        assert line in planned
    assert planned.endswith("1 to create, 0 to change, 0 to delete.\nexit 2\n")
    assert not ScheduledTask.objects.exists()
    assert run("apply", "--dry-run") == planned.removesuffix("exit 2\n")
    assert not ScheduledTask.objects.exists()

    assert run("apply").endswith("1 done.\n")
    row = ScheduledTask.objects.get()
    assert (row.name, row.is_declared, row.time_zone) == ("night", True, "Asia/Tokyo")
    assert row.uid == declarations.make_uid("night")
    assert len(ticks(queue)) == 1
    assert run("plan") == NOTHING
    assert run("apply") == "Nothing was to be done.\n"
    assert ScheduledTask.objects.get().generation == row.generation


@pytest.mark.usefixtures("queue")
def test_what_the_code_changes_is_changed_in_place(run: Run, declare: Declare) -> None:
    declare(add, name="night", args=[1])
    run("apply")
    before = ScheduledTask.objects.get()
    pause_scheduled_task(before.pk)
    declare(add, "30 3 * * *", name="night", args=["a secret"])
    planned = run("plan")
    assert planned == (
        "~ schedule night\n"
        "    cron: 0 * * * * -> 30 3 * * *\n"
        "    arguments changed\n"
        "0 to create, 1 to change, 0 to delete.\n"
        "exit 2\n"
    )
    run("apply")
    after = ScheduledTask.objects.get()
    assert (after.pk, after.uid, after.cron) == (before.pk, before.uid, "30 3 * * *")
    # A matter of people.
    assert after.is_paused
    assert run("plan") == NOTHING


@pytest.mark.usefixtures("queue")
def test_what_the_code_drops_is_deleted_and_what_people_made_is_not(
    run: Run, declare: Declare, declared: dict[str, Any]
) -> None:
    hourly(name="of people")
    declare(add, name="night")
    run("apply")
    declared.clear()
    assert run("plan") == (
        "- schedule night\n0 to create, 0 to change, 1 to delete.\nexit 2\n"
    )
    assert run("apply") == "- schedule night\n1 done.\n"
    assert ScheduledTask.objects.get().name == "of people"
    assert run("plan") == NOTHING


@pytest.mark.usefixtures("queue")
def test_a_kind_of_task_leaves_nothing_behind(run: Run, declare: Declare) -> None:
    declare(django_tasks.add.using(queue_name="emails"), name="night")
    run("apply")
    declare(add, name="night")
    assert "queue: emails -> (none)" in run("apply")
    assert run("plan") == NOTHING


@pytest.mark.usefixtures("queue")
def test_moments_are_told_and_options_are_dropped(run: Run, declare: Declare) -> None:
    declare(add, name="night", starts=at(6, 1), ends=at(7, 1))
    told = run("apply")
    assert "    starts: 2026-06-01T00:00:00+00:00\n" in told
    declare(add, name="night", ends=at(7, 1))
    assert "    starts: 2026-06-01T00:00:00+00:00 -> (none)\n" in run("apply")
    assert run("plan") == NOTHING


@pytest.mark.usefixtures("queue")
def test_a_row_that_goes_meanwhile_is_left_alone(run: Run, declare: Declare) -> None:
    declare(add, name="night")
    run("apply")
    declare(add, "5 * * * *", name="night")
    [step] = compare_all().steps
    ScheduledTask.objects.all().delete()
    step.take()
    assert not ScheduledTask.objects.exists()


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("action", ["plan", "apply"])
def test_a_name_that_people_took_is_a_conflict(
    run: Run, declare: Declare, action: str
) -> None:
    hourly(name="night")
    declare(add, name="early")
    declare(aadd, name="night")
    with pytest.raises(CommandError, match="declares a schedule 'night', and somebody"):
        run(action)
    assert ScheduledTask.objects.count() == 1


@pytest.mark.usefixtures("queue")
def test_a_wrong_declaration_deletes_nothing(
    run: Run, declare: Declare, declared: dict[str, Any]
) -> None:
    declare(add, name="night")
    run("apply")
    declared.clear()
    declare(add, "99 * * * *", name="night")
    with pytest.raises(CommandError, match="Nothing can be applied"):
        run("apply")
    assert ScheduledTask.objects.count() == 1


@pytest.mark.usefixtures("queue")
def test_a_plan_can_be_read_by_programs(run: Run, declare: Declare) -> None:
    declare(add, name="night")
    run("apply")
    declare(add, "5 * * * *", name="night")
    text, _, status = run("plan", "--json").rpartition("exit ")
    assert (json.loads(text), status) == (
        {
            "steps": [
                {
                    "verb": "change",
                    "what": "schedule",
                    "name": "night",
                    "changes": [
                        {"field": "cron", "old": "0 * * * *", "new": "5 * * * *"}
                    ],
                }
            ],
            "orphans": [],
            "notes": [],
            "problems": [],
        },
        "2\n",
    )
    assert json.loads(run("apply", "--dry-run", "--json"))["steps"]


# Ticks by Cloud Tasks alone


def test_what_is_not_armed_is_armed(queue: MemoryTransport, run: Run) -> None:
    hourly()
    hourly(name="paused", enabled=False)
    TaskRecord.objects.all().delete()
    queue.tasks.clear()
    assert run("plan").startswith("+ tick hourly\n1 to create")
    assert run("apply") == "+ tick hourly\n1 done.\n"
    assert len(ticks(queue)) == 1
    assert run("plan") == NOTHING


def test_rows_that_were_made_in_bulk_get_their_slots(
    queue: MemoryTransport, run: Run, moved: MovedClock
) -> None:
    ScheduledTask.objects.bulk_create(
        [
            ScheduledTask(name="bulk", path=add.path, kind="cloudtask", cron=cron)
            for cron in ["0 * * * *"]
        ]
        + [ScheduledTask(name="wrong", path=add.path, kind="cloudtask", cron="never")]
    )
    assert run("plan").startswith(
        "~ schedule bulk\n    next slot: (none) -> 2026-06-01T13:00:00+00:00\n"
    )
    run("apply")
    assert len(ticks(queue)) == 1
    assert run("plan") == NOTHING


# Jobs at Cloud Scheduler


def test_another_engine_ends_the_ticks_of_this_one(
    queue: MemoryTransport, run: Run, moved: MovedClock, settings: Any
) -> None:
    hourly()
    own = settings.CLOUDTASK
    settings.CLOUDTASK = {**own, "SCHEDULER": "scheduler"}
    moved.move(hours=1)
    queue.drain()
    assert Slot.objects.get().state == "enqueued"
    assert ticks(queue) == []
    settings.CLOUDTASK = own
    assert run("apply") == "+ tick hourly\n1 done.\n"
    assert len(ticks(queue)) == 1


def test_a_new_secret_is_a_difference_that_shows_no_secret(
    cloud: Service, run: Run, settings: Any
) -> None:
    hourly()
    secret = "another secret of more than 24 bytes"
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SECRET": secret}
    told = run("plan")
    assert told.startswith("~ job hourly\n    headers changed\n0 to create")
    assert "secret" not in told + run("plan", "--json")
    run("apply")
    [job] = cloud.jobs.values()
    assert job.http_target.headers["X-Task-Secret"] == secret
    assert run("plan") == NOTHING


def test_jobs_follow_what_is_applied(
    cloud: Service, run: Run, declare: Declare
) -> None:
    hourly(name="of people")
    declare(add, name="night")
    planned = run("plan")
    assert "+ schedule night\n" in planned
    assert "+ job night\n" in planned
    assert planned.endswith("2 to create, 0 to change, 0 to delete.\nexit 2\n")
    run("apply")
    assert len(cloud.jobs) == 2
    cloud.calls.clear()
    assert run("plan") == NOTHING
    assert run("apply") == "Nothing was to be done.\n"
    assert set(cloud.calls) == {"ListJobs"}


def test_a_dropped_schedule_leaves_no_job(
    cloud: Service, run: Run, declare: Declare, declared: dict[str, Any]
) -> None:
    declare(add, name="night")
    run("apply")
    declared.clear()
    assert run("plan").startswith("- schedule night\n0 to create")
    run("apply")
    assert cloud.jobs == {}
    assert run("plan") == NOTHING


def test_what_somebody_changed_at_google_is_put_right(cloud: Service, run: Run) -> None:
    hourly(name="a")
    paused = hourly(name="b", enabled=False)
    [first, second] = cloud.jobs.values()
    first.schedule, first.http_target.headers["X-Task-Secret"] = "9 9 * * *", "wrong"
    second.state = State.ENABLED
    hourly(name="c")
    cloud.jobs.popitem()
    assert run("plan") == (
        "~ job a\n"
        "    cron: 9 9 * * * -> 0 * * * *\n"
        "    headers changed\n"
        "~ job b\n"
        "    state: ENABLED -> PAUSED\n"
        "+ job c\n"
        "1 to create, 2 to change, 0 to delete.\n"
        "exit 2\n"
    )
    cloud.masks.clear()
    assert run("apply").endswith("3 done.\n")
    assert cloud.masks == [["schedule", "time_zone", "http_target"]]
    assert cloud.jobs[f"{second.name}"].state == State.PAUSED
    assert paused.is_paused
    assert run("plan") == NOTHING


def test_an_error_at_the_commit_is_repaired(cloud: Service, run: Run) -> None:
    for method in ("GetJob", "GetJob"):
        cloud.fails(method, Code.PERMISSION_DENIED)
    hourly(name="a")
    hourly(name="b")
    assert cloud.jobs == {}
    cloud.fails("CreateJob", Code.PERMISSION_DENIED, details="Not you.")
    with pytest.raises(CommandError) as caught:
        run("apply")
    assert str(caught.value).startswith("1 not done. job a: projects/")
    assert "was not created: PERMISSION_DENIED: Not you. Give" in str(caught.value)
    assert len(cloud.jobs) == 1
    run("apply")
    assert len(cloud.jobs) == 2
    assert run("plan") == NOTHING


def test_what_is_not_shown_is_said_and_not_taken_for_a_difference(
    cloud: Service, run: Run
) -> None:
    hourly()
    cloud.has_full_view = False
    told = run("plan")
    assert told.startswith("! The targets of 1 jobs are not shown to this process")
    assert "cloudscheduler.jobs.fullView" in told
    assert told.endswith(NOTHING)


def test_jobs_are_listed_page_by_page(cloud: Service, run: Run) -> None:
    cloud.page_size = 2
    for name in "abcde":
        hourly(name=name)
    cloud.calls.clear()
    assert run("plan") == NOTHING
    assert cloud.calls == ["ListJobs"] * 3


def test_a_task_that_this_process_does_not_know_keeps_its_job(
    cloud: Service, run: Run
) -> None:
    row = hourly()
    ScheduledTask.objects.filter(pk=row.pk).update(path="tests.tasks.gone")
    told = run("plan")
    assert told.startswith("! hourly: its job stays as it is: ")
    assert told.endswith(NOTHING)
    assert len(cloud.jobs) == 1


def test_a_mark_that_was_edited_is_put_back(cloud: Service, run: Run) -> None:
    hourly()
    [job] = cloud.jobs.values()
    job.description = "mine"
    assert run("plan").startswith("+ job hourly\n")
    run("apply")
    [job] = cloud.jobs.values()
    assert job.description == "hourly (tests.tasks.add) [shop]"
    assert run("plan") == NOTHING


def test_nothing_can_be_told_while_nobody_answers(cloud: Service, run: Run) -> None:
    cloud.fails("*", Code.INVALID_ARGUMENT, details="No such region")
    with pytest.raises(
        CommandError, match=r"cannot be listed: INVALID_ARGUMENT: No su"
    ):
        run("plan")


@pytest.mark.usefixtures("cloud", "queue")
def test_a_project_whose_tasks_stay_at_home_has_no_jobs(run: Run) -> None:
    with pytest.raises(
        CommandError, match=r"CLOUDTASK\['TRANSPORT'\]: is not Google's"
    ):
        run("plan")
