"""Nobody sees what a task declares sensitive."""

from __future__ import annotations

import pytest
from django.test import Client

from cloudtask.schedules import schedule_task
from cloudtask.schedules.models import ScheduledTask
from tests.schedules_admin.samples import (
    URL,
    LogIn,
    add,
    errors,
    key,
    page,
    pay,
    plan,
    report,
    send,
    text,
)
from tests.schedules_admin.test_form import call, field

SECRET = "tok-12345678"


def make_row() -> ScheduledTask:
    return schedule_task(pay, "0 3 * * *", name="pay", args=[7, SECRET])


@pytest.mark.parametrize("verbs", [("view",), ("change",)])
def test_the_page_shows_no_sensitive_value(
    log_in: LogIn, verbs: tuple[str, ...]
) -> None:
    row = make_row()

    html = log_in(*verbs).get(page(row)).content.decode()

    assert SECRET not in html
    assert "7" in html


def test_who_only_views_sees_a_mask(log_in: LogIn) -> None:
    row = make_row()

    shown = text(log_in("view").get(page(row)), "cloudtask-text")

    assert shown == '{ "args": [ 7, "***" ], "kwargs": {} }'


def test_all_is_hidden_of_a_task_that_is_not_loaded(log_in: LogIn) -> None:
    row = make_row()
    ScheduledTask.objects.update(path="shop.tasks.gone")
    client = log_in("view", "change")

    answer = client.get(page(row))

    assert (
        text(answer, "cloudtask-text") == '{ "args": [ "***", "***" ], "kwargs": {} }'
    )
    client.post(page(row), plan())
    assert call() == ([7, SECRET], {})


def test_a_sensitive_value_stays_unless_it_is_filled_in(log_in: LogIn) -> None:
    row = make_row()
    client = log_in("change")
    values = {"argument_order": "8", "argument_token": "", "argument_note": ""}

    client.post(page(row), plan(**values))
    assert call() == ([], {"order": 8, "token": SECRET})

    client.post(page(row), plan(**{**values, "argument_token": "another one"}))
    assert call() == ([], {"order": 8, "token": "another one"})


def test_a_sensitive_value_is_required_at_first(log_in: LogIn) -> None:
    answer = add(log_in("add"), pay, argument_order="1")

    assert errors(answer) == {"argument_token": ["This field is required."]}


def test_what_was_typed_is_not_shown_again(log_in: LogIn) -> None:
    for chosen, values in (
        (pay, {"argument_token": SECRET}),
        (send, {"argument_data": SECRET, "argument_options": f'["{SECRET}"]'}),
    ):
        answer = add(log_in("add") if chosen is pay else Client(), chosen, **values)
        assert SECRET not in answer.content.decode()


def test_keywords_that_may_be_sensitive_are_a_field_that_hides(log_in: LogIn) -> None:
    row = schedule_task(
        send, "0 3 * * *", name="send", kwargs={"data": {"a": 1}, "token": SECRET}
    )
    client = log_in("change")

    html = client.get(page(row)).content.decode()
    assert SECRET not in html
    assert 'type="password"' in field(html, "argument_data")
    assert 'type="password"' in field(html, "argument_options")
    client.post(page(row), plan(cron="0 4 * * *"))

    assert call() == ([], {"data": {"a": 1}, "token": SECRET})


def test_a_sensitive_value_goes_to_no_other_task(log_in: LogIn) -> None:
    row = make_row()
    client = log_in("change")
    url = f"{page(row)}?task={key(report)}"

    client.post(url, plan(argument_shop="bern", argument_token=""))

    assert call() == ([], {"shop": "bern"})


def test_the_same_task_chosen_again_begins_anew(log_in: LogIn) -> None:
    row = make_row()

    answer = log_in("change").post(
        f"{page(row)}?task={key(pay)}", plan(argument_order="1", argument_token="")
    )

    assert errors(answer) == {"argument_token": ["This field is required."]}


@pytest.mark.parametrize(
    "lookup",
    [
        "arguments__contains",
        "arguments",
        "arguments__regex",
        "slots__task_id",
        "path__regex",
        "uid",
        "name__startswith",
        "nothing",
    ],
)
def test_nothing_but_filters_and_the_key_can_be_asked_for(
    log_in: LogIn, lookup: str
) -> None:
    make_row()
    client = log_in("view")

    assert client.get(URL, {lookup: "tok-1"}).status_code == 400
    assert client.get(URL, {"_to_field": lookup}).status_code == 400


def test_history_names_fields_and_no_values(log_in: LogIn) -> None:
    row = make_row()
    client = log_in("change")
    values = {"argument_order": "8", "argument_token": "another secret"}

    client.post(page(row), plan(**values))

    html = client.get(page(row, "history")).content.decode()
    assert "another secret" not in html
    assert SECRET not in html
    assert "token" in html
