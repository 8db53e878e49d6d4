"""Processes that are sent one task at the same moment: one of them runs it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from cloudtask.results import leases
from cloudtask.results.models import TaskRecord
from cloudtask.wire.payload import Payload, encode, new_id
from tests.reliability.harness import IS_LONG
from tests.reliability.rivals import (
    ON_DISK,
    Rival,
    database,  # noqa: F401 - a fixture
    databases,
    execute,
    keep,
    race,
    servers,  # noqa: F401 - a fixture
)
from tests.results.conftest import _results, heart  # noqa: F401 - fixtures
from tests.results.samples import SECRET, ago, meta, payload
from tests.tasks import inspect, ran

pytestmark = pytest.mark.reliability

DONE, DUPLICATE, BUSY = (200, "done"), (200, "duplicate"), (409, "busy")
#: What a database says that had somebody wait for too long.
LOCKED = (503, "unavailable")


def tasks(count: int) -> list[Payload]:
    """Every fourth was lost by its worker, and every fourth has no row."""
    made = [payload(inspect.path) for _ in range(count)]
    keep(made[0::4] + made[1::4])
    keep(made[2::4], status="RUNNING", lease=new_id(), lease_expires_at=ago())
    return made


def answer(client: Client, body: str) -> tuple[int, str]:
    response = client.post(
        "/_tasks/",
        body,
        content_type="application/json",
        HTTP_X_TASK_SECRET=SECRET,
        **meta(),
    )
    return response.status_code, response.json()["status"]


def post_all(barrier: Any, bodies: list[str]) -> list[Any]:
    """Post tasks, each when all others do. Gives answers, and what ran."""
    client = Client()
    answers = []
    for body in bodies:
        barrier.wait()
        answers.append(answer(client, body))
    return [answers, [request.id for request in ran]]


def race_all(processes: int, count: int) -> None:
    made = tasks(count)
    raced = race(processes, post_all, [encode(each).decode() for each in made])
    answers = Counter(each for some, _ in raced for each in some)
    runs = Counter(each for _, some in raced for each in some)

    assert runs == {each.id: 1 for each in made}
    assert answers[DONE] == count
    assert set(answers) <= {DONE, DUPLICATE, BUSY}
    # They met.
    assert answers[BUSY] > count / 20
    ends = TaskRecord.objects.values_list("status", "interruptions")
    assert Counter(ends) == {
        ("SUCCESSFUL", 0): count * 3 // 4,
        ("SUCCESSFUL", 1): count // 4,
    }


@databases("postgresql", "mariadb")
def test_of_two_processes_that_are_sent_one_task_one_runs_it() -> None:
    race_all(2, 1000 if IS_LONG else 200)


@databases("postgresql repeatable read", "mariadb repeatable read", *ON_DISK)
def test_one_runs_it_under_another_isolation_and_in_a_file() -> None:
    race_all(2, 300 if IS_LONG else 100)


@databases("postgresql", "mariadb")
def test_of_eight_processes_that_are_sent_one_task_one_runs_it() -> None:
    race_all(8, 100 if IS_LONG else 40)


@databases(*ON_DISK)
def test_a_task_that_a_locked_file_keeps_from_running_comes_again() -> None:
    [wanted] = tasks(1)
    body = encode(wanted).decode()
    execute("PRAGMA busy_timeout=10")
    with Rival() as writer:
        writer.ask(execute, "BEGIN IMMEDIATE")
        assert answer(Client(), body) == LOCKED
        writer.ask(execute, "ROLLBACK")
    assert ran == []

    assert answer(Client(), body) == DONE
    assert len(ran) == 1


@databases(*ON_DISK)
def test_a_run_whose_end_a_locked_file_does_not_take_is_not_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As long as that, the end is tried again.
    monkeypatch.setattr(leases, "LEASE", timedelta(seconds=0.5))
    [wanted] = tasks(1)
    body = encode(wanted).decode()
    execute("PRAGMA busy_timeout=10")
    with Rival() as writer:

        def func(request: Any) -> None:
            ran.append(request)
            writer.ask(execute, "BEGIN IMMEDIATE")

        with monkeypatch.context() as patch:
            patch.setattr(inspect, "func", func)
            assert answer(Client(), body) == LOCKED
        writer.ask(execute, "ROLLBACK")

    # The same process writes it before it claims the task again.
    assert answer(Client(), body) == DUPLICATE
    assert len(ran) == 1
