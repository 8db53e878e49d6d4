"""The view that a page polls for how far a task is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.http import Http404
from django.test import RequestFactory
from django.urls import reverse

from cloudtask.results.models import TaskRecord
from cloudtask.results.views import status

pytestmark = [pytest.mark.django_db, pytest.mark.django_db_backend]

ID = "a" * 32


class User:
    is_authenticated = True


class Nobody:
    is_authenticated = False


def get(user: object | None = None, method: str = "get", task_id: str = ID) -> Any:
    request = getattr(RequestFactory(), method)("/")
    if user is not None:
        request.user = user
    return status(request, task_id)


@pytest.fixture
def row() -> TaskRecord:
    return TaskRecord.objects.create(
        id=ID,
        path="shop.tasks.secret",
        body='{"args": ["canary"]}',
        return_value="canary",
        enqueued_at=datetime.now(UTC),
        status="RUNNING",
        progress_done=3,
        progress_total=10,
        progress_message="<b>three</b>",
    )


@pytest.mark.usefixtures("row")
def test_it_tells_how_far_a_task_is() -> None:
    import json

    answer = get(User())

    assert json.loads(answer.content) == {
        "id": ID,
        "status": "RUNNING",
        "progress": {"done": 3, "total": 10, "message": "<b>three</b>"},
        "cancelled": False,
        "finished_at": None,
    }
    assert answer["Content-Type"] == "application/json"
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.usefixtures("row")
@pytest.mark.parametrize("user", [None, Nobody()])
def test_it_tells_strangers_nothing(user: object | None) -> None:
    answer = get(user)

    assert (answer.status_code, answer.content) == (403, b"")


@pytest.mark.usefixtures("row")
@pytest.mark.parametrize(
    "task_id",
    ["b" * 32, "A" * 32, f"{ID} ", "\0", "a\0", "\ud800", "🎉", "a" * 9999, "%", "'"],
)
def test_a_task_that_is_not_known_is_not_found(task_id: str) -> None:
    with pytest.raises(Http404):
        get(User(), task_id=task_id)


@pytest.mark.usefixtures("row")
def test_an_id_may_be_written_as_a_uuid() -> None:
    import json

    answer = get(User(), task_id=str(UUID(ID)))

    assert json.loads(answer.content)["id"] == ID


@pytest.mark.usefixtures("row")
def test_it_can_only_be_read() -> None:
    assert get(User(), "post").status_code == 405


@pytest.mark.urls("cloudtask.results.urls")
def test_its_route_has_the_id() -> None:
    urlconf = "cloudtask.results.urls"
    assert reverse("status", urlconf, kwargs={"task_id": ID}) == f"/{ID}/"
