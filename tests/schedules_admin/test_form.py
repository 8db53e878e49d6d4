"""The form of a schedule."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cloudtask.planning import declarations
from cloudtask.schedules import schedule_task
from cloudtask.schedules.admin.forms import ArgumentsForm
from cloudtask.schedules.arguments import read_arguments
from cloudtask.schedules.models import ScheduledTask
from cloudtask.transports.memory import MemoryTransport
from tests.schedules.conftest import MovedClock
from tests.schedules_admin.samples import (
    URL,
    LogIn,
    add,
    count,
    errors,
    everything,
    key,
    not_for_people,
    page,
    pay,
    plan,
    report,
    told,
)

#: What `everything` has to be given.
REQUIRED = {
    "argument_number": "1",
    "argument_ratio": "0.5",
    "argument_flag": "false",
    "argument_price": "9.90",
    "argument_day": "2026-01-31",
    "argument_moment": "2026-01-31 12:00:00",
    "argument_anything": '{"__type__": "tuple", "value": [1]}',
    "argument_unknown": "null",
}
GIVEN = {
    "number": 1,
    "ratio": 0.5,
    "flag": False,
    "price": Decimal("9.90"),
    "day": date(2026, 1, 31),
    "moment": datetime(2026, 1, 31, 12, tzinfo=ZoneInfo("America/Chicago")),
    "anything": (1,),
    "maybe": None,
    "unknown": None,
}


def call() -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the only schedule."""
    return read_arguments(ScheduledTask.objects.get().arguments)


def field(html: str, name: str) -> str:
    """The tag of a form's field, with what is in it."""
    found = re.search(
        rf'<(input|textarea|select)\b[^>]*name="{name}".*?(?=</div>)', html, re.S
    )
    assert found is not None, name
    return unescape(found[0])


def test_first_a_task_is_chosen(log_in: LogIn) -> None:
    answer = log_in("add").get(f"{URL}add/")

    html = answer.content.decode()
    assert f'<option value="{key(count)}">' in html
    assert f'<option value="{key(report)}">' in html
    assert not_for_people.path not in html
    assert "argument_" not in html


def test_where_no_task_may_be_scheduled_the_page_says_how(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declarations, "_schedulable", {})

    assert b"@task(schedulable=True)" in log_in("add").get(f"{URL}add/").content


@pytest.mark.parametrize(
    "path",
    [
        not_for_people.path,
        "os.system",
        "tests.schedules_admin.samples",
        "",
    ],
)
def test_no_other_task_is_scheduled(log_in: LogIn, path: str) -> None:
    client = log_in("view", "add", "change")
    url = f"{URL}add/?task=cloudtask::{path}"

    for answer in (client.get(url), client.post(url, plan())):
        assert b"Choose a task" in answer.content
    row = schedule_task(count, "0 * * * *", args=["bern"])
    client.post(
        f"{page(row)}?task=cloudtask::{path}", plan(argument_shop="basel", path=path)
    )

    row = ScheduledTask.objects.get()
    assert (row.path, call()) == (count.path, ([], {"shop": "basel"}))


def test_a_schedule_is_added(log_in: LogIn, queue: MemoryTransport) -> None:
    client = log_in("view", "add", "change")
    url = f"{URL}add/?task={key(count)}"
    assert f'action="?task={key(count).replace(":", "%3A")}"' in unescape(
        client.get(url).content.decode()
    )

    answer = add(client, count, argument_shop="bern", cron=" 0  3 * * mon-fri")

    row = ScheduledTask.objects.get()
    assert answer.status_code == 302
    assert (row.name, row.path, row.kind) == ("stock", count.path, "cloudtask")
    assert (row.cron, row.time_zone) == ("0 3 * * MON-FRI", "Europe/Zurich")
    assert call() == ([], {"shop": "bern"})
    assert row.next_at is not None


def test_a_task_of_django_is_added_with_its_queue(log_in: LogIn) -> None:
    add(log_in("view", "add"), report, argument_shop="bern", argument_token="")

    row = ScheduledTask.objects.get()
    assert (row.kind, row.path) == ("django", report.module_path)
    assert (row.backend, row.queue_name) == (report.backend, report.queue_name)
    assert call() == ([], {"shop": "bern"})


def test_each_type_has_a_field_of_its_own(log_in: LogIn) -> None:
    answer = add(log_in("add"), everything, **REQUIRED)

    assert answer.status_code == 302, errors(answer)
    assert call() == ([], GIVEN)
    moment = call()[1]["moment"]
    assert moment.utcoffset() == GIVEN["moment"].utcoffset()  # type: ignore[attr-defined]


