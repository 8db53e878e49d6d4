"""A dispatch with the id of another task does nothing to that one."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from cloudtask.dispatch.outcomes import Status
from cloudtask.exceptions import InvalidCredentials
from cloudtask.results import control, error_claims, records
from cloudtask.results.leases import MAX_INTERRUPTIONS
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.sweeping import Swept, sweep
from cloudtask.stores import Ending
from tests.backends import tasks as django_tasks
from tests.backends.samples import BACKEND, SECOND_SECRET, TASKS, THEIRS
from tests.results.samples import (
    SECRET,
    add,
    ago,
    change,
    claim,
    die,
    dispatch,
    fail_twice,
    payload,
    row,
    statements,
    values,
    verbs,
)
from tests.security.sending import FORBIDDEN, asend, send_wsgi
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _two_backends(settings: Any) -> None:
    settings.TASKS = {
        **settings.TASKS,
        "reports": {"BACKEND": BACKEND, "OPTIONS": {"SECRET": SECOND_SECRET, **THEIRS}},
    }


@pytest.fixture(params=["all", "errors"])
def mode(request: pytest.FixtureRequest, settings: Any) -> str:
    """What is kept of the tasks of the intruder's backend."""
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": request.param}
    settings.TASKS["reports"]["OPTIONS"]["RESULTS"] = "all"
    return str(request.param)


def waits(id: str) -> None:  # noqa: A002
    """As it was enqueued."""


def runs(id: str) -> None:  # noqa: A002
    claim(id)


def is_orphaned(id: str) -> None:  # noqa: A002
    die(id)


def is_orphaned_for_good(id: str) -> None:  # noqa: A002
    die(id)
    change(id, interruptions=MAX_INTERRUPTIONS - 1)


def succeeded(id: str) -> None:  # noqa: A002
    dispatch(id)
    ran.clear()


def failed(id: str) -> None:  # noqa: A002
    claim(id).end(Ending(error=ValueError("its own")))


def is_cancelled(id: str) -> None:  # noqa: A002
    control.cancel(id)


STATES = (
    waits,
    runs,
    is_orphaned,
    is_orphaned_for_good,
    succeeded,
    failed,
    is_cancelled,
)


def theirs() -> str:
    """A task of the second backend; its id."""
    id: str = django_tasks.add.using(backend="reports").enqueue(1, 2).id  # noqa: A001
    return id


def body(id: str, task: str, backend: str | None) -> bytes:  # noqa: A002
    document = {
        **json.loads(row(id).body),
        "task": task,
        "kind": "django" if backend else "cloudtask",
        "backend": backend,
        "args": [],
    }
    return json.dumps(document).encode()


#: What the holder of the first backend's credentials may send.
OWN = {
    "the same task": ("tests.backends.tasks.add", "default"),
    "another task": ("tests.backends.tasks.fail", "default"),
    "one without a backend": (add.path, None),
    "a failing one": ("tests.results.samples.fail_twice", None),
}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
@pytest.mark.parametrize("state", STATES)
def test_the_row_of_another_backend_stays_as_it_is(
    state: Callable[[str], None],
    own: tuple[str, str | None],
    mode: str,
) -> None:
    id = theirs()  # noqa: A001
    state(id)
    before, errors = values(id), TaskError.objects.count()
    task, backend = own
    headers = {"X-Task-Secret": SECRET, "X-CloudTasks-TaskRetryCount": "1"}
    if backend:
        headers["X-Task-Backend"] = backend

    answer = send_wsgi(headers, body(id, task, backend))

    if mode == "all":
        assert answer == FORBIDDEN
        assert ran == []
    assert values(id) == before
    assert TaskRecord.objects.count() == 1
    assert TaskError.objects.count() == errors


def test_it_stays_as_it_is_under_asgi() -> None:
    id = theirs()  # noqa: A001
    before = values(id)
    task, backend = OWN["one without a backend"]
    send = async_to_sync(asend)

    assert send({"X-Task-Secret": SECRET}, body(id, task, backend)) == FORBIDDEN
    assert values(id) == before


@pytest.mark.parametrize(
    "changes", [{"path": "shop.other"}, {"kind": "other"}, {"backend": "default"}]
)
def test_path_kind_and_backend_all_count(changes: dict[str, str]) -> None:
    id = theirs()  # noqa: A001
    sent = row(id)
    change(id, **changes)
    before = values(id)

    with pytest.raises(InvalidCredentials, match=f"^the id {id} is another task's$"):
        claim(id)
    assert values(id) == before

    change(id, path=sent.path, kind=sent.kind, backend=sent.backend)
    assert dispatch(id).status is Status.DONE


def test_the_refusal_is_logged_with_the_id(caplog: pytest.LogCaptureFixture) -> None:
    id = theirs()  # noqa: A001
    send_wsgi({"X-Task-Secret": SECRET}, body(id, add.path, None))

    [line] = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert line == f'refused a dispatch: "the id {id} is another task\'s"'


def test_the_task_itself_runs_after_all() -> None:
    id = theirs()  # noqa: A001
    send_wsgi({"X-Task-Secret": SECRET}, body(id, add.path, None))

    assert dispatch(id).status is Status.DONE
    assert ran == [("add", 1, 2)]


def test_a_row_is_not_sent_across_a_border(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    id = theirs()  # noqa: A001
    change(id, send_at=ago())
    options = {"SECRET": SECOND_SECRET}
    settings.TASKS = {**TASKS, "reports": {"BACKEND": BACKEND, "OPTIONS": options}}

    assert sweep() == Swept(unsent=1)
    assert "'default', and does not run through 'reports'" in caplog.text
    headers = {"X-Task-Secret": SECOND_SECRET, "X-Task-Backend": "reports"}
    assert send_wsgi(headers, row(id).body.encode()) == FORBIDDEN
    assert ran == []


def test_a_claim_takes_no_further_statement() -> None:
    id = theirs()  # noqa: A001
    wanted = row(id)
    with statements() as queries:
        claim(payload(wanted.path, id=id, kind="django", backend="reports"))
    assert verbs(queries) == ["UPDATE"]


def test_a_failure_that_cannot_be_kept_is_told(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    id = theirs()  # noqa: A001
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "errors"}
    outcome = dispatch(payload(fail_twice.path, id=id), attempt=2)

    assert outcome.status is Status.FAILED
    assert (
        f"task={fail_twice.path} id={id} has failed, but that is not kept: the id is "
        "another task's"
    ) in [r.getMessage() for r in caplog.records]


def test_a_failure_that_two_attempts_write_at_once_is_kept(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "errors"}
    wanted = payload(fail_twice.path)
    dispatch(wanted, attempt=2)
    found = row(wanted.id)
    found.attempt = 7
    # As it is for one that looked before the other wrote.
    same = records.select_row_of(wanted)
    answers = iter([0])
    first = same.update
    same.update = lambda **values: next(answers, None) or first(**values)  # type: ignore[method-assign]

    with transaction.atomic():
        assert error_claims.write_row(found, same)
    assert row(wanted.id).attempt == 7
