"""Results in a second database, beside a copy that lags, or no default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction
from django.test import Client, RequestFactory, override_settings

from cloudtask import CloudTaskRequest, Reject, task
from cloudtask.dispatch.outcomes import Status
from cloudtask.exceptions import StoreUnavailable
from cloudtask.results import cancel, get_result
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.results.sweeping import sweep
from cloudtask.results.views import status
from cloudtask.stores import Ending
from cloudtask.testing import memory_queue
from tests.backends import tasks as django_tasks
from tests.fresh import run_fresh
from tests.results.conftest import (  # noqa: F401 - fixtures
    _nothing_is_kept,
    _results,
    heart,
)
from tests.results.samples import (
    add,
    ago,
    change,
    claim,
    dispatch,
    expire,
    fail_twice,
    payload,
    row,
)
from tests.results_admin.conftest import SETTINGS
from tests.results_admin.rows import make_person

pytestmark = [
    pytest.mark.django_db_backend,
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
]


class Router:
    """Tasks are written to one database, and read from one that lags."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "other" if model._meta.app_label == "cloudtask_results" else None

    def db_for_read(self, model: Any, **hints: Any) -> None:
        return None


@pytest.fixture(autouse=True)
def _router(settings: Any) -> Iterator[None]:
    settings.DATABASE_ROUTERS = [Router()]
    with memory_queue():
        yield
    assert TaskRecord.objects.using("default").count() == 0


@task
def listen(request: CloudTaskRequest) -> str:
    if request.check_cancelled():
        raise Reject("cancelled")
    return "done"


def test_a_task_that_was_not_cancelled_is_not_told_so() -> None:
    enqueued = listen().delay()

    assert dispatch(enqueued.id).status is Status.DONE
    assert get_result(enqueued.id).return_value == "done"


def test_a_failing_task_keeps_its_error() -> None:
    enqueued, result = fail_twice().delay(), django_tasks.fail.enqueue()
    dispatch(enqueued.id, attempt=2)
    dispatch(result.id)

    assert get_result(enqueued.id).status == "FAILED"
    [error] = get_result(enqueued.id).errors
    assert error.type == "builtins.ValueError"
    result.refresh()
    assert len(result.errors) == 1


def test_an_end_without_its_error_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued = add().delay()
    held = claim(enqueued.id)
    refuse = Mock(side_effect=IntegrityError)
    with monkeypatch.context() as context:
        context.setattr(TaskError, "save_base", refuse)
        with pytest.raises(StoreUnavailable):
            held.end(Ending(error=ValueError("broken")))
    assert (row(enqueued.id).status, refuse.called) == ("RUNNING", True)


def test_with_errors_alone_a_row_without_its_error_is_not_kept(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "RESULTS": "errors"}
    failed = payload(fail_twice.path)
    with monkeypatch.context() as context:
        context.setattr(TaskError, "save_base", Mock(side_effect=IntegrityError))
        with pytest.raises(StoreUnavailable):
            claim(failed, attempt=2).end(Ending(error=ValueError("broken")))
    assert TaskRecord.objects.count() == 0

    assert dispatch(failed, attempt=2).status is Status.FAILED
    assert row(failed.id).errors.count() == 1


def test_what_nobody_knows_is_claimed_once() -> None:
    unknown = payload()
    claim(unknown)

    assert dispatch(unknown).status is Status.BUSY
    assert row(unknown.id).status == "RUNNING"


def test_tasks_are_swept_cancelled_redriven_and_pruned() -> None:
    orphan, waiting = add().delay(), add().delay()
    claim(orphan.id)
    expire(orphan.id)
    change(orphan.id, interruptions=2)
    change(waiting.id, sent_at=None, name="", send_at=ago())

    swept = sweep()
    assert (swept.sent, swept.freed) == (1, 1)
    assert get_result(orphan.id).errors[0].type.endswith("WorkerDied")
    out = StringIO()
    call_command("cloudtask", "redrive", "--id", orphan.id, stdout=out)
    assert row(orphan.id).status == "READY"
    assert cancel(waiting.id) is True
    change(waiting.id, finished_at=ago())
    call_command("cloudtask", "prune", "--failed-older-than", "0s", stdout=out)
    assert [each.pk for each in TaskRecord.objects.all()] == [orphan.id]


def test_people_see_what_is_written() -> None:
    enqueued = fail_twice().delay()
    dispatch(enqueued.id, attempt=2)

    request = RequestFactory().get("/")
    request.user = Mock(is_authenticated=True)
    assert status(request, enqueued.id).status_code == 200
    with override_settings(**SETTINGS):
        client = Client()
        client.force_login(make_person("view", "redrive"))
        url = "/admin/cloudtask_results/taskrecord/"
        assert enqueued.id in client.get(url).content.decode()
        assert (
            "builtins.ValueError"
            in client.get(f"{url}{enqueued.id}/change/").content.decode()
        )
        client.post(url, {"action": "redrive", "_selected_action": [enqueued.id]})
    assert row(enqueued.id).status == "READY"


@pytest.mark.parametrize("enqueue", [add().delay, django_tasks.add.enqueue])
def test_a_task_is_sent_at_the_commit_of_the_default_database(
    enqueue: Callable[[], Any],
) -> None:
    with transaction.atomic():
        enqueued = enqueue()
        assert not connections["other"].in_atomic_block
        assert TaskRecord.objects.count() == 0
    assert row(enqueued.id).name


_CODE = """
import json, tempfile

import django
from django.conf import settings

folder = tempfile.TemporaryDirectory()


class Router:
    def db_for_read(self, model, **hints):
        return "main"

    db_for_write = db_for_read


settings.configure(
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="tests.urls",
    USE_TZ=True,
    INSTALLED_APPS=["cloudtask", "cloudtask.results", "tests"],
    DATABASES={
        "default": {},
        "main": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder.name}/main"},
    },
    DATABASE_ROUTERS=[Router()],
    CLOUDTASK={
        "PROJECT": "project",
        "LOCATION": "europe-west1",
        "URL": "https://shop.example/_tasks/",
        "QUEUE": "default",
        "SECRET": "a secret for tests of 32 bytes..",
        "TRANSPORT": "cloudtask.transports.memory.MemoryTransport",
    },
)
django.setup()
from django.core.management import call_command
from django.db import transaction

from cloudtask.results import get_result
from cloudtask.results.models import TaskRecord
from tests.results import samples

call_command("migrate", database="main", verbosity=0)
failed = samples.fail_twice().delay()
answer = samples.post(failed.id, attempt=2).status_code
try:
    with transaction.atomic("main"):
        samples.add().delay()
        raise LookupError
except LookupError:
    pass
queue = samples.queue()
with transaction.atomic("main"):
    samples.add().delay()
    before = len(queue.tasks)
result = get_result(failed.id)
print(json.dumps([
    answer, result.status, len(result.errors),
    TaskRecord.objects.count(), before, len(queue.tasks),
]))
"""


def test_a_project_has_no_default_database() -> None:
    answer, state, errors, kept, before, after = run_fresh(_CODE)

    assert (answer, state, errors) == (200, "FAILED", 1)
    # What was rolled back is not sent, and the other at its commit.
    assert (kept, before, after) == (2, 1, 2)