def test_what_is_optional_may_be_filled_in(log_in: LogIn) -> None:
    more = {
        "argument_maybe": "7",
        "argument_size": "4",
        "argument_option": "true",
        "argument_options": '{"a": "b"}',
    }

    add(log_in("add"), everything, **REQUIRED, **more)

    assert call() == (
        [],
        {**GIVEN, "maybe": 7, "size": 4, "option": True, "a": "b"},
    )


def test_further_positions_have_all_before_them(log_in: LogIn) -> None:
    add(log_in("add"), everything, **REQUIRED, argument_rest="[8, 9]")

    assert call() == ([*GIVEN.values(), 3, 8, 9], {"option": None})


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("number", "", "This field is required."),
        ("number", "x", "Enter a whole number."),
        ("ratio", "nan", "Enter a number."),
        ("price", "x", "Enter a number."),
        ("flag", "", "This field is required."),
        ("flag", "perhaps", "Select a valid choice."),
        ("day", "31.1.", "Enter a valid date."),
        ("moment", "never", "Enter a valid date/time."),
        ("anything", "", "This field is required."),
        ("anything", "bern", 'It must be JSON: a text is written "in quotes".'),
        ("anything", '{"__type__": "no"}', "It must be JSON"),
        ("anything", '{"__type__": "date", "value": 1}', "It must be JSON"),
        ("anything", "[" * 5000, "It must be JSON"),
        ("rest", "1", "It must be JSON of the form [1, 2]."),
        ("options", "[]", 'It must be JSON of the form {"a": 1}.'),
    ],
)
def test_a_wrong_argument_is_told_at_its_field(
    log_in: LogIn, name: str, value: str, problem: str
) -> None:
    name = f"argument_{name}"

    answer = add(log_in("add"), everything, **{**REQUIRED, name: value})

    [(where, [message])] = errors(answer).items()
    assert where == name
    assert message.startswith(problem)
    assert not ScheduledTask.objects.exists()


def test_a_further_keyword_is_not_that_of_a_field(log_in: LogIn) -> None:
    answer = add(
        log_in("add"), everything, **REQUIRED, argument_options='{"number": 2}'
    )

    assert errors(answer) == {
        "__all__": [
            "options: 'number' has a field of its own. Fill in that one.",
        ]
    }


def test_arguments_that_no_payload_carries_are_told(log_in: LogIn) -> None:
    answer = add(log_in("add"), count, argument_shop="x", argument_limit="1" * 5000)

    assert not ScheduledTask.objects.exists()
    assert errors(answer)


def test_the_place_of_a_mistake_in_a_cron_is_marked(log_in: LogIn) -> None:
    answer = add(log_in("add"), count, argument_shop="x", cron="0  25 * * *")

    [message] = errors(answer)["cron"]
    assert "hour" in message
    assert '<pre class="cloudtask-mark">0 25 * * *\n  ^</pre>' in message
    assert message in answer.content.decode()


def test_a_cron_is_escaped(log_in: LogIn) -> None:
    answer = add(log_in("add"), count, argument_shop="x", cron="<b> 25 * * *")

    assert b"<b>" not in answer.content


@pytest.mark.parametrize(
    ("values", "where", "problem"),
    [
        ({"time_zone": "Europe/Nowhere"}, "time_zone", "'Europe/Nowhere' is not"),
        ({"catch_up": "101"}, "catch_up", "Ensure this value is less"),
        ({"spread_seconds": "86401"}, "spread_seconds", "Ensure this value is less"),
        ({"name": ""}, "name", "This field is required."),
        ({"name": "a\x07b"}, "name", "name='a\\x07b' must be a line"),
        ({"name": "taken"}, "name", "Scheduled task with this Name already"),
        ({"name": "nightly"}, "name", "The code declares a schedule of this name."),
        ({"overlap": "never"}, "overlap", "Select a valid choice."),
        (
            {
                "starts_at_0": "2026-02-01",
                "starts_at_1": "00:00",
                "ends_at_0": "2026-01-01",
                "ends_at_1": "00:00",
            },
            "ends_at",
            "It must be after the start.",
        ),
        (
            {"starts_at_0": "9999-12-31", "starts_at_1": "00:00"},
            "starts_at",
            "No slot comes after it.",
        ),
    ],
)
def test_a_wrong_plan_is_told_at_its_field(
    log_in: LogIn,
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, str],
    where: str,
    problem: str,
) -> None:
    monkeypatch.setattr(declarations, "_declared", {})
    schedule_task(count, "0 * * * *", name="taken", args=["x"])
    declared = declarations.Declaration(
        name="nightly", task=declarations.list_schedulable()[0], plan=Any
    )
    declarations.declare(declared)

    answer = add(log_in("add"), count, argument_shop="x", **values)

    [(field, [message])] = errors(answer).items()
    assert field == where
    assert message.startswith(problem)


