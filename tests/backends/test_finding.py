"""Which Django task a payload's path leads to."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils.functional import SimpleLazyObject

from cloudtask.backends.finding import find_task
from cloudtask.exceptions import TaskNotFound
from cloudtask.testing import memory_queue
from tests.backends import magic, tasks
from tests.backends.samples import FIRST_SECRET, changed, dispatch
from tests.security.sending import Send
from tests.tasks import ran

SECRET = {"X-Task-Secret": FIRST_SECRET}
HERE = "tests.backends"
UNLOADED = f"{HERE}.unloaded.run"


def post(send: Send, path: str) -> Any:
    """Dispatch a payload with this path."""
    with memory_queue() as queue:
        tasks.look.enqueue()
    [sent] = queue.tasks
    return dispatch(send, sent, body=changed(sent, task=path), **SECRET)


@pytest.fixture(autouse=True)
def _open(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SECRET": FIRST_SECRET}


@pytest.mark.parametrize(
    ("path", "task"),
    [
        (f"{HERE}.tasks.add", tasks.add),
        (f"{HERE}.tasks.aadd", tasks.aadd),
        # Where it was renamed, and where it was imported to.
        (f"{HERE}.tasks.sum_up", tasks.add),
        (f"{HERE}.test_finding.moved", tasks.aadd),
        # In a class.
        (f"{HERE}.tasks.Reports.monthly", tasks.Reports.monthly),
    ],
)
def test_a_task_is_found_by_its_path(path: str, task: Any) -> None:
    assert find_task(path) is task


moved = tasks.aadd

NONE = {
    "another name": f"{HERE}.tasks.unknown",
    "a plain function": f"{HERE}.tasks.plain",
    "a number": f"{HERE}.tasks.number",
    "a class": f"{HERE}.tasks.Reports",
    "a member of a class": f"{HERE}.tasks.Reports.number",
    "no member of a class": f"{HERE}.tasks.Reports.unknown",
    "an inherited member": f"{HERE}.tasks.EndlessList.append",
    "a member of a number": f"{HERE}.tasks.number.real",
    "a member of a task": f"{HERE}.tasks.add.func",
    "a module": f"{HERE}.tasks",
    "a module in a module": f"{HERE}.test_finding.tasks.add",
    "a task of ours": "tests.tasks.add",
    "a builtin": "builtins.eval",
    "a function of the library": "os.system",
    "a module's own attributes": f"{HERE}.magic.add",
    "a module's dictionary": f"{HERE}.tasks.__dict__.add",
    "an unloaded module": UNLOADED,
    "no module": "nowhere.at.all",
    "one word": "add",
    "nothing": "",
    "dots": "...",
    "empty words": f"{HERE}..tasks.add",
    "a dot too many": f"{HERE}.tasks.add.",
    "a space": f" {HERE}.tasks.add",
    "a long path": "a." * 251,
    "a very long path": "a." * 100_000,
    "no identifier": "a\tb.\ud7ff.c",
}


@pytest.mark.parametrize("name", NONE)
def test_all_else_is_not_found(name: str) -> None:
    with pytest.raises(TaskNotFound) as caught:
        find_task(NONE[name])
    assert str(caught.value) == (
        f"No Django task is loaded as {NONE[name]!r}. If it exists, move it to the "
        "tasks.py of an app, or list its module in CLOUDTASK['IMPORTS']."
    )
    assert ran == []


def test_the_longest_path_is_of_500_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest = f"{HERE}.tasks.{'x' * (500 - len(HERE) - 7)}"
    for path in (longest, f"{longest}x"):
        monkeypatch.setattr(tasks, path.rpartition(".")[2], tasks.add, raising=False)

    assert len(longest) == 500
    assert find_task(longest) is tasks.add
    with pytest.raises(TaskNotFound):
        find_task(f"{longest}x")


def test_what_only_looks_like_a_module_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "look_alike", SimpleNamespace(add=tasks.add))  # type: ignore[arg-type]
    with pytest.raises(TaskNotFound):
        find_task("look_alike.add")

    monkeypatch.setitem(sys.modules, "blocked", None)  # type: ignore[arg-type]
    with pytest.raises(TaskNotFound):
        find_task("blocked.add")

    module = ModuleType("real")
    vars(module)["add"] = tasks.add
    monkeypatch.setitem(sys.modules, "real", module)
    assert find_task("real.add") is tasks.add


def test_a_module_is_not_asked_for_what_it_makes_up(send: Send) -> None:
    assert post(send, f"{HERE}.magic.anything").status == 404
    assert ran == []
    assert magic.anything is tasks.add
    assert ran == ["asked for anything"]


def test_a_lazy_object_is_not_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    def wake() -> Any:
        ran.append("woken")
        return tasks.add

    monkeypatch.setattr(tasks, "lazy", SimpleLazyObject(wake), raising=False)
    with pytest.raises(TaskNotFound):
        find_task(f"{HERE}.tasks.lazy")
    assert ran == []


@pytest.mark.parametrize("name", NONE)
def test_nothing_is_imported_for_a_payload(send: Send, name: str) -> None:
    post(send, f"{HERE}.tasks.look")  # Loads what any dispatch needs.
    ran.clear()
    before = set(sys.modules)
    answer = post(send, NONE[name])

    assert (answer.status, answer.word) == (404, "unknown task")
    assert set(sys.modules) == before
    assert ran == []


def test_the_log_says_what_to_do(send: Send, caplog: pytest.LogCaptureFixture) -> None:
    post(send, UNLOADED)

    [record] = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert (record.name, record.levelno) == ("cloudtask", logging.ERROR)
    assert record.getMessage() == (
        f'refused a dispatch: "No Django task is loaded as {UNLOADED!r}. If it exists, '
        "move it to the tasks.py of an app, or list its module in "
        "CLOUDTASK['IMPORTS'].\""
    )
    assert UNLOADED not in str(Client().get("/_tasks/").content)


def test_a_task_runs_under_its_former_name(
    send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cloudtask")
    answer = post(send, f"{HERE}.tasks.sum_up")

    assert answer.status == 200
    assert ran == [("add", 5, 4)]
    [record] = [r for r in caplog.records if r.name == "cloudtask"]
    assert record.getMessage().startswith(f"task={HERE}.tasks.add id=")


def test_a_task_in_a_class_runs(send: Send) -> None:
    assert post(send, f"{HERE}.tasks.Reports.monthly").status == 200
    assert ran == ["monthly"]
