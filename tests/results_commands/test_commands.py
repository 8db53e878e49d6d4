"""`manage.py cloudtask sweep`, `cancel`, `redrive` and `prune`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from cloudtask.actions import find_actions
from cloudtask.results import control
from cloudtask.results.commands import redrive
from cloudtask.results.commands.arguments import read_age
from cloudtask.results.commands.bar import Bar
from cloudtask.results.models import TaskRecord
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.outgoing import OutgoingTask
from tests import tasks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.django_db_backend,
]


@pytest.fixture
def queue() -> Iterator[MemoryTransport]:
    kept = {**django_settings.CLOUDTASK, "RESULTS": "all"}
    with override_settings(CLOUDTASK=kept), memory_queue() as queue:
        yield queue


def run(action: str, *args: str) -> str:
    out = StringIO()
    call_command("cloudtask", action, *args, stdout=out)
    return out.getvalue()


def row(letter: str, **values: Any) -> TaskRecord:
    """A row as a task leaves it that was enqueued just now."""
    return TaskRecord.objects.create(
        **{
            "id": letter * 32,
            "path": "tests.tasks.add",
            "kind": "cloudtask",
            "queue": "default",
            "url": "https://shop.example/_tasks/",
            "enqueued_at": datetime.now(UTC),
            "body": f'{{"v":1,"id":"{letter * 32}","task":"tests.tasks.add",'
            '"kind":"cloudtask","args":[1,2],"kwargs":{},'
            '"enqueued_at":"2026-01-31T12:00:00+00:00"}',
            **values,
        }
    )


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


# Ages


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("45s", timedelta(seconds=45)),
        ("0s", timedelta(0)),
    ],
)
def test_an_age_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert read_age(text) == expected


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "1w", "٣d", "1d "])
def test_another_text_is_no_age(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        read_age(text)
    assert str(caught.value) == f"{text!r} is not an age. Write 30d, 12h, 90m or 45s."


@pytest.mark.parametrize("text", ["36501d", "999999999h"])
def test_an_age_has_a_limit(text: str) -> None:
    with pytest.raises(CommandError, match=f"'{text}' is too long ago. Write 36500d"):
        run("prune", "--older-than", text)


# Sweep


def test_what_was_not_sent_is_sent(queue: MemoryTransport) -> None:
    row("a", send_at=ago(minutes=2))
    row("b", send_at=ago(minutes=1))
    row("c", send_at=datetime.now(UTC) + timedelta(minutes=1))

    assert run("sweep") == "Sent 2 tasks, freed 0; 0 could not be sent.\n"

    assert sorted(task.payload.id[0] for task in queue.tasks) == ["a", "b"]
    queue.drain()
    assert tasks.ran == [("add", 1, 2)] * 2
    assert run("sweep") == "Sent 0 tasks, freed 0; 0 could not be sent.\n"


def test_passes_go_on_until_nothing_is_left(queue: MemoryTransport) -> None:
    for name in "abcde":
        row(name, send_at=ago(minutes=1))

    assert run("sweep", "--limit", "2", "--once").startswith("Sent 2 tasks")
    assert run("sweep", "--limit", "2").startswith("Sent 3 tasks")


@pytest.mark.usefixtures("queue")
def test_what_cannot_be_sent_ends_the_passes() -> None:
    row("a", send_at=ago(minutes=1), path="tests.tasks.gone", body=_body("gone"))

    assert run("sweep") == "Sent 0 tasks, freed 0; 1 could not be sent.\n"


def _body(name: str) -> str:
    return (
        f'{{"v":1,"id":"{"a" * 32}","task":"tests.tasks.{name}","kind":"cloudtask",'
        '"args":[],"kwargs":{},"enqueued_at":"2026-01-31T12:00:00+00:00"}'
    )


@pytest.mark.parametrize("limit", ["-1", "0", "10001", "many", "", "1.5", "٣"])
def test_a_limit_is_a_number_of_tasks(limit: str) -> None:
    with pytest.raises(CommandError, match=f"'{limit}' is not a number of tasks"):
        run("sweep", "--limit", limit)


# Cancel


def open_tasks() -> None:
    """Four that can be cancelled, a to d, and two that cannot."""
    row("a")
    row("b", path="tests.tasks.aadd")
    row("c", queue="emails")
    row("d", status="RUNNING")
    row("e", status="RUNNING", cancelled_at=ago(minutes=1))
    row("f", status="SUCCESSFUL", finished_at=ago(minutes=1))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--id", "a" * 32, "--id", "b" * 32, "--id", "f" * 32], "ab"),
        (["--path", "tests.tasks.add"], "acd"),
        (["--queue", "default"], "abd"),
        (["--id", str(UUID("b" * 32))], "b"),
        (["--id", "A" * 32, "--id", "a" * 32 + " "], ""),
        (["--path", "Tests.Tasks.add"], ""),
        (["--path", "tests.tasks.aadd "], ""),
        (["--queue", "Emails"], ""),
        (["--queue", "emails", "--path", ""], ""),
        (["--status", "READY"], "abc"),
        (["--status", "RUNNING"], "d"),
        (["--path", "tests.tasks.add", "--queue", "default", "--status", "READY"], "a"),
    ],
)
def test_what_is_cancelled_is_chosen(
    queue: MemoryTransport, arguments: list[str], expected: str
) -> None:
    open_tasks()
    before = list(TaskRecord.objects.order_by("pk").values())

    told = run("cancel", "--dry-run", *arguments)
    assert told == f"{len(expected)} tasks would be cancelled.\n"
    assert list(TaskRecord.objects.order_by("pk").values()) == before

    assert run("cancel", *arguments) == f"{len(expected)} tasks cancelled.\n"
    cancelled = TaskRecord.objects.exclude(pk="e" * 32).exclude(cancelled_at=None)
    assert "".join(sorted(each.pk[0] for each in cancelled)) == expected
    assert run("cancel", *arguments) == "0 tasks cancelled.\n"


def test_nothing_is_cancelled_unless_it_is_said_what() -> None:
    open_tasks()

    with pytest.raises(CommandError) as caught:
        run("cancel")

    told = "Say which tasks: --id, --path, --queue or --status."
    assert str(caught.value) == told
    assert TaskRecord.objects.filter(cancelled_at=None).count() == 5


def test_many_tasks_are_cancelled_in_chunks_and_leave_the_queue(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CHUNK", 2)
    for letter in "abcde":
        row(letter, send_at=ago(minutes=2))
    run("sweep")
    assert len(queue.tasks) == 5

    assert run("cancel", "--queue", "default") == "5 tasks cancelled.\n"
    assert queue.tasks == []
    assert not TaskRecord.objects.exclude(status="FAILED").exists()


# Redrive


def failed(letter: str, **values: Any) -> TaskRecord:
    return row(letter, **{"status": "FAILED", "finished_at": ago(hours=1), **values})


def test_what_failed_runs_again(queue: MemoryTransport) -> None:
    failed("a", attempt=5, interruptions=2, name="projects/p/gone", task_id="used")
    row("b", status="SUCCESSFUL", finished_at=ago(hours=1))
    failed("c", body="")

    assert run("redrive", "--all", "--rate", "500") == "1 tasks run again.\n"

    [sent] = queue.tasks
    assert (sent.payload.id, sent.sent.task_id) == ("a" * 32, None)
    queue.drain()
    again = TaskRecord.objects.get(pk="a" * 32)
    assert (again.status, again.attempt, again.interruptions) == ("SUCCESSFUL", 1, 0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--all"], "abcd"),
        (["--id", "a" * 32, "--id", "b" * 32], "ab"),
        (["--id", str(UUID("c" * 32))], "c"),
        (["--id", "A" * 32], ""),
        (["--path", "Tests.tasks.add"], ""),
        (["--path", "tests.tasks.add "], ""),
        (["--path", ""], ""),
        (["--queue", "", "--path", "tests.tasks.add"], ""),
        (["--failed-within", "0s"], ""),
        (["--path", "tests.tasks.aadd"], "b"),
        (["--queue", "emails"], "c"),
        (["--failed-within", "30m"], "d"),
        (["--path", "tests.tasks.add", "--failed-within", "2h"], "acd"),
    ],
)
def test_what_runs_again_can_be_chosen(
    queue: MemoryTransport, arguments: list[str], expected: str
) -> None:
    failed("a")
    failed("b", path="tests.tasks.aadd")
    failed("c", queue="emails")
    failed("d", finished_at=ago(minutes=5))

    told = run("redrive", "--dry-run", *arguments)
    assert told == f"{len(expected)} tasks would run again.\n"
    assert queue.tasks == []

    run("redrive", "--rate", "500", *arguments)
    assert sorted(task.payload.id[0] for task in queue.tasks) == sorted(expected)


def test_what_fails_again_meanwhile_is_not_redriven_twice(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for letter in "abc":
        failed(letter)
    sent: list[str] = []

    def fail_at_once(self: Any, task: OutgoingTask) -> str:
        sent.append(task.id[0])
        assert len(sent) <= 3
        TaskRecord.objects.filter(pk=task.id).update(status="FAILED")
        return f"projects/p/{task.id}"

    monkeypatch.setattr(MemoryTransport, "send", fail_at_once)
    monkeypatch.setattr(redrive, "LIMIT", 1)
    assert run("redrive", "--all", "--rate", "500") == "3 tasks run again.\n"
    assert sent == ["a", "b", "c"]


@pytest.mark.parametrize(
    "arguments", [[], ["--rate", "5"], ["--all", "--queue", "default"]]
)
def test_nothing_is_redriven_unless_it_is_said_what(arguments: list[str]) -> None:
    failed("a")

    with pytest.raises(CommandError, match=r"Say which tasks: --id, .* or --all"):
        run("redrive", *arguments)
    assert TaskRecord.objects.get().status == "FAILED"


@pytest.mark.parametrize("rate", ["0", "-1", "501", "fast", "nan"])
def test_a_rate_is_a_number_of_tasks_a_second(rate: str) -> None:
    with pytest.raises(
        CommandError, match=f"'{rate}' is not a rate: above 0, up to 500"
    ):
        run("redrive", "--rate", rate)


# Prune


def test_what_finished_long_ago_is_deleted() -> None:
    row("a", status="SUCCESSFUL", finished_at=ago(days=31))
    row("b", status="SUCCESSFUL", finished_at=ago(days=29))
    row("c", status="FAILED", finished_at=ago(days=31))
    row("d", status="FAILED", finished_at=ago(days=91))
    row("e", enqueued_at=ago(days=365))

    assert run("prune", "--dry-run") == "2 tasks would be deleted.\n"
    assert TaskRecord.objects.count() == 5
    assert run("prune") == "2 tasks deleted.\n"
    assert sorted(pk[0] for pk in TaskRecord.objects.values_list("pk", flat=True)) == [
        "b",
        "c",
        "e",
    ]


def test_how_long_ago_can_be_said() -> None:
    row("a", status="SUCCESSFUL", finished_at=ago(hours=2))
    row("b", status="FAILED", finished_at=ago(hours=2))

    told = run("prune", "--older-than", "1h", "--failed-older-than", "3h")
    assert told == "1 tasks deleted.\n"
    with pytest.raises(CommandError, match="'1 hour' is not an age"):
        run("prune", "--older-than", "1 hour")


# Progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar() -> None:
    from django.core.management.base import OutputWrapper

    out = Terminal()
    bar = Bar(OutputWrapper(out), 4)
    bar.add(1)
    bar.add(3)
    bar.end("deleted")

    first, second, *rest = out.getvalue().split("\r")[1:]
    assert first == f"[{'#' * 7}{'.' * 23}] 1/4"
    assert second.startswith(f"[{'#' * 30}] 4/4")
    assert rest == []
    assert second.endswith("\n4 tasks deleted.\n")


def test_a_bar_of_nothing_does_not_fail() -> None:
    from django.core.management.base import OutputWrapper

    out = Terminal()
    bar = Bar(OutputWrapper(out), 0)
    bar.add(0)
    assert out.getvalue() == f"\r[{'.' * 30}] 0/0"


# The command


def test_without_the_app_there_is_the_emulator_alone(settings: Any) -> None:
    settings.INSTALLED_APPS = ["cloudtask", "tests"]

    with pytest.raises(CommandError, match="invalid choice: 'sweep'"):
        run("sweep")


def test_all_apps_bring_their_actions() -> None:
    names = [action.name for action in find_actions()]

    assert names == ["emulator", "sweep", "cancel", "redrive", "prune", "schedules"]
