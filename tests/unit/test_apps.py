from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from django.apps import apps

from cloudtask import registry
from cloudtask.apps import CloudTaskConfig
from tests.fresh import run_fresh

BAKERY = "tests.apps.bakery"

START = """
import json, sys
import django
from django.conf import settings

settings.configure(INSTALLED_APPS={installed!r})
django.setup()

from cloudtask import registry

print(json.dumps({{
    "paths": sorted(registry._definitions),
    "bakery": "tests.apps.bakery.tasks" in sys.modules,
    "checks": "cloudtask.checks" in sys.modules,
}}))
"""


def started(installed: Iterable[str]) -> Any:
    """What a new process with these apps knows."""
    return run_fresh(START.format(installed=[*installed]))


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


def test_the_tasks_of_this_project_are_registered() -> None:
    assert registry.get("tests.tasks.add").path == "tests.tasks.add"


def test_the_app_has_a_name_and_no_models() -> None:
    config = apps.get_app_config("cloudtask")

    assert isinstance(config, CloudTaskConfig)
    assert config.verbose_name == "Cloud Tasks"
    assert list(config.get_models()) == []
