"""The list of schedules, and the page of one."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from cloudtask.results.models import TaskRecord
from cloudtask.schedules import pause_scheduled_task, schedule_task
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.wire.payload import new_id
from tests.results_admin.rows import make_row
from tests.schedules.conftest import MovedClock
from tests.schedules_admin.samples import (
    URL,
    LogIn,
    count,
    page,
    pay,
    text,
)

pytestmark = pytest.mark.django_db_backend

State = Slot.State
HOUR = timedelta(hours=1)


def make_slot(
    row: ScheduledTask, moved: MovedClock, ago: timedelta, state: str, **values: Any
) -> Slot:
    instant = moved.now - ago
    late = values.pop("late", timedelta(seconds=0.4))
    return Slot.objects.create(
        **{"schedule": row, "instant": instant, "state": state},
        **{"decided_at": instant + late, **values},
    )


def make_run(
    row: ScheduledTask, moved: MovedClock, ago: timedelta, status: str, **values: Any
) -> TaskRecord:
    run = make_row(status, path=row.path)
    make_slot(row, moved, ago, State.ENQUEUED, task_id=run.pk, **values)
    return run


def listed(client: Client, **query: str) -> list[str]:
    """The names that the list shows, in its order."""
    answer = client.get(URL, query)
    assert answer.status_code == 200, answer
    return [row.name for row in answer.context["cl"].result_list]


def cells(answer: Any) -> dict[str, str]:
    html = answer.content.decode()
    found = re.findall(r'<t[dh] class="field-(\w+)[^>]*>(.*?)</t[dh]>', html, re.S)
    return {
        name: unescape(re.sub(r"<[^>]+>", "", each)).strip() for name, each in found
    }


def lines(answer: Any, section: str) -> list[list[str]]:
    """The cells of a table on a schedule's page."""
    html = answer.content.decode()
    table = html[html.index(f'<section class="{section}"') :]
    rows = re.findall(r"<tr.*?</tr>", table[: table.index("</section>")], re.S)
    return [
        [
            " ".join(unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.S)
        ]
        for row in rows
    ][1:]


def test_a_schedule_is_a_line(log_in: LogIn, moved: MovedClock) -> None:
    row = schedule_task(
        *(count, "0 3 * * *"), name="stock", args=["x"], timezone="Europe/Zurich"
    )
    make_run(row, moved, HOUR, "FAILED")
    make_run(row, moved, 2 * HOUR, "SUCCESSFUL")

    shown = cells(log_in("view").get(URL))

    assert shown == {
        "name": "stock",
        "path": count.path,
        "cron": "0 3 * * *",
        "time_zone": "Europe/Zurich",
        "state": "active",
        "next_at": "June 1, 2026, 8 p.m.",
        "last_slot": "2026-06-01 06:00: failed",
    }


def test_states_are_told_apart(log_in: LogIn, moved: MovedClock) -> None:
    options: dict[str, Any] = {"args": ["x"]}
    schedule_task(count, "0 * * * *", name="active", **options)
    ended = schedule_task(count, "0 * * * *", name="ended", **options)
    ScheduledTask.objects.filter(pk=ended.pk).update(next_at=None)
    schedule_task(count, "0 * * * *", name="paused", **options, enabled=False)

    rows = log_in("view").get(URL).context["cl"].result_list

    shown = admin.site.get_model_admin(ScheduledTask)
    assert {row.name: shown.state(row) for row in rows} == {  # type: ignore[attr-defined]
        name: name for name in ("active", "ended", "paused")
    }


def test_a_missed_slot_is_red_in_the_list(log_in: LogIn, moved: MovedClock) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"])
    make_slot(row, moved, HOUR, State.MISSED)

    answer = log_in("view").get(URL)

    assert text(answer, "cloudtask-missed") == "2026-06-01 06:00: missed"


def test_a_schedule_without_slots_has_none_in_the_list(log_in: LogIn) -> None:
    schedule_task(count, "0 * * * *", args=["x"])

    assert cells(log_in("view").get(URL))["last_slot"] == "-"


def test_filters_and_search(log_in: LogIn) -> None:
    schedule_task(count, "0 * * * *", name="stock of Bern", args=["x"])
    schedule_task(pay, "0 * * * *", name="paying", args=[1, "x"], enabled=False)
    declared = schedule_task(count, "0 * * * *", name="nightly", args=["x"])
    ScheduledTask.objects.filter(pk=declared.pk).update(is_declared=True)
    client = log_in("view")

    assert listed(client) == ["nightly", "paying", "stock of Bern"]
    assert listed(client, state="paused") == ["paying"]
    assert listed(client, state="active") == ["nightly", "stock of Bern"]
    assert listed(client, is_declared__exact="1") == ["nightly"]
    assert listed(client, path=count.path) == ["nightly", "stock of Bern"]
    assert listed(client, q="bern") == ["stock of Bern"]
    assert listed(client, q="samples.pay") == ["paying"]
    assert listed(client, path=pay.path, state="active") == []


@pytest.mark.parametrize("number", [1, 20])
def test_the_list_takes_as_many_queries_however_long_it_is(
    log_in: LogIn,
    moved: MovedClock,
    django_assert_num_queries: DjangoAssertNumQueries,
    number: int,
) -> None:
    for index in range(number):
        row = schedule_task(count, "0 * * * *", name=f"{index}", args=["x"])
        make_run(row, moved, HOUR, "SUCCESSFUL")
        make_run(row, moved, 2 * HOUR, "FAILED")
    client = log_in("view", "pause")

    # The session, the user and two for permissions; the filter of tasks, the
    # count, and the rows.
    with django_assert_num_queries(7):
        client.get(URL)


