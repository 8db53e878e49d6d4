"""The list of tasks."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from cloudtask.results.admin import TaskAdmin, changelist, tasks
from tests.results_admin.conftest import LogIn
from tests.results_admin.rows import QUEUE_PATH, Status, make_row

URL = "/admin/cloudtask_results/taskrecord/"

pytestmark = pytest.mark.django_db_backend


def listed(client: Client, **query: str) -> list[str]:
    """The ids that the list shows, in its order."""
    answer = client.get(URL, query)
    assert answer.status_code == 200, answer
    return [row.pk for row in answer.context["cl"].result_list]


def cells(text: str) -> dict[str, str]:
    """The texts of a list's only row, by column."""
    found = re.findall(r'<t[dh] class="field-(\w+)[^>]*>(.*?)</t[dh]>', text, re.DOTALL)
    return {name: re.sub(r"<[^>]+>", "", html).strip() for name, html in found}


def counts(text: str) -> dict[str, str]:
    found = re.findall(r"status__exact=(\w+)\">\w+</a> ([\d+]+)</li>", text)
    return dict(found)


def test_a_task_is_a_line_with_its_progress_and_duration(log_in: LogIn) -> None:
    make_row(
        Status.SUCCESSFUL,
        attempt=2,
        progress_done=3,
        progress_total=10,
        progress_message="a third",
    )

    text = log_in("view").get(URL).content.decode()

    shown = cells(text)
    assert list(shown) == [
        "path",
        "status",
        "queue",
        "attempt",
        "progress",
        "duration",
        "enqueued_at",
        "finished_at",
    ]
    assert shown["path"] == "tests.tasks.add"
    assert shown["status"] == "successful"
    assert shown["attempt"] == "2"
    assert shown["progress"] == "3 of 10 a third"
    assert shown["duration"] == "1.50 s"
    assert '<progress value="3" max="10"></progress>' in text


@pytest.mark.parametrize(
    ("values", "progress"),
    [
        ({}, "-"),
        ({"progress_done": 3}, "3"),
        ({"progress_done": 3, "progress_message": "<b>three</b>"}, "3 <b>three</b>"),
        ({"progress_done": 0, "progress_total": 0}, "0 of 0"),
    ],
)
def test_progress_is_told_as_far_as_it_is_known(
    log_in: LogIn, values: dict[str, object], progress: str
) -> None:
    make_row(**values)

    text = log_in("view").get(URL).content.decode()

    assert unescape(cells(text)["progress"]) == progress
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("lasted", "duration"),
    [
        (None, "-"),
        (timedelta(milliseconds=4), "0.00 s"),
        (timedelta(seconds=59.5), "59.50 s"),
        (timedelta(seconds=60), "0:01:00"),
        (timedelta(hours=30, seconds=1.6), "1 day, 6:00:02"),
    ],
)
def test_a_duration_is_short_to_read(
    log_in: LogIn, lasted: timedelta | None, duration: str
) -> None:
    now = timezone.now()
    started = None if lasted is None else now - lasted
    make_row(Status.FAILED, started_at=started, finished_at=now)

    text = log_in("view").get(URL).content.decode()

    assert cells(text)["duration"] == duration


def test_a_task_that_runs_has_lasted_until_now(log_in: LogIn) -> None:
    make_row(Status.RUNNING, started_at=timezone.now() - timedelta(hours=2))

    text = log_in("view").get(URL).content.decode()

    assert cells(text)["duration"].startswith("2:00:")


def test_the_latest_task_comes_first(log_in: LogIn) -> None:
    now = timezone.now()
    rows = [make_row(enqueued_at=now - timedelta(hours=n)) for n in (2, 0, 1)]

    assert listed(log_in("view")) == [rows[1].pk, rows[2].pk, rows[0].pk]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status__exact", "FAILED"),
        ("queue", "emails"),
        ("path", "shop.tasks.ship"),
    ],
)
def test_a_filter_leaves_what_it_names(log_in: LogIn, name: str, value: str) -> None:
    make_row()
    wanted = make_row(Status.FAILED, queue="emails", path="shop.tasks.ship")

    assert listed(log_in("view"), **{name: value}) == [wanted.pk]


def test_the_filter_of_times_leaves_what_is_younger(log_in: LogIn) -> None:
    now = timezone.now()
    make_row(enqueued_at=now - timedelta(days=40))
    wanted = make_row(enqueued_at=now)
    since = (now - timedelta(days=7)).isoformat()

    assert listed(log_in("view"), enqueued_at__gte=since) == [wanted.pk]


def test_filters_offer_what_there_is(log_in: LogIn) -> None:
    for queue, path in [("b", "y.two"), ("a", "x.one"), ("b", "y.two")]:
        make_row(queue=queue, path=path)

    filters = log_in("view").get(URL).context["cl"].filter_specs

    offered = {each.title: each.lookup_choices for each in filters[1:3]}
    assert offered == {
        "queue": [("a", "a"), ("b", "b")],
        "path": [("x.one", "x.one"), ("y.two", "y.two")],
    }


def test_a_queue_that_has_had_no_task_for_long_is_offered(log_in: LogIn) -> None:
    now = timezone.now()
    make_row(queue="new", enqueued_at=now)
    make_row(queue="old", enqueued_at=now - timedelta(days=99))

    filters = log_in("view").get(URL).context["cl"].filter_specs

    assert filters[1].lookup_choices == [("new", "new"), ("old", "old")]


