from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from django.test import override_settings

from cloudtask.conf import get_settings
from cloudtask.exceptions import TaskAlreadyExists
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import MemoryTransport
from tests import tasks


def sent(queue: MemoryTransport) -> list[str]:
    return [task.payload.task for task in queue.tasks]


def test_tasks_are_kept_until_they_are_drained() -> None:
    with memory_queue() as queue:
        tasks.add(1, 2).delay()
        tasks.add(3, 4).delay()

        assert sent(queue) == ["tests.tasks.add", "tests.tasks.add"]
        assert tasks.ran == []
        assert [outcome.value for outcome in queue.drain()] == [3, 7]
        assert queue.tasks == []

    assert tasks.ran == [("add", 1, 2), ("add", 3, 4)]


def test_each_queue_is_a_new_one() -> None:
    with memory_queue() as first:
        tasks.clean().delay()
        with pytest.raises(TaskAlreadyExists):
            tasks.clean().delay()

    with memory_queue() as second:
        tasks.clean().delay()

    assert sent(first) == sent(second) == ["tests.tasks.clean"]


def test_a_queue_in_a_queue_takes_the_tasks_meanwhile() -> None:
    with memory_queue() as outer:
        tasks.add(1).delay()
        with memory_queue() as inner:
            tasks.aadd(2).delay()

    assert sent(outer) == ["tests.tasks.add"]
    assert sent(inner) == ["tests.tasks.aadd"]


@pytest.mark.parametrize(
    ("raw", "queue"),
    [
        (None, "default"),
        ({}, "default"),
        ({"QUEUE": "e-mails"}, "e-mails"),
        ({"TRANSPORT": "cloudtask.transports.google.GoogleTransport"}, "default"),
        # A project's own is of no concern.
        ({"PROJECT": "shop", "EMULATOR_HOST": "127.0.0.1:1"}, "default"),
    ],
)
def test_any_projects_settings_will_do(raw: dict[str, Any] | None, queue: str) -> None:
    with override_settings(CLOUDTASK=raw), memory_queue() as memory:
        enqueued = tasks.add().delay()

    assert sent(memory) == ["tests.tasks.add"]
    assert enqueued.queue == queue


def test_a_project_may_have_no_setting_at_all() -> None:
    with override_settings():
        del django_settings.CLOUDTASK
        with memory_queue() as queue:
            tasks.add().delay()

        assert not hasattr(django_settings, "CLOUDTASK")

    assert sent(queue) == ["tests.tasks.add"]


def test_the_other_settings_hold() -> None:
    raw = {"SECRET": "kept", "URL": "https://x.example/"}
    with override_settings(CLOUDTASK=raw), memory_queue() as queue:
        tasks.add().delay()
        assert get_settings().secret == "kept"

    assert queue.tasks[0].sent.route.url == "https://x.example/"


def test_the_settings_are_what_they_were_afterwards() -> None:
    with override_settings(CLOUDTASK={"QUEUE": "before"}):
        with pytest.raises(ZeroDivisionError), memory_queue():
            raise ZeroDivisionError

        assert get_settings().queue == "before"
        assert get_settings().transport.endswith(".GoogleTransport")


@pytest.mark.django_db
def test_a_test_in_a_transaction_captures_the_commit(
    django_capture_on_commit_callbacks: Any,
) -> None:
    # As the docstring says, in a TestCase.
    with memory_queue() as queue:
        with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
            tasks.add().delay()
            assert queue.tasks == []

        assert sent(queue) == ["tests.tasks.add"]


def test_the_fixture_of_this_project_is_such_a_queue(queue: MemoryTransport) -> None:
    tasks.add().delay()

    assert sent(queue) == ["tests.tasks.add"]
