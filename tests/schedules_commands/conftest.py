"""What the tests of `manage.py cloudtask schedules` share."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from cloudtask import schedule
from cloudtask.planning import declarations
from tests.results.conftest import _nothing_is_kept, _results, heart
from tests.schedules.conftest import moved
from tests.schedules_engine.conftest import cloud, service

__all__ = ["_nothing_is_kept", "_results", "cloud", "heart", "moved", "service"]


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the code declares: nothing, until a test does."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(declarations, "_declared", found)
    monkeypatch.setattr(declarations, "_problems", {})
    return found


@pytest.fixture
def declare(declared: dict[str, Any]) -> Callable[..., None]:
    """Return a function that has the code declare one schedule, as of now."""

    def declare(task: Any, cron: str = "0 * * * *", **options: Any) -> None:
        declared.pop(options["name"], None)
        schedule(cron, timezone=options.pop("timezone", "UTC"), **options)(task)

    return declare


@pytest.fixture
def run() -> Callable[..., str]:
    """Return a function that runs an action, and returns what it wrote."""

    def run(*args: str) -> str:
        out = StringIO()
        try:
            call_command("cloudtask", "schedules", *args, stdout=out)
        except SystemExit as error:
            out.write(f"exit {error.code}\n")
        return out.getvalue()

    return run
