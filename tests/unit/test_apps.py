from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from django.apps import apps
from django.test import override_settings

from cloudtask.apps import CloudTaskConfig, _import_modules, _load_framework
from cloudtask.checks import check_cloudtask
from cloudtask.enqueue import registry
from tests.fresh import run_fresh

BAKERY = "tests.apps.bakery"

START = """
import json, sys
import django
from django.conf import settings

settings.configure(INSTALLED_APPS={installed!r}, CLOUDTASK={raw!r})
django.setup()

from cloudtask.enqueue import registry

print(json.dumps({{
    "paths": sorted(registry._definitions),
    "bakery": "tests.apps.bakery.tasks" in sys.modules,
    "checks": "cloudtask.checks" in sys.modules,
}}))
"""


def started(installed: Iterable[str], raw: object = None) -> Any:
    """What a new process with these apps and this CLOUDTASK knows."""
    return run_fresh(START.format(installed=[*installed], raw=raw))


@pytest.mark.parametrize(
    "installed",
    [
        ["cloudtask", BAKERY],
        [BAKERY, "cloudtask"],  # In any order.
        ["cloudtask", "tests.apps.idle", BAKERY],  # Without tasks of its own.
        ["cloudtask.apps.CloudTaskConfig", BAKERY],
    ],
)
def test_the_tasks_of_every_installed_app_are_found(installed: list[str]) -> None:
    assert started(installed) == {
        "paths": [
            "bakery.give_away",
            "bakery.sell",
            "tests.apps.bakery.tasks.bake",
        ],
        "bakery": True,
        "checks": True,
    }


def test_the_tasks_of_other_apps_are_not_imported() -> None:
    assert started(["cloudtask"]) == {"paths": [], "bakery": False, "checks": True}


def test_nothing_is_found_where_the_app_is_not_installed() -> None:
    assert started([BAKERY]) == {"paths": [], "bakery": False, "checks": False}


def test_tasks_that_cannot_be_imported_stop_the_start() -> None:
    # Passed over in silence, each of their dispatches would be a 404.
    with pytest.raises(RuntimeError, match="No module named 'no_such_module'"):
        started(["cloudtask", "tests.apps.broken"])


@pytest.mark.parametrize(
    ("installed", "imports"),
    [
        (["cloudtask"], ["tests.apps.bakery.tasks"]),
        (["cloudtask"], ("tests.apps.idle", "tests.apps.bakery.tasks")),
        # Beside what is found, of which nothing is loaded twice.
        (["cloudtask", BAKERY], ["tests.apps.bakery.tasks"]),
    ],
)
def test_the_modules_of_imports_are_loaded_at_the_start(
    installed: list[str], imports: list[str] | tuple[str, ...]
) -> None:
    assert started(installed, {"IMPORTS": imports}) == {
        "paths": [
            "bakery.give_away",
            "bakery.sell",
            "tests.apps.bakery.tasks.bake",
        ],
        "bakery": True,
        "checks": True,
    }


def test_a_module_may_be_imported_that_is_in_no_app() -> None:
    paths = started(["cloudtask"], {"IMPORTS": ["tests.tasks"]})["paths"]

    assert {"tests.tasks.add", "tests.tasks.aadd"} <= {*paths}


@pytest.mark.parametrize(
    "raw",
    [
        {"IMPORTS": "tests.apps.bakery.tasks"},
        {"IMPORTS": ["tests.apps.bakery.tasks"], "QUEUE": 1},
        {"xyzzy": 1},
        ["IMPORTS"],
    ],
)
def test_a_broken_setting_does_not_break_the_start(raw: object) -> None:
    # manage.py check has to run, to tell of it.
    assert started(["cloudtask"], raw) == {
        "paths": [],
        "bakery": False,
        "checks": True,
    }


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("shop.jobs", "shop"),
        ("tests.apps.bakery.jobs", "tests.apps.bakery.jobs"),
        # What it imports in its turn.
        ("tests.apps.broken.tasks", "no_such_module"),
    ],
)
def test_a_module_of_imports_that_is_missing_stops_the_start(
    name: str, missing: str
) -> None:
    with pytest.raises(
        RuntimeError, match=rf"\nModuleNotFoundError: No module named '{missing}'\n$"
    ):
        started(["cloudtask"], {"IMPORTS": [name]})


@pytest.mark.parametrize("raw", [None, {}, {"IMPORTS": None}, {"IMPORTS": []}])
def test_without_imports_only_apps_are_looked_at(
    raw: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    monkeypatch.setattr("cloudtask.apps.import_module", imported.append)

    with override_settings(CLOUDTASK=raw):
        _import_modules()

    assert imported == []


def test_imports_are_loaded_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr("cloudtask.apps.import_module", imported.append)

    with override_settings(CLOUDTASK={"IMPORTS": ["shop.b", "shop.a"]}):
        _import_modules()

    assert imported == ["shop.b", "shop.a"]


def test_wrong_settings_are_left_to_the_checks() -> None:
    with override_settings(CLOUDTASK={"IMPORTS": "shop.a"}):
        _import_modules()

        assert [message.msg for message in check_cloudtask()] == [
            "CLOUDTASK['IMPORTS']: must be a list of strings."
        ]


FRAMEWORK = """
import json, sys
import django
from django.conf import settings

if {is_absent!r}:
    sys.modules["cloudtask.framework"] = None
settings.configure(INSTALLED_APPS=["cloudtask"], **{settings!r})
django.setup()
print(json.dumps(sys.modules.get("cloudtask.framework") is not None))
"""
TASKS = {"default": {"BACKEND": "cloudtask.backends.CloudTasksBackend"}}


@pytest.mark.parametrize(
    ("settings", "is_absent", "loaded"),
    [
        # Where TASKS is set, Django's framework checks it.
        ({"TASKS": TASKS}, False, True),
        ({"TASKS": {}}, False, False),
        ({"TASKS": None}, False, False),
        # A Django without tasks.
        ({"TASKS": TASKS}, True, False),
    ],
)
def test_djangos_framework_is_loaded_where_it_is_used(
    settings: dict[str, Any], is_absent: bool, loaded: bool
) -> None:
    code = FRAMEWORK.format(settings=settings, is_absent=is_absent)

    assert run_fresh(code) is loaded


@pytest.mark.parametrize("is_absent", [False, True])
def test_a_start_outlives_a_django_without_tasks(
    monkeypatch: pytest.MonkeyPatch, is_absent: bool
) -> None:
    imported: list[str] = []

    def import_module(name: str) -> None:
        imported.append(name)
        if is_absent:
            raise ImportError(name)

    monkeypatch.setattr("cloudtask.apps.import_module", import_module)

    with override_settings(TASKS=TASKS):
        _load_framework()

    # Without the framework nothing else is loaded that needs it.
    kind = [] if is_absent else ["cloudtask.backends.kind"]
    assert imported == ["cloudtask.framework", *kind]


def test_the_tasks_of_this_project_are_registered() -> None:
    assert registry.get("tests.tasks.add").path == "tests.tasks.add"


def test_the_app_has_a_name_and_no_models() -> None:
    config = apps.get_app_config("cloudtask")

    assert isinstance(config, CloudTaskConfig)
    assert config.verbose_name == "Cloud Tasks"
    assert list(config.get_models()) == []