def test_the_form_begins_with_the_zone_of_the_project(log_in: LogIn) -> None:
    html = log_in("add").get(f"{URL}add/?task={key(count)}&name=x").content.decode()

    zone = field(html, "time_zone")
    assert 'value="America/Chicago"' in zone
    assert '<datalist id="time_zone-zones">' in zone
    assert '<option value="Europe/Zurich">' in zone
    assert 'list="time_zone-zones"' in zone
    assert "value=" not in field(html, "name").replace('value=""', "")


def test_a_form_shows_what_is_stored_and_changes_what_is_filled_in(
    log_in: LogIn,
) -> None:
    row = schedule_task(count, "0 3 * * *", name="stock", args=["bern"], catch_up=3)
    client = log_in("view", "change")

    html = client.get(page(row)).content.decode()
    assert 'value="bern"' in field(html, "argument_shop")
    assert "Empty, it is 10." in html
    answer = client.post(
        page(row), plan(argument_shop="bern", argument_limit="5", cron="5 3 * * *")
    )

    assert answer.status_code == 302
    row = ScheduledTask.objects.get()
    assert (row.cron, row.catch_up) == ("5 3 * * *", 1)
    assert call() == ([], {"shop": "bern", "limit": 5})


def test_what_is_emptied_is_its_default_again(log_in: LogIn) -> None:
    row = schedule_task(count, "0 3 * * *", name="stock", args=["bern", 5])

    log_in("change").post(page(row), plan(argument_shop="bern", argument_limit=""))

    assert call() == ([], {"shop": "bern"})


def test_what_is_saved_as_it_is_makes_no_new_plan(log_in: LogIn) -> None:
    row = schedule_task(
        *(count, "0 3 * * *"), name="stock", args=["bern"], timezone="Europe/Zurich"
    )

    log_in("change").post(page(row), plan(argument_shop="bern"))

    after = ScheduledTask.objects.get()
    assert after.generation == row.generation
    assert call() == (["bern"], {})


STORED = {
    "number": True,
    "ratio": 0.1,
    "flag": True,
    "price": Decimal("1.10"),
    "day": date(2026, 1, 31),
    "moment": datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC),
    "anything": {"a": [date(2026, 1, 1)]},
    "maybe": 3,
    "unknown": "text",
    "size": "a text",
    "option": False,
    "more": "further",
}


def test_what_is_not_changed_is_kept_to_the_last_digit(log_in: LogIn) -> None:
    row = schedule_task(everything, "0 3 * * *", name="all", kwargs=STORED)
    client = log_in("view", "change")
    form = client.get(page(row)).context["adminform"].form
    shown = {
        name: form[name].value() if form[name].value() is not None else ""
        for name in form.fields
    }
    shown["argument_moment"] = "2026-01-31 06:00:00"

    answer = client.post(
        page(row), {**plan(), **shown, "starts_at": "", "ends_at": "", "name": "new"}
    )

    assert answer.status_code == 302, errors(answer)
    args, kwargs = call()
    assert (args, kwargs) == ([], STORED)
    assert [type(each) for each in kwargs.values()] == [
        type(each) for each in STORED.values()
    ]
    assert ScheduledTask.objects.get().name == "new"


def test_a_text_of_two_lines_is_shown_as_json(log_in: LogIn) -> None:
    row = schedule_task(count, "0 3 * * *", args=["a\nb"])

    html = log_in("change").get(page(row)).content.decode()

    assert '"a\\nb"' in field(html, "argument_shop")


def test_a_paused_schedule_that_is_saved_stays_paused(log_in: LogIn) -> None:
    row = schedule_task(count, "0 3 * * *", name="stock", args=["a"], enabled=False)

    log_in("change").post(page(row), plan(argument_shop="b"))

    row = ScheduledTask.objects.get()
    assert row.is_paused
    assert row.next_at is None
    assert call() == ([], {"shop": "b"})


