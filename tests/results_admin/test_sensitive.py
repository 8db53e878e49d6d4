"""The page of one task hides what nobody is to see of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from cloudtask import CloudTaskRequest, task
from tests.results_admin.conftest import LogIn
from tests.results_admin.rows import make_row
from tests.results_admin.test_detail import field, shown

pytestmark = pytest.mark.django_db_backend

TOKEN = "tok-12345678"
LIST = "/admin/cloudtask_results/taskrecord/"


@task(sensitive=("token",))
def pay(request: CloudTaskRequest, order: int, token: str = "") -> None: ...


def arguments(log_in: LogIn, path: str) -> str:
    row = make_row(path=path, args=(7, TOKEN), kwargs={"b": {"c": TOKEN}})
    html = shown(log_in, row)
    assert TOKEN not in html
    return " ".join(field(html, "arguments").split())


def test_sensitive_arguments_are_hidden(log_in: LogIn) -> None:
    # `b` has no place in the function, so nobody knows what it is.
    assert arguments(log_in, pay.path) == (
        '{ "args": [ 7, "***" ], "kwargs": { "b": "***" } }'
    )


def test_all_arguments_of_an_unknown_task_are_hidden(log_in: LogIn) -> None:
    assert arguments(log_in, "shop.tasks.gone") == (
        '{ "args": [ "***", "***" ], "kwargs": { "b": "***" } }'
    )


@pytest.mark.parametrize(
    "lookup",
    [
        "body__regex",
        "body__contains",
        "body",
        "return_value__startswith",
        "errors__message__contains",
        "errors__id",
        "errors",
        "id__in",
        "id__regex",
        "pk__startswith",
        "path__regex",
        "queue__regex",
        "path__isnull",
        "lease",
        "status__regex",
        "status",
        "enqueued_at__year",
        "enqueued_at__date__gte",
        "url",
        "nothing",
        "body__nothing",
        "__",
    ],
)
@pytest.mark.parametrize("value", ["(", "tok-1", ""])
def test_nothing_but_filters_and_the_key_can_be_asked_for(
    log_in: LogIn, lookup: str, value: str
) -> None:
    make_row(path=pay.path, args=(7, TOKEN))
    client = log_in("view")

    for further in ({}, {"e": "1"}, {"_facets": "1"}, {"q": "pay"}):
        assert client.get(LIST, {lookup: value, **further}).status_code == 400


@pytest.mark.parametrize("field", ["body", "return_value", "errors", "nothing"])
def test_no_other_column_takes_the_place_of_the_key(log_in: LogIn, field: str) -> None:
    row = make_row(path=pay.path, args=(7, TOKEN))
    client = log_in("view")

    assert client.get(LIST, {"_to_field": field}).status_code == 400
    page = f"{LIST}{row.pk}/change/"
    assert client.get(page, {"_to_field": field}).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "status__exact=READY",
        "path=tests.results_admin.test_sensitive.pay",
        "queue=default",
        "enqueued_at__gte=2026-01-01",
        "enqueued_at__lt=2126-01-01 00:00:00%2B00:00",
        "id={id}",
        "id__exact={id}",
        "pk={id}",
        "pk__exact={id}",
        "q={id}",
        "o=-1",
        "all=",
    ],
)
def test_filters_and_the_key_can_be_asked_for(log_in: LogIn, query: str) -> None:
    row = make_row(path=pay.path, args=(7, TOKEN))

    answer = log_in("view").get(f"{LIST}?{query.format(id=row.pk)}")
    assert answer.status_code == 200
    assert row.pk in answer.content.decode()


@pytest.mark.parametrize(
    "query",
    ["enqueued_at__gte=never", "enqueued_at__lt=0001-01-01", "enqueued_at__gte=%00"],
)
def test_a_filter_of_no_time_is_refused(log_in: LogIn, query: str) -> None:
    assert log_in("view").get(f"{LIST}?{query}").status_code in (200, 302)


@pytest.mark.parametrize("write", [str, lambda id: str(UUID(id))])  # noqa: A006
def test_a_page_has_its_task_by_its_id(
    log_in: LogIn, write: Callable[[str], str]
) -> None:
    row = make_row(path=pay.path)
    answer = log_in("view").get(f"{LIST}{write(row.pk)}/change/")

    assert (answer.status_code, row.pk in answer.content.decode()) == (200, True)