@pytest.mark.parametrize("vendor", ["mysql", "another"])
def test_databases_are_asked_for_what_filters_offer_as_suits_them(
    db: None,
    django_assert_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
    vendor: str,
) -> None:
    for path in "caba":
        make_row(path=path)
    monkeypatch.setattr(connection, "vendor", vendor)

    with django_assert_num_queries(1) as queries:
        assert changelist.list_values("path", 2, "default") == ["a", "b"]

    words = {"mysql": "SELECT DISTINCT", "another": "WITH RECURSIVE"}
    assert queries[0]["sql"].strip().startswith(words[vendor])


def test_filters_offer_no_more_than_people_read(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "MAX_CHOICES", 2)
    for path in "abcd":
        make_row(path=path)

    filters = log_in("view").get(URL).context["cl"].filter_specs

    assert filters[2].lookup_choices == [("a", "a"), ("b", "b")]


def test_filters_offer_nothing_of_an_empty_table(log_in: LogIn) -> None:
    answer = log_in("view").get(URL)

    titles = [each.title for each in answer.context["cl"].filter_specs]
    assert titles == ["status", "enqueued at"]
    assert counts(answer.content.decode()) == {
        "READY": "0",
        "RUNNING": "0",
        "SUCCESSFUL": "0",
        "FAILED": "0",
    }


NAME = f"{QUEUE_PATH}/tasks/4242"
WANTED = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "term",
    [
        WANTED,
        f" {WANTED.upper()} ",
        "01234567-89ab-cdef-0123-456789abcdef",
        "shop.tasks.ship",
        "TASKS.ship",
        NAME,
        "4242",
    ],
)
def test_a_search_finds_ids_paths_and_names(log_in: LogIn, term: str) -> None:
    make_row(name=f"{NAME}0")
    make_row(Status.SUCCESSFUL, id=WANTED, path="shop.tasks.ship", name=NAME)

    assert listed(log_in("view"), q=term) == [WANTED]


def test_a_name_is_searched_in_its_queue_or_in_all(log_in: LogIn) -> None:
    now = timezone.now()
    names = [f"{QUEUE_PATH}/tasks/7", f"{QUEUE_PATH}2/tasks/7", "7", ""]
    rows = [
        make_row(name=name, enqueued_at=now - timedelta(hours=hours))
        for hours, name in enumerate(names)
    ]
    client = log_in("view")

    assert listed(client, q=names[1]) == [rows[1].pk]
    # A task that is known by its dispatch alone has the last part only.
    assert listed(client, q="7") == [row.pk for row in rows[:3]]


def test_a_name_may_be_as_long_as_cloud_tasks_allows(log_in: LogIn) -> None:
    last = "x" * 500
    row = make_row(name=f"{QUEUE_PATH}/tasks/{last}")

    assert listed(log_in("view"), q=last) == [row.pk]


@pytest.mark.parametrize("term", ["f" * 32, "none.such", "projects/none", "42", "%"])
def test_a_search_for_what_is_not_there_finds_nothing(log_in: LogIn, term: str) -> None:
    make_row(name=NAME)

    assert listed(log_in("view"), q=term) == []


def test_an_empty_search_finds_everything(log_in: LogIn) -> None:
    row = make_row()

    assert listed(log_in("view"), q=" ") == [row.pk]


def test_counts_by_status_stand_at_the_top(log_in: LogIn) -> None:
    for status in (Status.READY, Status.FAILED, Status.FAILED):
        make_row(status)

    # Of all tasks, whatever is listed.
    text = log_in("view").get(URL, {"status__exact": "READY"}).content.decode()

    assert counts(text) == {
        "READY": "1",
        "RUNNING": "0",
        "SUCCESSFUL": "0",
        "FAILED": "2",
    }
    assert "are listed" not in text


def test_counts_and_pages_end_at_a_limit(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "MAX_COUNT", 3)
    monkeypatch.setattr(tasks, "MAX_COUNT", 3)
    monkeypatch.setattr(TaskAdmin, "list_per_page", 2)
    for _ in range(5):
        make_row(Status.FAILED)
    client = log_in("view")

    answer = client.get(URL, {"p": "2"})

    text = answer.content.decode()
    assert counts(text)["FAILED"] == "3+"
    assert answer.context["cl"].result_count == 3
    assert len(answer.context["cl"].result_list) == 1
    assert "Only the first 3 are listed. Filter to see the others." in text


@pytest.mark.parametrize("rows", [1, 30])
def test_a_page_takes_as_many_queries_however_many_tasks_it_lists(
    log_in: LogIn,
    django_assert_num_queries: DjangoAssertNumQueries,
    rows: int,
) -> None:
    for _ in range(rows):
        make_row()
    client = log_in("view", "cancel", "retry", "redrive", "rerun", "delete")

    # The session, the user and two for permissions; two filters, the number
    # of tasks, the tasks, and a number for each status.
    with django_assert_num_queries(12) as queries:
        client.get(URL)

    tasks = [query["sql"] for query in queries if "taskrecord" in query["sql"]]
    assert not [sql for sql in tasks if "COUNT" in sql and "LIMIT" not in sql]
    assert not [sql for sql in tasks if '"body"' in sql or '"return_value"' in sql]


@pytest.mark.parametrize(
    "verbs", [(), ("cancel",), ("retry",), ("redrive",), ("rerun",)]
)
def test_the_list_is_for_who_may_view_tasks(
    log_in: LogIn, verbs: tuple[str, ...]
) -> None:
    client = log_in(*verbs)

    assert client.get(URL).status_code == 403


def test_visitors_are_asked_to_log_in(db: None) -> None:
    answer = Client().get(URL)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")
