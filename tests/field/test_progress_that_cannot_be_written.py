"""A task tells wrong progress: it alone is told, and no lease suffers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import QuerySet

from cloudtask import CloudTaskRequest, task
from cloudtask.framework import task as django_task
from cloudtask.results import heartbeat, leases
from cloudtask.stores import Ending
from tests.field.dropping import POSTS, wait_for
from tests.results.conftest import (  # noqa: F401
    _nothing_is_kept,
    _results,
    heart,
)
from tests.results.samples import add, ago, claim, expire, post, row
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

needs_threads = pytest.mark.skipif(
    connection.vendor == "sqlite",
    reason="threads lock each other out of SQLite in memory; run on a server",
)

WRONG: dict[str, tuple[tuple[Any, ...], type[Exception], str]] = {
    "NaN": ((float("nan"),), TypeError, "done="),
    "infinity": ((1, float("inf")), TypeError, "total="),
    "fraction": ((0.5, 1), TypeError, "done="),
    "text": (("7 of 9",), TypeError, "done="),
    "bool": ((True,), TypeError, "done="),
    "nothing": ((None,), TypeError, "done="),
    "huge": ((10**20,), ValueError, "done="),
    "huge total": ((1, 2**63), ValueError, "total="),
    "negative": ((-1,), ValueError, "done="),
    "no text": ((1, 2, b"half"), TypeError, "message="),
}


@task
def tell(request: CloudTaskRequest, name: str) -> None:
    ran.append(name)
    request.progress(*WRONG[name][0])


@task
async def atell(request: CloudTaskRequest, name: str) -> None:
    ran.append(name)
    request.progress(*WRONG[name][0])


@django_task(takes_context=True)
def django_tell(context: Any, name: str) -> None:
    context.request.progress(*WRONG[name][0])


@task
def tell_well(request: CloudTaskRequest) -> None:
    request.progress(2**63 - 1, 2**63 - 1, "a\0\n\x1b\u2028é" + "x" * 300)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_told_to_the_task(name: str) -> None:
    _, kind, words = WRONG[name]
    enqueued = tell(name).delay()

    assert post(enqueued.id).status_code == 500

    found = row(enqueued.id)
    [error] = found.errors.all()
    assert error.type == f"builtins.{kind.__name__}"
    assert words in error.message
    assert ", in tell\n" in error.traceback
    assert (found.status, found.lease, found.progress_done) == ("READY", "", None)


@pytest.mark.parametrize("server", POSTS)
def test_tasks_of_all_kinds_are_told(server: str) -> None:
    ids = [atell("NaN").delay().id, django_tell.enqueue("NaN").id]

    assert [POSTS[server](each).status_code for each in ids] == [500, 500]
    assert [row(each).errors.count() for each in ids] == [1, 1]


def test_what_is_right_is_stored_on_one_line() -> None:
    enqueued = tell_well().delay()

    assert post(enqueued.id).status_code == 200
    found = row(enqueued.id)
    assert (found.progress_done, found.progress_total) == (2**63 - 1, 2**63 - 1)
    assert found.progress_message.startswith(r"a\x00\n\x1b\u2028éxxx")
    assert len(found.progress_message) == 200


def break_progress(held: Any) -> None:
    """Past what checks values, as a column that was made narrower."""
    held._lease.progress = {"progress_done": float("nan")}


@needs_threads
def test_one_tasks_progress_touches_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.02)
    wrong, right = (add().delay().id for _ in range(2))
    breaks, held = claim(wrong), claim(right)
    break_progress(breaks)
    held.progress(1, 2, "")
    for each in (wrong, right):
        expire(each)

    wait_for(lambda: row(right).progress_done == 1)
    for each in (wrong, right):
        wait_for(lambda each=each: row(each).lease_expires_at > ago())
    assert breaks.end(Ending(succeeded=True, value=3)) is True
    assert held.end(Ending(succeeded=True)) is True


@pytest.mark.parametrize("error", [None, ValueError("broken")])
def test_an_end_is_written_without_it(caplog: Any, error: Exception | None) -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    break_progress(held)

    assert held.end(Ending(succeeded=error is None, error=error)) is True

    found = row(enqueued.id)
    assert found.status == ("FAILED" if error else "SUCCESSFUL")
    assert (found.is_value_dropped, found.errors.count()) == (not error, bool(error))
    assert "without its values and texts" in caplog.text


def test_progress_waits_for_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    held.progress(1, 2, "")

    def away(*args: Any, **kwargs: Any) -> int:
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "update", away)
        patch.setattr(
            heartbeat, "get_connection", lambda: type("", (), {"connection": None})
        )
        with pytest.raises(OperationalError):
            heartbeat.HEART.write_progress()
    heartbeat.HEART.write_progress()

    assert row(enqueued.id).progress_done == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [ValueError("bug"), SystemExit()])
@pytest.mark.parametrize("where", ["_tick", "prolong"])
def test_nothing_ends_the_thread_for_good(
    monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    monkeypatch.setattr(heartbeat, "get_interval", lambda: 0.02)
    monkeypatch.setattr(heartbeat, "PROGRESS", 0.02)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    left: list[BaseException] = [error, error]
    went_on = threading.Event()

    def raise_twice(*args: Any, **kwargs: Any) -> bool:
        if left:
            raise left.pop()
        went_on.set()
        return True

    monkeypatch.setattr(heartbeat.HEART, where, raise_twice)
    heartbeat.HEART.add(leases.Lease("0" * 32, "0" * 32))

    assert went_on.wait(10)
