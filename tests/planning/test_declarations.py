"""Schedules that code declares, of both kinds of tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core import checks
from django.test import override_settings

import cloudtask
from cloudtask import CloudTaskRequest, schedulable, schedule, task
from cloudtask.enqueue import registry
from cloudtask.exceptions import InvalidSchedule, InvalidTask
from cloudtask.planning import declarations
from cloudtask.planning.declarations import Declaration, list_declared, list_problems
from tests.backends.samples import TASKS

with override_settings(TASKS=TASKS):
    from tests.backends import tasks as django_tasks


@pytest.fixture(autouse=True)
def _clean_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_declared", "_schedulable", "_problems"):
        monkeypatch.setattr(declarations, name, {})
    # What is defined here is not left to the checks of others.
    for name in ("_definitions", "_conflicts"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def report(
    request: CloudTaskRequest, region: str = "all", *, days: int = 1
) -> None: ...


def the_one() -> Declaration:
    [declaration] = list_declared()
    assert list_problems() == []
    return declaration


def test_task_takes_a_cron() -> None:
    definition = task(cron="0 3 * * mon", timezone="Europe/Zurich", path="shop.report")(
        report
    )
    declaration = the_one()
    assert definition.path == "shop.report"
    assert (declaration.name, declaration.task.path) == ("shop.report", "shop.report")
    assert declaration.plan.cron.text == "0 3 * * MON"
    assert declaration.plan.zone.key == "Europe/Zurich"
    assert (declaration.args, declaration.kwargs) == ((), {})


def test_schedules_are_stacked_above_a_task() -> None:
    schedule("0 3 * * *", name="north", args=["north"])(
        schedule(every=timedelta(hours=1), name="south", kwargs={"days": 2})(
            task(report)
        )
    )
    north, south = list_declared()
    assert (north.args, south.kwargs) == (("north",), {"days": 2})
    assert north.uid != south.uid


def test_a_task_of_django_is_scheduled() -> None:
    decorated = schedule("0 3 * * *", args=[1], kwargs={"b": 2})(django_tasks.add)
    declaration = the_one()
    assert decorated is django_tasks.add
    assert declaration.task.kind == "django"
    assert declaration.task.backend == "default"
    assert declaration.task.using == ("default", 0, None)


@pytest.mark.parametrize(
    ("decorator", "named"),
    [
        (schedule("0 3 * *"), "four"),
        (schedule("0 3 * * *", timezone="Mars"), "Mars"),
        (schedule("0 3 * * *", args=["a", "b"]), "args="),
        (schedule("0 3 * * *", kwargs={"until": 1}), "until"),
        (schedule("0 3 * * *", kwargs={"days": object()}), "days"),
        (schedule("0 3 * * *", name="two\nlines"), "name="),
        (schedule("0 3 * * *", name=""), "name="),
    ],
)
def test_what_is_wrong_is_told_by_a_check(decorator: Any, named: str) -> None:
    decorator(task(path="shop.report")(report))
    assert list_declared() == []
    [message] = [each for each in checks.run_checks() if each.id == "cloudtask.E031"]
    assert message.msg.startswith("shop.report: ")
    assert named in message.msg or named == "four"


def test_a_second_schedule_of_a_task_has_a_name() -> None:
    definition = task(report)
    schedule("0 3 * * *")(definition)
    schedule("0 4 * * *")(definition)
    assert list_declared()[0].plan.cron.text == "0 3 * * *"
    [problem] = list_problems()
    assert "another name=" in problem


def test_a_module_that_is_reloaded_declares_anew() -> None:
    task(cron="0 3 * * *")(report)

    def again(request: CloudTaskRequest) -> None: ...

    again.__module__, again.__qualname__ = report.__module__, report.__qualname__
    task(cron="0 4 * * *")(again)
    assert the_one().plan.cron.text == "0 4 * * *"


def test_only_a_task_is_scheduled() -> None:
    with pytest.raises(InvalidSchedule, match="above @task"):
        schedule("0 3 * * *")(report)
    with pytest.raises(InvalidSchedule, match="is not a task"):
        schedulable("shop.report")


def test_a_time_zone_belongs_to_a_cron() -> None:
    with pytest.raises(InvalidTask, match="timezone="):
        task(timezone="UTC")(report)


def test_people_schedule_what_says_so() -> None:
    task(schedulable=True, path="shop.report")(report)
    schedulable(django_tasks.add)
    paths = [each.path for each in declarations.list_schedulable()]
    assert paths == ["shop.report", "tests.backends.tasks.add"]


def test_names_are_public() -> None:
    assert cloudtask.schedule is schedule
    assert cloudtask.schedulable is schedulable


def test_nothing_runs_schedules_without_the_app(settings: Any) -> None:
    task(cron="0 3 * * *", path="shop.report")(report)
    settings.INSTALLED_APPS = [
        each for each in settings.INSTALLED_APPS if each != "cloudtask.schedules"
    ]
    [message] = [each for each in checks.run_checks() if each.id == "cloudtask.W033"]
    assert "shop.report" in message.msg
