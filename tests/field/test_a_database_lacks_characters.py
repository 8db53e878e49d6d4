"""A database in another character set than UTF-8, and texts of all kinds."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client, override_settings
from pytest_django.plugin import DjangoDbBlocker

from cloudtask import CloudTaskRequest, RetryPolicy, task
from cloudtask.dispatch.outcomes import Status
from cloudtask.framework import TaskResultDoesNotExist, task_backends
from cloudtask.results import cancel, get_result
from cloudtask.results.columns.texts import JSON, escape, find_charset
from cloudtask.results.control import run_again
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import sweep
from cloudtask.stores import Ending
from cloudtask.testing import memory_queue
from tests.results.conftest import (  # noqa: F401 - fixtures
    _nothing_is_kept,
    _results,
    heart,
)
from tests.results.samples import ago, change, claim, dispatch, payload_of, queue, row
from tests.results_admin.conftest import SETTINGS
from tests.results_admin.rows import make_person

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

PARTY = "\N{PARTY POPPER}"
#: How a database is made, by what it is called, and what it holds of texts.
DATABASES: dict[str, dict[str, tuple[str, str]]] = {
    "sqlite": {"": ("", f"naïve {PARTY} Ω")},
    "postgresql": {
        "LATIN1": (
            "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
            r"naïve \U0001f389 \u03a9",
        ),
        "SQL_ASCII": (
            "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
            r"na\xefve \U0001f389 \u03a9",
        ),
    },
    # The columns say which characters they hold.
    "mysql": {
        "utf8mb3": ("CHARACTER SET utf8mb3", f"naïve {PARTY} Ω"),
        "latin1": ("CHARACTER SET latin1", f"naïve {PARTY} Ω"),
    },
}
#: What a connection says, and what it holds.
CONNECTIONS = {"utf8mb3": r"naïve \U0001f389 Ω", "latin1": r"naïve \U0001f389 \u03a9"}

CASES = [
    pytest.param((how, None, held), id=name or "UTF-8")
    for name, (how, held) in DATABASES[connection.vendor].items()
]
if connection.vendor == "mysql":
    CASES += [
        pytest.param((f"CHARACTER SET {charset}", charset, held), id=f"by {charset}")
        for charset, held in CONNECTIONS.items()
    ]


@pytest.fixture(scope="module", params=CASES)
def held(
    request: pytest.FixtureRequest,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[str]:
    """A database of another character set. Gives what it holds of the text."""
    how, charset, held = request.param
    if not how:
        yield held
        return
    settings = connection.settings_dict
    former = {**settings, "OPTIONS": settings["OPTIONS"]}
    name = f"{settings['NAME']}_charset"
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")
            cursor.execute(f"CREATE DATABASE {name} {how}")
        connection.close()
        settings["NAME"] = name
        if charset is not None:
            settings["OPTIONS"] = {**settings["OPTIONS"], "charset": charset}
        try:
            call_command("migrate", verbosity=0)
            yield held
        finally:
            connections.close_all()
            settings.update(former)
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture(autouse=True)
def _database(held: str) -> Iterator[None]:
    with memory_queue():
        yield


TEXT = f"naïve {PARTY} Ω"


@task(retry=RetryPolicy(max_attempts=1))
def fail(request: CloudTaskRequest, message: str = TEXT) -> None:
    request.progress(1, 2, PARTY * 200)
    raise ValueError(message)


@task
def give(request: CloudTaskRequest, value: str = TEXT) -> list[str]:
    request.progress(1, 2, TEXT)
    return [value]


def test_an_end_is_not_lost_for_a_text(held: str) -> None:
    enqueued = fail().delay()

    assert dispatch(enqueued.id).status is Status.FAILED
    result = get_result(enqueued.id)
    assert result.status == "FAILED"
    assert result.errors[0].message == held
    assert held in result.errors[0].traceback
    assert result.progress is not None
    assert 0 < len(result.progress.message) <= 200


def test_an_error_of_any_name_is_kept() -> None:
    enqueued = fail().delay()
    kind = type(f"Größer{PARTY}" * 40, (Exception,), {})
    with pytest.raises(kind):
        raise kind
    assert claim(enqueued.id).end(Ending(error=kind(TEXT))) is True
    [error] = row(enqueued.id).errors.all()
    assert len(error.type) <= 255


def test_a_value_comes_back_as_it_was(held: str) -> None:
    enqueued = give(TEXT).delay()

    assert dispatch(enqueued.id).status is Status.DONE
    result = get_result(enqueued.id)
    assert result.return_value == [TEXT]
    assert result.progress is not None
    assert result.progress.message == held


def test_arguments_are_sent_again_as_they_were() -> None:
    enqueued = give(TEXT).delay()
    assert payload_of(enqueued.id).args == (TEXT,)
    change(enqueued.id, sent_at=None, name="", send_at=ago())

    assert sweep().sent == 1
    assert queue().tasks[-1].payload.args == (TEXT,)
    dispatch(enqueued.id)
    copies = run_again(TaskRecord.objects.all())
    assert payload_of(copies[enqueued.id]).args == (TEXT,)


@pytest.mark.parametrize("asked", [PARTY, "a\0b", "\ud800", "Ω", "x" * 5000, ""])
def test_what_is_asked_for_is_not_found(asked: str) -> None:
    fail().delay()
    out = StringIO()
    for option in ("--id", "--path", "--queue"):
        call_command("cloudtask", "cancel", option, asked, stdout=out)
        call_command("cloudtask", "redrive", option, asked, stdout=out)
    assert out.getvalue() == "0 tasks cancelled.\n0 tasks run again.\n" * 3
    assert cancel(asked) is False
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(asked)


@pytest.mark.parametrize(
    "asked", ["%F0%9F%8E%89", "%00", "a%00b", "%CE%A9", "x" * 5000]
)
def test_an_url_leads_nowhere(asked: str) -> None:
    fail().delay()
    with override_settings(**SETTINGS):
        client = Client()
        client.force_login(make_person("view"))
        url = "/admin/cloudtask_results/taskrecord/"
        assert client.get(f"{url}{asked}/change/").status_code == 302
        for query in (f"path={asked}", f"queue={asked}", f"status__exact={asked}"):
            page = client.get(f"{url}?{query}")
            assert page.status_code == 200
            assert "0 tasks" in page.content.decode()
        for query in (f"q={asked}", f"q=tasks/{asked}", f"id={asked}"):
            assert client.get(f"{url}?{query}").status_code in (200, 302)


# Which characters there are


def fake(vendor: str, charset: str | None) -> Any:
    """A connection that tells of a character set."""
    return SimpleNamespace(
        vendor=vendor,
        ensure_connection=lambda: None,
        connection=SimpleNamespace(
            info=SimpleNamespace(parameter_status=lambda name: charset),
            character_set_name=lambda: charset,
        ),
    )


@pytest.mark.parametrize(
    ("vendor", "charset", "expected"),
    [
        ("sqlite", None, TEXT),
        ("postgresql", "UTF8", TEXT),
        ("postgresql", "LATIN1", r"naïve \U0001f389 \u03a9"),
        ("postgresql", "WIN1253", r"na\xefve \U0001f389 Ω"),
        ("postgresql", "ISO_8859_7", r"na\xefve \U0001f389 Ω"),
        ("postgresql", "SQL_ASCII", r"na\xefve \U0001f389 \u03a9"),
        ("postgresql", None, r"na\xefve \U0001f389 \u03a9"),
        ("mysql", "utf8mb4", TEXT),
        ("mysql", "utf8", r"naïve \U0001f389 Ω"),
        ("mysql", "latin1", r"naïve \U0001f389 \u03a9"),
        ("mysql", "sjis", r"na\xefve \U0001f389 \u03a9"),
    ],
)
def test_what_a_database_holds_of_a_text(
    vendor: str, charset: str | None, expected: str
) -> None:
    assert escape(TEXT, find_charset(fake(vendor, charset))) == expected


def test_json_stays_json() -> None:
    assert escape(f'"{TEXT}"', "ascii", JSON) == r'"na\u00efve \ud83c\udf89 \u03a9"'
