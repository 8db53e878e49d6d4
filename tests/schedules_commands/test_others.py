"""`manage.py cloudtask schedules`: list, pause, resume, run and prune."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError

from cloudtask.planning.declarations import make_uid
from cloudtask.results.models import TaskRecord
from cloudtask.schedules import checks
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.schedules.slots import decide_due
from cloudtask.transports.memory import MemoryTransport
from tests.schedules.conftest import MovedClock
from tests.schedules.samples import at, hourly, runs
from tests.schedules_engine.service import Code, Service

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

Run = Callable[..., str]


# List


@pytest.fixture
def three(queue: MemoryTransport, moved: MovedClock) -> None:
    row = hourly(name="active", timezone="Asia/Tokyo")
    hourly(name="ended", ends=at(6, 1, 12, 30))
    hourly(name="paused", enabled=False)
    decide_due(row.uid, moved.move(hours=1))


@pytest.mark.usefixtures("three")
def test_schedules_are_listed(run: Run) -> None:
    lines = [line.split("  ") for line in run("list").splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["NAME", "TASK", "CRON", "TIME ZONE", "NEXT", "STATE", "LAST"],
        [
            *["active", "tests.tasks.add", "0 * * * *", "Asia/Tokyo"],
            *["2026-06-01 23:00+09:00", "active", "2026-06-01 22:00+09:00 enqueued"],
        ],
        ["ended", "tests.tasks.add", "0 * * * *", "UTC", "-", "ended", "-"],
        ["paused", "tests.tasks.add", "0 * * * *", "UTC", "-", "paused", "-"],
    ]


@pytest.mark.usefixtures("three")
def test_schedules_are_listed_for_programs(run: Run) -> None:
    [active, *_] = json.loads(run("list", "--json"))
    assert active == {
        "name": "active",
        "task": "tests.tasks.add",
        "cron": "0 * * * *",
        "time_zone": "Asia/Tokyo",
        "next": "2026-06-01 23:00+09:00",
        "state": "active",
        "last": "2026-06-01 22:00+09:00 enqueued",
    }


@pytest.mark.usefixtures("three")
def test_a_zone_that_is_not_valid_any_more_is_shown(run: Run) -> None:
    ScheduledTask.objects.update(time_zone="Mars/Base")
    assert "Mars/Base  2026-06-01 14:00+00:00" in run("list")


# Pause, resume, run


def test_schedules_are_paused_and_resumed(queue: MemoryTransport, run: Run) -> None:
    hourly(name="a")
    hourly(name="b")
    assert run("pause", "a", "b") == "a: paused.\nb: paused.\n"
    assert run("pause", "a") == "a: was paused before.\n"
    assert run("resume", "a") == "a: resumed.\n"
    assert run("resume", "a") == "a: was not paused.\n"
    assert ScheduledTask.objects.get(paused_at=None).name == "a"


def test_a_run_leaves_slots_alone(queue: MemoryTransport, run: Run) -> None:
    row = hourly()
    told = run("run", "hourly")
    [sent] = runs(queue)
    assert told == f"hourly: enqueued as {sent.payload.id}.\n"
    assert TaskRecord.objects.filter(pk=sent.payload.id).exists()
    assert Slot.objects.get().state == "manual"
    assert ScheduledTask.objects.get().next_at == row.next_at


@pytest.mark.usefixtures("queue")
def test_a_name_that_is_not_there_stops_all(run: Run) -> None:
    hourly()
    with pytest.raises(CommandError, match=r"No schedule is called 'weekly'\. See"):
        run("pause", "hourly", "weekly")
    assert not ScheduledTask.objects.get().is_paused


@pytest.mark.usefixtures("queue")
def test_what_cannot_be_run_is_an_error(run: Run) -> None:
    row = hourly()
    ScheduledTask.objects.filter(pk=row.pk).update(path="tests.tasks.gone")
    with pytest.raises(CommandError, match=r"tests\.tasks\.gone"):
        run("run", "hourly")


# Prune


def orphan(cloud: Service, name: str, description: str = "old [shop]") -> str:
    """A job that no row has."""
    job = next(iter(cloud.jobs.values()))
    made = type(job)()
    made.CopyFrom(job)
    made.name = f"projects/project/locations/europe-west6/jobs/{name}"
    made.description = description
    cloud.jobs[made.name] = made
    return str(made.name)


@pytest.fixture
def orphans(cloud: Service) -> list[str]:
    hourly()
    orphan(cloud, "nightly-backup")
    orphan(cloud, f"shop-{'b' * 32}", "made by hand")
    orphan(cloud, f"other-{'c' * 32}")
    return [orphan(cloud, f"shop-{letter * 32}") for letter in "de"]


def test_only_jobs_with_both_marks_and_without_a_row_are_deleted(
    cloud: Service, orphans: list[str], run: Run
) -> None:
    before = set(cloud.jobs)
    planned = run("plan")
    assert f"? job shop-{'d' * 32}: old [shop]: no schedule has it\n" in planned
    assert planned.endswith("by `schedules prune`.\nNothing to do.\n")
    assert run("prune", "--dry-run") == (
        f"- job shop-{'d' * 32}: old [shop]\n"
        f"- job shop-{'e' * 32}: old [shop]\n"
        "2 jobs to delete.\n"
    )
    assert set(cloud.jobs) == before
    assert run("prune", "--yes").endswith("1/2 deleted.\n2/2 deleted.\n")
    assert before - set(cloud.jobs) == set(orphans)
    assert run("prune") == "0 jobs to delete.\n"


@pytest.mark.parametrize(("answer", "left"), [("y", 4), ("n", 6), ("", 6), (None, 6)])
def test_it_is_asked_first(
    cloud: Service,
    orphans: list[str],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    answer: str | None,
    left: int,
) -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr(builtins, "input", ask)
    if left == 6:
        with pytest.raises(CommandError, match=r"Nothing was deleted\. Say --yes"):
            run("prune")
    else:
        run("prune")
    assert asked == ["Delete 2 jobs? [y/N] "]
    assert len(cloud.jobs) == left


def test_a_schedule_that_comes_back_meanwhile_keeps_its_job(
    cloud: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly()
    uid = make_uid("back")
    name = orphan(cloud, f"shop-{uid}")

    def come_back(question: str) -> str:
        hourly(name="back")
        ScheduledTask.objects.filter(name="back").update(uid=uid)
        return "yes"

    monkeypatch.setattr(builtins, "input", come_back)
    run("prune")
    assert name in cloud.jobs


def test_what_cannot_be_deleted_is_an_error(
    cloud: Service, orphans: list[str], run: Run
) -> None:
    cloud.fails("DeleteJob", Code.PERMISSION_DENIED)
    with pytest.raises(CommandError, match="was not deleted: PERMISSION_DENIED"):
        run("prune", "--yes")
    assert set(orphans) < set(cloud.jobs)


def test_another_engine_leaves_all_jobs_to_be_deleted(
    cloud: Service, settings: Any, run: Run
) -> None:
    hourly()
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SCHEDULER": "tasks"}
    run("prune", "--yes")
    assert cloud.jobs == {}
    assert ScheduledTask.objects.exists()


# The extra


def test_an_extra_that_is_missing_is_told(
    cloud: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = "cloudtask.schedules.engines.cloud_scheduler"
    for module in ("client", "messages"):
        monkeypatch.delitem(sys.modules, f"{package}.{module}", raising=False)
        monkeypatch.delattr(sys.modules[package], module, raising=False)
    monkeypatch.setitem(sys.modules, "google.cloud.scheduler_v1", None)
    told = (
        r"CLOUDTASK\['SCHEDULER'\]: is 'scheduler', and google-cloud-scheduler is not"
    )
    with pytest.raises(CommandError, match=told + r".*pip install 'dj-cloudtask\[sch"):
        run("plan")
    [error] = checks.check_engine()
    assert error.id == "cloudtask.E034"
    assert "pip install" in error.msg


@pytest.mark.usefixtures("cloud")
def test_an_engine_that_is_there_is_no_error() -> None:
    assert checks.check_engine() == []
