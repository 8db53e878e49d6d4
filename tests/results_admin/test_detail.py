"""The page of one task."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from pytest_django import DjangoAssertNumQueries

from cloudtask.results.models import TaskRecord
from tests.results_admin.conftest import LogIn
from tests.results_admin.rows import Status, make_error, make_row
from tests.results_admin.test_list import URL

pytestmark = pytest.mark.django_db_backend


def page_of(row: TaskRecord) -> str:
    return f"{URL}{row.pk}/change/"


def field(html: str, name: str) -> str:
    """What a field of the page shows, tags taken out."""
    found = re.search(
        rf'field-{name}">.*?<div class="readonly">(.*?)</div>', html, re.DOTALL
    )
    assert found is not None, f"no field {name} in {html}"
    return unescape(re.sub(r"<[^>]+>", "", found[1]))


def shown(log_in: LogIn, row: TaskRecord) -> str:
    answer = log_in("view").get(page_of(row))
    assert answer.status_code == 200
    return answer.content.decode()


def test_arguments_are_shown_one_to_a_line(log_in: LogIn) -> None:
    row = make_row(args=(1, "zwei"), kwargs={"b": {"ü": None}})

    assert field(shown(log_in, row), "arguments") == (
        "{\n"
        '  "args": [\n    1,\n    "zwei"\n  ],\n'
        '  "kwargs": {\n    "b": {\n      "ü": null\n    }\n  }\n'
        "}"
    )


@pytest.mark.parametrize("body", ["", "no JSON <b>", "[]", '{"args": []}', "1"])
def test_a_body_that_cannot_be_read_is_not_shown(log_in: LogIn, body: str) -> None:
    """Nobody knows which of its arguments are sensitive."""
    row = make_row(body=body)

    assert field(shown(log_in, row), "arguments") == "They cannot be read."


SCRIPT = "<script>alert(1)</script>"


def test_nothing_that_a_task_says_is_taken_for_html(log_in: LogIn) -> None:
    row = make_row(
        Status.SUCCESSFUL,
        path=SCRIPT,
        args=(SCRIPT,),
        kwargs={SCRIPT: SCRIPT},
        queue=SCRIPT,
        name=SCRIPT,
        url=SCRIPT,
        worker_id=SCRIPT,
        progress_done=1,
        progress_message=SCRIPT,
        return_value=SCRIPT,
    )
    make_error(row, type=SCRIPT, message=SCRIPT, traceback=SCRIPT)
    client = log_in("view")

    page = client.get(page_of(row)).content.decode()
    listed = client.get(URL).content.decode()

    assert "alert(1)" in page
    assert "alert(1)" in listed
    assert SCRIPT not in page + listed


@pytest.mark.parametrize(
    ("values", "returned"),
    [
        ({"status": Status.READY}, "-"),
        ({"status": Status.RUNNING}, "-"),
        ({"status": Status.FAILED}, "-"),
        ({"status": Status.SUCCESSFUL}, "null"),
        ({"return_value": {"a": [1]}}, '{\n  "a": [\n    1\n  ]\n}'),
        ({"is_value_dropped": True}, "It could not be stored."),
    ],
)
def test_a_return_value_is_shown_as_json(
    log_in: LogIn, values: dict[str, Any], returned: str
) -> None:
    row = make_row(**{"status": Status.SUCCESSFUL, **values})

    assert field(shown(log_in, row), "output") == returned


def test_each_attempt_that_failed_is_shown_with_its_traceback(log_in: LogIn) -> None:
    row = make_row(Status.FAILED)
    make_error(row, 1)
    make_error(row, 2, type="shop.errors.NoStock", message="", traceback="line\nline")
    make_error(make_row(Status.FAILED), 3)

    assert field(shown(log_in, row), "failures") == (
        "Attempt 1, 2026-01-31 06:00:00-06:00: builtins.ValueError"
        "broken"
        "Traceback (most recent call last): ..."
        "Attempt 2, 2026-01-31 06:00:00-06:00: shop.errors.NoStock"
        "line\nline"
    )


def test_a_task_without_errors_shows_none(log_in: LogIn) -> None:
    assert field(shown(log_in, make_row()), "failures") == "-"


def test_nothing_of_a_task_can_be_edited(log_in: LogIn) -> None:
    row = make_row(Status.FAILED)
    verbs = ("view", "add", "change", "delete", "cancel", "retry", "redrive", "rerun")
    client = log_in(*verbs)

    page = client.get(page_of(row)).content.decode()
    posted = client.post(page_of(row), {"status": "SUCCESSFUL", "path": "x"})

    fields = re.findall(r'<(?:input|select|textarea)[^>]* name="(\w+)"', page)
    assert {*fields} <= {"csrfmiddlewaretoken"}
    assert posted.status_code == 403
    row.refresh_from_db()
    assert (row.status, row.path) == (Status.FAILED, "tests.tasks.add")


def test_no_task_can_be_added(log_in: LogIn) -> None:
    client = log_in("view", "add", "change")

    assert client.get(f"{URL}add/").status_code == 403
    assert client.post(f"{URL}add/", {"path": "x"}).status_code == 403
    assert not TaskRecord.objects.exists()


@pytest.mark.parametrize("errors", [0, 1, 20])
def test_a_page_takes_as_many_queries_however_often_the_task_failed(
    log_in: LogIn, django_assert_num_queries: DjangoAssertNumQueries, errors: int
) -> None:
    row = make_row(Status.FAILED)
    for attempt in range(errors):
        make_error(row, attempt)
    client = log_in("view")
    ContentType.objects.get_for_model(TaskRecord)  # Known to the process.

    # The session, the user and two for permissions; the task and its errors.
    with django_assert_num_queries(6):
        client.get(page_of(row))


@pytest.mark.parametrize(
    ("status", "code", "left"),
    [
        (Status.READY, 403, 1),
        (Status.RUNNING, 403, 1),
        (Status.SUCCESSFUL, 302, 0),
        (Status.FAILED, 302, 0),
    ],
)
def test_only_a_task_that_is_over_can_be_deleted(
    log_in: LogIn, status: str, code: int, left: int
) -> None:
    row = make_row(status)
    make_error(row)

    answer = log_in("view", "delete").post(f"{URL}{row.pk}/delete/", {"post": "yes"})

    assert answer.status_code == code
    assert TaskRecord.objects.count() == left


def test_a_page_is_for_who_may_view_tasks(log_in: LogIn) -> None:
    row = make_row()

    assert log_in("cancel", "redrive").get(page_of(row)).status_code == 403
