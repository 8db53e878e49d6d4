"""Fixtures that all tests share."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

from cloudtask import auth, stores
from cloudtask.conf import environment
from cloudtask.testing import memory_queue
from tests import settings, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtask.transports.memory import MemoryTransport

hypothesis_settings.register_profile("default", deadline=None, print_blob=True)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


class _WithoutResults:
    """Whatever imports the app fails, but for what its settings are."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        if name.startswith("cloudtask.results.") and not name.endswith(".settings"):
            raise ModuleNotFoundError(f"{name} is not to be imported", name=name)


if "cloudtask.results" not in settings.INSTALLED_APPS:
    sys.meta_path.insert(0, _WithoutResults)
    collect_ignore = [
        *("results", "results_admin", "results_commands", "reliability"),
        *("schedules_admin", "schedules_commands", "schedules_engine"),
        *("schedules", "schedules_importers"),
        "seeds/test_django_tasks_google_results.py",
        "seeds/test_django_tasks_google_schedules.py",
        *(
            f"field/{path.name}"
            for path in Path(__file__).parent.glob("field/test_*.py")
            if "cloudtask.results" in path.read_text()
        ),
        # Its pages are about all of the package.
        "docs",
    ]


def pytest_configure(config: pytest.Config) -> None:
    """End a run for a database server that is not here, and say so."""
    database = settings.DATABASES["default"]
    if not database.get("HOST"):
        return
    address = (database["HOST"], int(database["PORT"]))
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        pytest.exit(f"SKIPPED: no server at {address}: {error}", 0)


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test finds a process that knows nothing and asks no network."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("CLOUD_TASKS_EMULATOR_HOST", raising=False)
    environment.reset()
    auth.forget_keys()
    tasks.ran.clear()
    yield
    environment.reset()
    auth.forget_keys()


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    CLOUDTASK of a test's own does not bring the database in.

    Folders of tests about what is kept have a fixture of this name that does
    nothing.
    """
    monkeypatch.setattr(stores, "_choose", lambda settings: stores.NO_STORE)


@pytest.fixture
def queue() -> Iterator[MemoryTransport]:
    with memory_queue() as transport:
        yield transport
