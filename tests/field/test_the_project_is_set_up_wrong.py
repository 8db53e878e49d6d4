"""What is wrong around the code is told: apps, tables, packages, emulators."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.test import override_settings

import cloudtask
from cloudtask.checks import check_cloudtask, installation
from cloudtask.conf import get_settings
from cloudtask.exceptions import ConfigurationError, StoreUnavailable
from cloudtask.results.checks import check_apps, check_tables
from cloudtask.results.models import TaskError, TaskRecord
from cloudtask.stores import get_store
from tests.results.conftest import _results, heart  # noqa: F401 - fixtures
from tests.results.samples import add, dispatch, payload, queue

LOCAL = "http://127.0.0.1:8000/_tasks/"


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    """These are about what is kept."""


# An emulator in production


def deployed(**raw: Any) -> list[str]:
    """The ids of what `check --deploy` tells of these settings."""
    with override_settings(CLOUDTASK={**_plain(), **raw}):
        found = run_checks(include_deployment_checks=True)
    return [str(m.id) for m in found if str(m.id).startswith("cloudtask.")]


def _plain() -> dict[str, Any]:
    return {
        "PROJECT": "shop",
        "LOCATION": "europe-west1",
        "SAE": "tasks@shop.iam.gserviceaccount.com",
        "URL": LOCAL,
    }


@pytest.mark.django_db(databases=["default", "other"])
@pytest.mark.parametrize(
    ("emulator", "url", "found"),
    [
        ("127.0.0.1:8123", LOCAL, ["E019"]),
        ("127.0.0.1:8123", "https://shop.example/_tasks/", ["E019"]),
        ("emulator:8123", "http://web:8000/_tasks/", ["E019"]),
        ("[::1]:8123", "http://host.docker.internal/_tasks/", ["E019"]),
        # Credentials would leave the private network.
        ("127.0.0.1:8123", "http://shop.example/_tasks/", ["E006", "E019"]),
        ("8.8.8.8:8123", LOCAL, ["W020", "E019"]),
        ("emulator.shop.example:8123", LOCAL, ["W020", "E019"]),
        (None, LOCAL, ["E006"]),
    ],
)
def test_an_emulator_in_production_is_told(
    emulator: str | None, url: str, found: list[str]
) -> None:
    ids = [f"cloudtask.{each}" for each in found]

    assert deployed(EMULATOR_HOST=emulator, URL=url) == ids
    with override_settings(DEBUG=True):
        left = [each for each in ids if each == "cloudtask.W020"]
        assert deployed(EMULATOR_HOST=emulator, URL=url) == left


@pytest.mark.django_db(databases=["default", "other"])
def test_an_emulator_in_the_environment_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "8.8.8.8:8123")

    assert deployed() == ["cloudtask.E001"]
    with override_settings(DEBUG=True):
        assert deployed() == ["cloudtask.W020"]


# The app of results


def test_results_without_the_app_of_tasks_are_told() -> None:
    assert check_apps() == []
    with override_settings(INSTALLED_APPS=["cloudtask.results"]):
        (message,) = check_apps()

    assert message.id == "cloudtask.W021"
    assert message.hint == "Add 'cloudtask' beside it."


@pytest.fixture(params=["no tables", "no errors", "an old table"])
def _unmigrated(request: pytest.FixtureRequest) -> Iterator[None]:
    """A database that was not migrated, or not to the end."""
    field = TaskRecord._meta.get_field("trace_id")
    with connection.schema_editor() as editor:
        if request.param == "an old table":
            editor.remove_field(TaskRecord, field)
        else:
            editor.delete_model(TaskError)
        if request.param == "no tables":
            editor.delete_model(TaskRecord)
    yield
    with connection.schema_editor() as editor:
        if request.param == "no tables":
            editor.create_model(TaskRecord)
        if request.param == "an old table":
            editor.add_field(TaskRecord, field)
        else:
            editor.create_model(TaskError)


Check = Callable[..., list[CheckMessage]]


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_unmigrated")
def test_tables_that_are_missing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = check_tables(databases=["default"])
    assert message.id == "cloudtask.W022"
    assert message.hint == "Run `manage.py migrate`."
    assert check_tables() == check_tables(databases=["other"]) == []
    monkeypatch.setattr(sys, "argv", ["manage.py", "migrate"])
    assert check_tables(databases=["default"]) == []


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
def test_tables_that_are_there_are_told_nothing_of() -> None:
    assert check_tables(databases=["default"]) == []


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_unmigrated", ["no tables", "an old table"], indirect=True)
def test_who_needs_missing_tables_is_told_to_migrate(
    _unmigrated: None, caplog: pytest.LogCaptureFixture
) -> None:
    advice = r"RESULTS'\]: .*manage\.py migrate"
    with pytest.raises(ConfigurationError, match=advice):
        add(1, 2).delay()
    assert caplog.messages == []  # Nothing is kept that could be sent later.
    with pytest.raises(ConfigurationError, match=advice):
        get_store(get_settings()).find("0" * 32)
    with pytest.raises(StoreUnavailable, match=r"manage\.py migrate"):
        dispatch(payload())
    assert get_store(get_settings()).keeps


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_unmigrated", ["no tables"], indirect=True)
@pytest.mark.parametrize("action", ["sweep", "prune"])
def test_commands_tell_to_migrate(_unmigrated: None, action: str) -> None:
    with pytest.raises(CommandError, match=r"RESULTS'\]: .*manage\.py migrate"):
        call_command("cloudtask", action)


@pytest.mark.django_db_backend
@pytest.mark.django_db(transaction=True)
def test_other_errors_of_the_database_are_not_taken_for_that() -> None:
    enqueued = add(1, 2).delay()
    [stored] = queue().tasks

    with pytest.raises(IntegrityError):
        get_store(get_settings()).add(payload(id=enqueued.id), stored.sent)


# Another package of this name


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Put the list of a distribution's files on the path."""

    def install(name: str, *files: str, record: str = "RECORD") -> None:
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n")
        (folder / record).write_text("".join(f"{file}\n" for file in files))

    monkeypatch.syspath_prepend(tmp_path)
    installation.find_strangers.cache_clear()
    yield install
    installation.find_strangers.cache_clear()


def test_a_package_that_overwrites_this_one_is_told(install: Any) -> None:
    install("stranger", "cloudtask/__init__.py,sha256=x,1", "cloudtask/tasks.py,,")
    install("old", "../cloudtask/__init__.py", record="installed-files.txt")
    # The module that asks is in whatever is this package.
    own = Path(installation.__file__).relative_to(Path(cloudtask.__file__).parents[1])
    install("fork", "cloudtask/__init__.py,,", f"{own.as_posix()},,")
    install("neighbour", "shop/cloudtask/__init__.py,,", "cloudtasks/a.py,,")
    messages = check_cloudtask()

    assert [message.id for message in messages] == ["cloudtask.W023"] * 2
    assert "'old'" in messages[0].msg
    assert messages[1].hint == "Uninstall stranger, and install dj-cloudtask again."


def test_a_package_that_is_alone_is_told_nothing_of() -> None:
    assert check_cloudtask() == []
