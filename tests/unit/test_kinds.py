"""What the `kind` of a payload means, and what no kind knows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from cloudtask.conf import Settings, get_settings
from cloudtask.dispatch import kinds
from cloudtask.dispatch.attempts import Attempt, Observer, make_request
from cloudtask.dispatch.execution import run
from cloudtask.enqueue import registry
from cloudtask.enqueue.kind import OBSERVERS, OwnKind
from cloudtask.exceptions import InvalidCredentials, TaskNotFound
from cloudtask.testing import memory_queue
from cloudtask.wire.outgoing import Route
from cloudtask.wire.payload import Payload
from tests.fresh import run_fresh
from tests.outgoing import outgoing_task
from tests.tasks import add, ran
from tests.unit.test_stores import stored


@pytest.fixture(autouse=True)
def _known_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(kinds, "_kinds", dict(kinds._kinds))


def payload(kind: str = "cloudtask", backend: str | None = None) -> Payload:
    return Payload(
        id="0" * 32,
        task=add.path,
        args=(1, 2),
        kwargs={},
        enqueued_at=datetime.now(UTC),
        kind=kind,
        backend=backend,
    )


class Tick(kinds.Kind):
    """A third kind, which leaves the guard to others."""

    name = "bell"

    def settings(self, backend: str | None) -> Settings | None:
        return None

    def attempt(self, payload: Payload, meta: Any, request: Any) -> Attempt:
        definition = registry.get(payload.task)
        asked = make_request(payload, definition, Settings(), meta, request)
        return Attempt(definition, payload, asked)

    def route(self, payload: Payload) -> Route:
        return Route(queue_path="clock", url="", headers={})


# A kind that is registered


def test_a_kind_is_asked_by_its_name() -> None:
    kinds.register(Tick())

    assert run(kinds.make_attempt(payload("bell"), {})).value == 3
    assert ran == [("add", 1, 2)]
    assert kinds.find_kind("bell").route(payload("bell")).queue_path == "clock"


def test_a_kind_may_leave_to_another_who_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kinds, "_kinds", {})
    kinds.register(Tick())
    kinds.register(OwnKind())

    assert kinds.find_settings(None) is get_settings()


def test_a_kind_need_not_have_backends_nor_anybody_to_tell() -> None:
    kinds.register(Tick())

    assert list(kinds.find_kind("bell").backends()) == []
    assert kinds.find_kind("bell").tell_finished(stored()) is False


def test_an_observer_need_not_do_anything() -> None:
    observer, task = Observer(), outgoing_task(queue_path="q")

    observer.sent(task, "name")
    asyncio.run(observer.asent(task, "name"))


# What no kind knows


@pytest.mark.parametrize("name", ["bell", "", "CLOUDTASK", "cloudtask.kind", "é"])
def test_a_kind_that_is_not_registered_is_refused(name: str) -> None:
    with pytest.raises(TaskNotFound) as caught:
        kinds.make_attempt(payload(name), {})

    assert str(caught.value) == f"Payloads of kind {name!r} are not run here."


@pytest.mark.parametrize("backend", [None, "default"])
def test_a_backend_that_no_kind_has_is_refused(
    monkeypatch: pytest.MonkeyPatch, backend: str | None
) -> None:
    monkeypatch.setattr(kinds, "_kinds", {})

    with pytest.raises(InvalidCredentials) as caught:
        kinds.find_settings(backend)

    assert str(caught.value) == f"no task backend {backend!r} here"


# Tasks of this package


def test_a_task_of_this_package_is_run_by_the_settings_of_the_project() -> None:
    attempt = OwnKind().attempt(payload(), {"HTTP_X_CLOUDTASKS_QUEUENAME": "q"}, None)

    assert attempt.definition is registry.get(add.path)
    assert attempt.request.queue == "q"
    assert attempt.observers is OBSERVERS


def test_a_task_of_this_package_has_no_backend() -> None:
    assert OwnKind().settings("default") is None
    with pytest.raises(TaskNotFound) as caught:
        OwnKind().attempt(payload(backend="default"), {}, None)

    assert str(caught.value) == "Payloads of kind 'cloudtask' have no backend."


def test_the_route_of_a_payload_is_its_definitions() -> None:
    with memory_queue() as queue:
        route = OwnKind().route(payload())

        assert route is add.route(get_settings(), queue)


# Who registers them

KNOWN = """
import json
import django
from django.conf import settings

settings.configure(INSTALLED_APPS={apps!r}, TASKS={tasks!r})
django.setup()
{more}
from cloudtask.dispatch import kinds

print(json.dumps(sorted(kinds._kinds)))
"""
TASKS = {"default": {"BACKEND": "cloudtask.backends.CloudTasksBackend"}}


@pytest.mark.parametrize(
    ("apps", "tasks", "more", "known"),
    [
        (["cloudtask"], TASKS, "", ["cloudtask", "django"]),
        (["cloudtask"], {}, "", ["cloudtask"]),
        # Without the app, whoever defines a task.
        ([], TASKS, "", []),
        ([], TASKS, "from cloudtask import task", ["cloudtask"]),
        ([], TASKS, "from cloudtask.backends import CloudTasksBackend", ["django"]),
    ],
)
def test_the_app_registers_the_kinds_that_are_used(
    apps: list[str], tasks: Any, more: str, known: list[str]
) -> None:
    assert run_fresh(KNOWN.format(apps=apps, tasks=tasks, more=more)) == known
