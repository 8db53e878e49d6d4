"""Tasks that fail where no attempt is there to tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from cloudtask.backends import CloudTasksBackend
from cloudtask.exceptions import TaskGone, WorkerDied
from cloudtask.framework import task_finished
from cloudtask.results.sweeping import sweep
from cloudtask.signals import task_failed
from tests.backends import tasks as django_tasks
from tests.results.samples import add, ago, change, queue, row

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def told() -> Iterator[list[tuple[Any, ...]]]:
    """What the signals tell: of which kind, by whom, of what."""
    told: list[tuple[Any, ...]] = []

    def failed(sender: str, **values: Any) -> None:
        told.append(("failed", sender, values["task_id"], type(values["error"])))

    def finished(sender: Any, task_result: Any, **kwargs: Any) -> None:
        told.append(("finished", sender, task_result.id, task_result.status.name))

    task_failed.connect(failed)
    task_finished.connect(finished)
    yield told
    task_failed.disconnect(failed)
    task_finished.disconnect(finished)


def forgotten(id: str) -> str:  # noqa: A002
    """A task that its queue gave up."""
    queue().delete(row(id).name)
    change(id, look_at=ago())
    return id


def deadly(id: str) -> str:  # noqa: A002
    """A task whose third worker died."""
    change(id, status="RUNNING", lease="x", lease_expires_at=ago(), interruptions=2)
    return id


def test_a_task_that_its_queue_gave_up_is_told_of(
    told: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    lost = forgotten(add().delay().id)

    assert sweep().freed == 1

    assert told == [("failed", add.path, lost, TaskGone)]
    [error] = row(lost).errors.all()
    assert (error.type, error.message) == (
        "cloudtask.exceptions.TaskGone",
        "The queue does not have the task: it was deleted or given up.",
    )
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert sweep().freed == 0
    assert len(told) == 1


@pytest.mark.parametrize(
    ("break_off", "error"), [(forgotten, TaskGone), (deadly, WorkerDied)]
)
def test_djangos_signal_tells_of_a_django_task(
    told: list[Any], caplog: pytest.LogCaptureFixture, break_off: Any, error: Any
) -> None:
    lost = break_off(django_tasks.add.enqueue(1, b=2).id)

    assert sweep().freed == 1

    assert told == [
        ("finished", CloudTasksBackend, lost, "FAILED"),
        ("failed", django_tasks.add.module_path, lost, error),
    ]
    errors = [r.name for r in caplog.records if r.levelno >= logging.ERROR]
    # Once, by Django's logger.
    assert len(errors) == 1
    assert errors[0].startswith("django")


def test_a_backend_that_is_gone_keeps_nobody_from_being_told(
    told: list[Any], caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    lost = deadly(django_tasks.add.enqueue(1, b=2).id)
    settings.TASKS = {"another": settings.TASKS["default"]}

    assert sweep().freed == 1

    assert told == [("failed", django_tasks.add.module_path, lost, WorkerDied)]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