def test_another_task_gets_arguments_of_its_own(log_in: LogIn) -> None:
    row = schedule_task(
        pay, "0 3 * * *", name="pay", args=[1], kwargs={"token": "a secret text"}
    )
    client = log_in("view", "change")

    html = client.get(page(row, "task")).content.decode()
    assert f'<option value="{key(pay)}" selected>' in html
    assert f'action="{page(row)}"' in html
    html = client.get(f"{page(row)}?task={key(count)}").content.decode()
    assert "argument_token" not in html
    client.post(f"{page(row)}?task={key(count)}", plan(argument_shop="bern"))

    row = ScheduledTask.objects.get()
    assert (row.path, call()) == (count.path, ([], {"shop": "bern"}))


def test_arguments_that_fit_no_more_are_asked_for_again(log_in: LogIn) -> None:
    row = schedule_task(count, "0 3 * * *", name="stock", args=["bern"])
    ScheduledTask.objects.update(arguments='{"args":[1,2,3],"kwargs":{}}')
    client = log_in("view", "change")

    assert b"do not fit the function any more" in client.get(page(row)).content
    answer = client.post(page(row), plan(argument_shop="basel"))

    assert answer.status_code == 302
    assert call() == ([], {"shop": "basel"})


def test_arguments_that_nobody_can_read_are_asked_for_again(log_in: LogIn) -> None:
    row = schedule_task(count, "0 3 * * *", name="stock", args=["bern"])
    ScheduledTask.objects.update(arguments="no JSON")

    client = log_in("view", "change")
    assert b"do not fit the function any more" in client.get(page(row)).content
    client.post(page(row), plan(argument_shop="basel"))
    assert call() == ([], {"shop": "basel"})


def test_arguments_that_nobody_can_read_are_not_shown(log_in: LogIn) -> None:
    row = schedule_task(count, "0 3 * * *", args=["bern"])
    ScheduledTask.objects.update(arguments="no JSON")

    html = log_in("view").get(page(row)).content.decode()

    assert "They cannot be read." in html


def test_the_plan_of_a_task_that_may_not_be_scheduled_can_be_changed(
    log_in: LogIn,
) -> None:
    row = schedule_task(not_for_people, "0 3 * * *", name="stock")
    client = log_in("view", "change")

    html = client.get(page(row)).content.decode()
    assert "may not be scheduled here any more" in html
    assert not_for_people.path in html
    client.post(page(row), plan(cron="0 4 * * *", argument_x="1"))

    row = ScheduledTask.objects.get()
    assert (row.path, row.cron) == (not_for_people.path, "0 4 * * *")
    assert call() == ([], {})


def test_a_plan_that_cannot_be_followed_is_told(log_in: LogIn) -> None:
    row = schedule_task(count, "0 3 * * *", name="stock", args=["bern"])
    ScheduledTask.objects.update(path="shop.tasks.gone")

    answer = log_in("view", "change").post(
        page(row), plan(cron="0 4 * * *"), follow=True
    )

    assert told(answer) == ["No task is registered as 'shop.tasks.gone'."]
    row = ScheduledTask.objects.get()
    assert (row.cron, call()) == ("0 3 * * *", (["bern"], {}))


def test_who_may_not_add_or_change_sees_no_choice_of_tasks(log_in: LogIn) -> None:
    row = schedule_task(count, "0 3 * * *", args=["bern"])
    client = log_in("view", "pause", "run", "delete")

    for url in (f"{URL}add/", f"{URL}add/?task={key(count)}", page(row, "task")):
        assert client.get(url).status_code == 403
        assert client.post(url, plan(argument_shop="x")).status_code == 403
    assert client.post(page(row), plan(argument_shop="x")).status_code == 403
    assert call() == (["bern"], {})


def test_a_schedule_that_was_deleted_meanwhile_is_not_made_again(
    log_in: LogIn, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = schedule_task(count, "0 3 * * *", name="stock", args=["bern"])
    client = log_in("change")
    describe = ArgumentsForm.describe

    def delete_and_describe(self: Any, row: ScheduledTask) -> None:
        ScheduledTask.objects.all().delete()
        describe(self, row)

    monkeypatch.setattr(ArgumentsForm, "describe", delete_and_describe)

    # What happened meanwhile is undone here: it is in the same transaction.
    assert client.post(page(row), plan(argument_shop="x")).status_code == 404