@pytest.mark.parametrize("number", [1, 20])
def test_a_page_takes_as_many_queries_however_many_slots_it_shows(
    log_in: LogIn,
    moved: MovedClock,
    django_assert_num_queries: DjangoAssertNumQueries,
    number: int,
) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"])
    for index in range(number):
        make_run(row, moved, index * HOUR, "SUCCESSFUL")
    client = log_in("view", "change", "pause", "run")
    ContentType.objects.get_for_model(ScheduledTask)  # Known to the process.

    # The session, the user and two for permissions; the row, its slots, and
    # their runs.
    with django_assert_num_queries(7):
        client.get(page(row))


def test_next_runs_are_shown_on_two_clocks(log_in: LogIn, moved: MovedClock) -> None:
    moved.set(2026, 10, 22, 12)
    row = schedule_task(
        count, "30 2 * * *", name="stock", args=["x"], timezone="Europe/Zurich"
    )

    answer = log_in("view").get(page(row))

    assert lines(answer, "cloudtask-next") == [
        ["Fri 2026-10-23 02:30 +0200", "Fri 2026-10-23 00:30"],
        ["Sat 2026-10-24 02:30 +0200", "Sat 2026-10-24 00:30"],
        ["Sun 2026-10-25 02:30 +0200", "Sun 2026-10-25 00:30"],
        ["Mon 2026-10-26 02:30 +0100", "Mon 2026-10-26 01:30"],
        ["Tue 2026-10-27 02:30 +0100", "Tue 2026-10-27 01:30"],
    ]


def test_a_paused_schedule_shows_what_would_be(
    log_in: LogIn, moved: MovedClock
) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"])
    pause_scheduled_task(row.pk)

    answer = log_in("view").get(page(row))

    assert "If it were resumed" in text(answer, "cloudtask-next")
    assert len(lines(answer, "cloudtask-next")) == 5


def test_what_ends_has_fewer_runs_to_come(log_in: LogIn, moved: MovedClock) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"], ends=moved.now + 2 * HOUR)

    assert len(lines(log_in("view").get(page(row)), "cloudtask-next")) == 2


def test_a_plan_that_cannot_be_read_has_no_runs(log_in: LogIn) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"])
    ScheduledTask.objects.update(cron="no cron")

    answer = log_in("view").get(page(row))

    assert "There are none." in text(answer, "cloudtask-next")


def test_slots_are_shown_with_the_outcomes_of_their_runs(
    log_in: LogIn, moved: MovedClock
) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"])
    for index, status in enumerate(["READY", "RUNNING", "SUCCESSFUL", "FAILED"]):
        make_run(row, moved, index * HOUR, status, late=timedelta(seconds=index * 30.5))
    make_slot(row, moved, 4 * HOUR, State.ENQUEUED, task_id=new_id())
    make_slot(row, moved, 5 * HOUR, State.SKIPPED)
    make_slot(row, moved, 6 * HOUR, State.WAITING)
    first = moved.now - 9 * HOUR
    make_slot(row, moved, 7 * HOUR, State.MISSED, first=first, count=3)
    make_slot(row, moved, 10 * HOUR, State.MANUAL)

    answer = log_in("view").get(page(row))

    assert lines(answer, "cloudtask-slots") == [
        ["2026-06-01 07:00:00", "enqueued", "0.0 s", "ready"],
        ["2026-06-01 06:00:00", "enqueued", "30.5 s", "running"],
        ["2026-06-01 05:00:00", "enqueued", "0:01:01", "successful"],
        ["2026-06-01 04:00:00", "enqueued", "0:01:32", "failed"],
        ["2026-06-01 03:00:00", "enqueued", "0.4 s", "pruned"],
        [
            "2026-06-01 02:00:00",
            "skipped: the run before it was not over",
            "0.4 s",
            "",
        ],
        ["2026-06-01 01:00:00", "waits for the run before it", "0.4 s", ""],
        [
            "2026-05-31 22:00:00 to 2026-06-01 00:00:00",
            "missed: 3 slots",
            "",
            "",
        ],
        ["2026-05-31 21:00:00", "run by hand", "", ""],
    ]
    html = answer.content.decode()
    assert len(re.findall(r'<tr class="cloudtask-missed">', html)) == 1


def test_no_more_than_twenty_slots_are_shown(log_in: LogIn, moved: MovedClock) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"])
    for index in range(25):
        make_slot(row, moved, index * HOUR, State.SKIPPED)

    assert len(lines(log_in("view").get(page(row)), "cloudtask-slots")) == 20


def test_who_may_see_tasks_gets_links_to_them(
    log_in: LogIn, moved: MovedClock, django_user_model: Any
) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"])
    run = make_run(row, moved, HOUR, "FAILED")
    link = f'href="/admin/cloudtask_results/taskrecord/{run.pk}/change/"'

    assert link not in log_in("view").get(page(row)).content.decode()
    chief = django_user_model.objects.create_superuser("chief")
    client = Client()
    client.force_login(chief)
    html = client.get(page(row)).content.decode()

    assert link in html
    assert client.get(re.findall(r'href="([^"]+taskrecord/\w+/change/)"', html)[0])


def test_tasks_that_no_admin_shows_have_no_links(
    log_in: LogIn, moved: MovedClock, admin_client: Client
) -> None:
    row = schedule_task(count, "0 * * * *", args=["x"])
    make_run(row, moved, HOUR, "FAILED")
    registered = admin.site.get_model_admin(TaskRecord)
    admin.site.unregister(TaskRecord)
    try:
        answer = admin_client.get(page(row))
    finally:
        admin.site._registry[TaskRecord] = registered

    assert lines(answer, "cloudtask-slots")[0][-1] == "failed"
    assert "taskrecord" not in answer.content.decode()
