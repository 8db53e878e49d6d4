from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable
from typing import Any

import pytest

from cloudtask import task
from cloudtask.enqueue import registry
from cloudtask.enqueue.tasks import TaskDefinition
from cloudtask.exceptions import InvalidTask, TaskNotFound
from cloudtask.transports.memory import MemoryTransport
from tests.tasks import add

Define = Callable[..., TaskDefinition[..., Any]]


@pytest.fixture(autouse=True)
def _empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(registry, "_conflicts", {})


@pytest.fixture
def define() -> Define:
    """Decorate a new function of a given module and name."""

    def make(origin: str, **options: Any) -> TaskDefinition[..., Any]:
        def func(request: object) -> None:
            """Do nothing."""

        func.__module__, _, func.__qualname__ = origin.rpartition(".")
        return task(**options)(func)

    return make


def test_a_task_is_found_under_the_path_of_its_function(define: Define) -> None:
    definition = define("shop.tasks.add")

    assert registry.get("shop.tasks.add") is definition
    assert registry.find_origin(definition) == "shop.tasks.add"


def test_a_task_is_found_under_its_own_path_and_its_aliases(define: Define) -> None:
    definition = define("shop.tasks.add", path="add", aliases=("plus", "sum"))

    assert [registry.get(p) for p in ("add", "plus", "sum")] == [definition] * 3
    with pytest.raises(TaskNotFound):
        registry.get("shop.tasks.add")


def test_a_definition_with_aliases_is_listed_once(define: Define) -> None:
    first = define("shop.tasks.add", aliases=("plus",))
    second = define("shop.tasks.subtract")

    assert list(registry.list_definitions()) == [first, second]


@pytest.mark.parametrize(
    "path",
    [
        # What a peer imported and called.
        "os.abort",
        "os.system",
        "platform.node",
        "subprocess.Popen",
        "builtins.eval",
        # Importable, and no task.
        "tests.tasks.ran",
        "antigravity",
        # No path at all.
        "",
        "..",
        "shop.tasks.add\0",
    ],
)
def test_only_registered_paths_are_found_and_nothing_is_imported(
    define: Define, path: str
) -> None:
    define("shop.tasks.add")
    before = set(sys.modules)

    with pytest.raises(TaskNotFound) as caught:
        registry.get(path)

    assert str(caught.value) == f"No task is registered as {path!r}."
    assert set(sys.modules) == before


def test_a_function_that_is_defined_again_takes_the_path_over(define: Define) -> None:
    # As when its module is reloaded.
    old = define("shop.tasks.add", aliases=("plus",))
    new = define("shop.tasks.add", aliases=("plus",))

    assert registry.get("shop.tasks.add") is new
    assert registry.get("plus") is new
    assert list(registry.list_conflicts()) == []
    registry.check_owner(new)
    with pytest.raises(InvalidTask) as caught:
        registry.check_owner(old)
    assert str(caught.value) == (
        "shop.tasks.add: this definition was replaced by a later one."
    )


def test_a_module_may_be_reloaded(queue: MemoryTransport) -> None:
    module = importlib.import_module("tests.apps.bakery.tasks")
    old = importlib.reload(module).sell
    new = importlib.reload(module).sell

    assert registry.get("bakery.sell") is registry.get("bakery.give_away") is new
    assert list(registry.list_conflicts()) == []
    new(1).delay()
    with pytest.raises(InvalidTask, match=r"^bakery\.sell: this definition was repl"):
        old(1).delay()
    assert [task.payload.task for task in queue.tasks] == ["bakery.sell"]


def test_a_path_stays_with_the_function_that_had_it_first(define: Define) -> None:
    owner = define("shop.tasks.add", path="add")
    claimant = define("news.tasks.add", path="add")

    assert registry.get("add") is owner
    registry.check_owner(owner)
    with pytest.raises(InvalidTask) as caught:
        registry.check_owner(claimant)
    assert str(caught.value) == (
        "news.tasks.add: the task path 'add' belongs to shop.tasks.add. "
        "Give one of them another path=."
    )


def test_each_conflict_is_kept_once(define: Define) -> None:
    define("shop.tasks.add", path="add")
    define("news.tasks.add", path="add")
    define("news.tasks.add", path="add")  # Reloaded.
    define("blog.tasks.add", path="add")

    assert [str(conflict) for conflict in registry.list_conflicts()] == [
        "news.tasks.add: the task path 'add' belongs to shop.tasks.add. "
        "Give one of them another path=.",
        "blog.tasks.add: the task path 'add' belongs to shop.tasks.add. "
        "Give one of them another path=.",
    ]


def test_an_alias_never_takes_the_path_of_another_task(define: Define) -> None:
    owner = define("shop.tasks.add")
    renamed = define("shop.tasks.plus", aliases=("shop.tasks.add",))

    assert registry.get("shop.tasks.add") is owner
    assert registry.get("shop.tasks.plus") is renamed
    registry.check_owner(renamed)  # Its own path is its own.
    (conflict,) = registry.list_conflicts()
    assert (conflict.path, conflict.owner, conflict.claimant) == (
        "shop.tasks.add",
        owner,
        renamed,
    )


def test_functions_of_one_name_in_two_modules_are_two_tasks(define: Define) -> None:
    first, second = define("shop.tasks.clean"), define("news.tasks.clean")

    assert registry.get("shop.tasks.clean") is first
    assert registry.get("news.tasks.clean") is second
    assert list(registry.list_conflicts()) == []


def test_a_task_whose_path_is_anothers_is_refused_when_it_is_enqueued(
    define: Define,
) -> None:
    define("shop.tasks.add", path="add")
    claimant = define("news.tasks.add", path="add")

    with pytest.raises(InvalidTask, match=r"belongs to shop\.tasks\.add"):
        claimant().delay()


def test_a_definition_that_the_registry_lost_is_refused_when_it_is_enqueued() -> None:
    # Made before this test emptied the registry: nobody owns its path.
    with pytest.raises(InvalidTask, match=r"was replaced by a later one\.$"):
        add().delay()


def test_a_conflict_cannot_be_changed(define: Define) -> None:
    define("shop.tasks.add", path="add")
    define("news.tasks.add", path="add")
    (conflict,) = registry.list_conflicts()

    with pytest.raises(dataclasses.FrozenInstanceError):
        conflict.path = "other"  # type: ignore[misc]
