"""The page of one task hides what nobody is to see of its arguments."""

from __future__ import annotations

import pytest

from cloudtask import CloudTaskRequest, task
from tests.results_admin.conftest import LogIn
from tests.results_admin.rows import make_row
from tests.results_admin.test_detail import field, shown

pytestmark = pytest.mark.django_db_backend

TOKEN = "tok-12345678"


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
