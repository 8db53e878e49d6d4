from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.utils.module_loading import import_string

import cloudtask
from tests.fresh import run_fresh

PUBLIC = [
    "CloudTaskRequest",
    "EnqueuedTask",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Task",
    "TaskDefinition",
    "schedulable",
    "schedule",
    "task",
]

LAZY = """
import json, sys
import cloudtask

before = [name for name in sys.modules if name.startswith("cloudtask")]
first = cloudtask.RetryPolicy
cached = vars(cloudtask).get("RetryPolicy") is first
after = [name for name in sys.modules if name.startswith("cloudtask")]
print(json.dumps([before, cached, after]))
"""


def test_the_public_names_are_these_and_sorted() -> None:
    assert cloudtask.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_found_where_it_is_defined(name: str) -> None:
    value = getattr(cloudtask, name)

    assert value.__name__ == name
    assert value.__module__ == cloudtask._HOMES[name]
    assert getattr(cloudtask, name) is value


@pytest.mark.parametrize(
    "path",
    [
        "cloudtask.asgi.guard",
        "cloudtask.auth.Authenticator",
        "cloudtask.auth.authenticate",
        "cloudtask.backends.CloudTasksBackend",
        "cloudtask.conf.Settings",
        "cloudtask.conf.get_settings",
        "cloudtask.decorators.task",
        "cloudtask.emulator.Emulator",
        "cloudtask.exceptions.CloudTaskError",
        "cloudtask.framework.task",
        "cloudtask.signals.task_failed",
        "cloudtask.tasks.CloudTaskRequest",
        "cloudtask.testing.memory_queue",
        "cloudtask.transports.google.GoogleTransport",
        "cloudtask.transports.immediate.ImmediateTransport",
        "cloudtask.transports.memory.MemoryTransport",
        "cloudtask.urls.urlpatterns",
    ],
)
def test_what_pages_and_settings_name_is_found_there(path: str) -> None:
    assert import_string(path) is not None


def test_a_star_gives_the_public_names() -> None:
    names: dict[str, object] = {}

    exec("from cloudtask import *", names)  # noqa: S102

    assert sorted(names.keys() - {"__builtins__"}) == PUBLIC


def test_dir_lists_what_is_not_loaded_yet() -> None:
    names = run_fresh("import json, cloudtask; print(json.dumps(dir(cloudtask)))")

    assert names == sorted(names)
    assert {*PUBLIC, "__version__", "__all__"} <= set(names)


def test_a_name_is_loaded_when_it_is_asked_for() -> None:
    before, cached, after = run_fresh(LAZY)

    assert before == ["cloudtask"]
    assert cached
    assert sorted(after) == [
        "cloudtask",
        "cloudtask.exceptions",
        "cloudtask.wire",
        "cloudtask.wire.limits",
        "cloudtask.wire.retry",
    ]


@pytest.mark.parametrize("name", ["Tasks", "push_many_", "__wrapped__", ""])
def test_another_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(cloudtask, name)

    assert str(caught.value) == f"module 'cloudtask' has no attribute {name!r}"
    assert not hasattr(cloudtask, name)


def test_another_name_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match=r"^cannot import name 'Tasks'"):
        from cloudtask import Tasks  # type: ignore[attr-defined]  # noqa: F401


def test_type_checkers_see_the_same_names() -> None:
    # They read the imports, and know nothing of __getattr__.
    tree = ast.parse(Path(cloudtask.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert homes == cloudtask._HOMES
    assert sorted(homes) == PUBLIC


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", cloudtask.__version__)
