"""What people and code do with schedules, and what is wrong with it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from cloudtask import schedule, task
from cloudtask.conf import get_settings
from cloudtask.dispatch import kinds
from cloudtask.enqueue import registry
from cloudtask.exceptions import (
    ConfigurationError,
    InvalidCredentials,
    InvalidSchedule,
    TaskNotFound,
)
from cloudtask.planning import declarations
from cloudtask.schedules import schedule_task
from cloudtask.schedules.arguments import read_arguments, write_arguments
from cloudtask.schedules.models import ScheduledTask
from cloudtask.schedules.settings import get_schedules_settings
from cloudtask.transports.memory import MemoryTransport
from tests.backends import tasks as django_tasks
from tests.schedules.conftest import MovedClock
from tests.schedules.samples import at, fresh, hourly, runs, states, ticks
from tests.tasks import add

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


def test_a_schedule_is_a_row(moved: MovedClock, queue: MemoryTransport) -> None:
    row = schedule_task(
        django_tasks.add.using(queue_name="emails"),
        " 0  3 * * mon",
        args=[at(1, 1)],
        timezone="Europe/Zurich",
        catch_up=3,
        overlap="wait",
        spread=timedelta(minutes=5),
        starts=at(6, 2),
        ends=at(7, 1),
    )
    again = fresh(row)
    assert again.name == "tests.backends.tasks.add"
    assert (again.kind, again.backend, again.queue_name) == (
        *("django", "default"),
        "emails",
    )
    assert again.plan == row.plan
    assert again.plan.cron.text == "0 3 * * MON"
    assert again.next_at == at(6, 8, 1)
    assert read_arguments(again.arguments) == ([at(1, 1)], {})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": "shop.report"}, "is not a task"),
        ({"cron": "nonsense"}, "nonsense"),
        ({"args": [1, 2, 3]}, "args="),
        ({"kwargs": {"c": 1}}, "'c'"),
        ({"name": "\n"}, "name="),
        ({"every": timedelta(hours=1)}, "one of them"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_kept(
    queue: MemoryTransport, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        hourly(**change)
    assert named in str(caught.value)
    assert not ScheduledTask.objects.exists()
    assert queue.tasks == []


def test_a_schedule_of_the_code_is_changed_there(queue: MemoryTransport) -> None:
    hourly()
    ScheduledTask.objects.update(is_declared=True)
    with pytest.raises(InvalidSchedule, match="declared by the code"):
        hourly(cron="30 * * * *")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"args": {}, "kwargs": {}}', '{"args": [], "kwargs": []}']
)
def test_arguments_have_a_form(text: str) -> None:
    with pytest.raises(InvalidSchedule, match="must be JSON"):
        read_arguments(text)


def test_arguments_are_what_payloads_carry() -> None:
    with pytest.raises(InvalidSchedule, match=r"\['args'\]\[0\]"):
        write_arguments([object()], {})


def test_a_row_with_arguments_of_another_form_goes_nowhere(
    queue: MemoryTransport,
) -> None:
    hourly()
    [tick] = ticks(queue)
    ScheduledTask.objects.update(arguments="[]")
    with pytest.raises(TaskNotFound, match="hourly"):
        kinds.find_kind("tick").route(tick.payload)


def test_some_columns_are_saved(moved: MovedClock, queue: MemoryTransport) -> None:
    row = hourly()
    other = fresh(row)
    row.cron, row.name = "30 * * * *", "not saved"
    row.save(update_fields=["cron"])
    assert (fresh(row).name, fresh(row).next_at) == ("hourly", at(6, 1, 12, 30))
    # One that was read before does not undo the generation.
    other.save()
    assert fresh(row).generation == 3
    assert len(ticks(queue)) == 1


def test_a_row_that_makes_no_plan_is_not_saved(queue: MemoryTransport) -> None:
    row = hourly()
    row.cron = "61 * * * *"
    with pytest.raises(InvalidSchedule, match="61"):
        row.save()
    assert fresh(row).cron == "0 * * * *"


def test_a_change_while_a_slot_cannot_be_run_is_told(
    moved: MovedClock, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    row = hourly()
    ScheduledTask.objects.update(path="shop.tasks.gone")
    moved.move(hours=1, seconds=1)
    with caplog.at_level(logging.WARNING, "cloudtask"):
        hourly(args=[1])
    assert "passed over" in caplog.text
    assert (states(row), runs(queue)) == ({}, [])


def test_ticks_have_no_settings_of_their_own() -> None:
    assert kinds.find_kind("tick").settings(None) is None
    with pytest.raises(InvalidCredentials):
        kinds.find_settings("no backend")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SCHEDULER", "cron"),
        ("SCHEDULER_LOCATION", "Europe"),
        ("SCHEDULER_PREFIX", "Shop"),
        ("SCHEDULER_PREFIX", ""),
        ("SCHEDULER_PREFIX", "a" * 41),
    ],
)
def test_settings_are_checked(settings: Any, key: str, value: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, key: value}
    with pytest.raises(ConfigurationError) as caught:
        get_settings()
    assert str(caught.value).startswith(f"CLOUDTASK['{key}']")


def test_settings_have_values(settings: Any) -> None:
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        **{"SCHEDULER": "scheduler", "SCHEDULER_PREFIX": "shop-staging"},
    }
    ours = get_schedules_settings(get_settings())
    assert (ours.scheduler, ours.scheduler_prefix) == ("scheduler", "shop-staging")
    assert ours.scheduler_location is None


def test_the_app_needs_results(settings: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"cloudtask\.results"):
        settings.INSTALLED_APPS = [
            each for each in settings.INSTALLED_APPS if each != "cloudtask.results"
        ]


@pytest.mark.parametrize(
    ("results", "ids"), [("all", []), ("errors", ["cloudtask.E032"]), ("some", [])]
)
def test_results_are_kept_of_what_is_scheduled(
    settings: Any, monkeypatch: pytest.MonkeyPatch, results: str, ids: list[str]
) -> None:
    for name in ("_declared", "_problems"):
        monkeypatch.setattr(declarations, name, {})
    monkeypatch.setattr(registry, "_definitions", {})
    schedule("0 3 * * *")(task(path="shop.report")(lambda request: None))
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": results}
    found = [each for each in checks.run_checks() if each.id == "cloudtask.E032"]
    assert [each.id for each in found] == ids
    assert all("shop.report" in each.msg for each in found)


def test_a_task_with_other_arguments_is_another_schedule(
    queue: MemoryTransport,
) -> None:
    first = schedule_task(add, "0 * * * *", name="one", args=[1])
    second = schedule_task(add, "0 * * * *", name="two", args=[2])
    assert first.uid != second.uid
    assert len(ticks(queue)) == 2
