"""
A task leaves its connection other than it found it.

Its end is committed all the same, and the next task finds a good connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from cloudtask import CloudTaskRequest, task
from cloudtask.results.database import connections
from cloudtask.results.database.connections import is_idle
from cloudtask.results.models import TaskRecord
from cloudtask.results.store import DatabaseStore
from cloudtask.stores import Ending
from tests.field.dropping import POSTS, other_connection
from tests.results.conftest import (  # noqa: F401
    _nothing_is_kept,
    _results,
    heart,
)
from tests.results.samples import add, claim, payload, post, row, values
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

needs_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="PostgreSQL has schemas"
)


def run(sql: str) -> Callable[[], None]:
    def execute() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    return execute


def turn_autocommit_off() -> None:
    transaction.set_autocommit(False)
    TaskRecord.objects.filter(pk="none").update(path="x")
    transaction.commit()


def turn_the_drivers_autocommit_off() -> None:
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        connection.connection.autocommit = False
    elif connection.vendor == "mysql":
        connection.connection.autocommit(False)
    else:
        connection.connection.isolation_level = ""


def enter_a_block() -> None:
    transaction.atomic().__enter__()


def close_the_driver() -> None:
    if connection.vendor != "sqlite":  # In memory, it would end the database.
        connection.ensure_connection()
        connection.connection.close()


def break_a_transaction() -> None:
    run("BEGIN")()
    with pytest.raises(DatabaseError):
        run("SELECT nothing FROM nowhere")()


#: What tasks do, on each database and on some.
HARMS: dict[str, Callable[[], object]] = {
    "autocommit off": turn_autocommit_off,
    "the driver's autocommit off": turn_the_drivers_autocommit_off,
    "BEGIN": run("BEGIN"),
    "a block that is never left": enter_a_block,
    "a broken transaction": break_a_transaction,
    "closed": connection.close,
    "closed driver": close_the_driver,
}
if connection.vendor == "postgresql":
    HARMS |= {
        "read only": run("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
        "another schema": run("SET search_path TO nowhere"),
        "another tenant": run("SET search_path TO tenant"),
        "another role": run("SET ROLE pg_monitor"),
        "another encoding": run("SET client_encoding TO LATIN1"),
        # The driver reads no times of it.
        "another style of dates": run("SET datestyle TO German"),
    }
elif connection.vendor == "mysql":
    HARMS |= {
        "autocommit off by hand": run("SET autocommit = 0"),
        "read only": run("SET SESSION TRANSACTION READ ONLY"),
        "another database": run("USE information_schema"),
        "locked tables": run("LOCK TABLES django_migrations READ"),
        "another encoding": run("SET NAMES utf8mb3"),
    }


@pytest.fixture(autouse=True)
def _tenant() -> Iterator[None]:
    """Another schema with tables of the same names."""
    if connection.vendor != "postgresql":
        yield
        return
    tables = ("cloudtask_results_taskrecord", "cloudtask_results_taskerror")
    with other_connection() as cursor:
        cursor.execute("CREATE SCHEMA tenant")
        for table in tables:
            cursor.execute(
                f"CREATE TABLE tenant.{table} (LIKE public.{table} INCLUDING ALL)"
            )
    yield
    connection.close()
    with other_connection() as cursor:
        cursor.execute("DROP SCHEMA tenant CASCADE")


@task
def change_session(request: CloudTaskRequest, harm: str, *, fails: bool = False) -> str:
    ran.append(harm)
    HARMS[harm]()
    if fails:
        raise ValueError("broken \U0001f389")
    return "worked"


@pytest.mark.parametrize(
    ("server", "harm"),
    [*(("wsgi", harm) for harm in HARMS), ("asgi", "autocommit off")],
)
def test_a_run_is_recorded_and_the_next_one_too(server: str, harm: str) -> None:
    send = POSTS[server]
    first, second = change_session(harm).delay(), add().delay()

    assert send(first.id).status_code == 200
    connection.close()

    found = row(first.id)
    assert (found.status, found.return_value) == ("SUCCESSFUL", "worked")
    assert send(second.id).status_code == 200
    assert row(second.id).status == "SUCCESSFUL"
    assert len(ran) == 2


@pytest.mark.parametrize(
    "harm",
    [
        *("autocommit off", "BEGIN", "a broken transaction"),
        *(harm for harm in HARMS if harm == "another encoding"),
    ],
)
def test_a_failure_is_recorded(harm: str) -> None:
    enqueued = change_session(harm, fails=True).delay()

    assert post(enqueued.id).status_code == 500
    connection.close()

    found = row(enqueued.id)
    assert (found.status, found.lease) == ("READY", "")
    assert [error.message for error in found.errors.all()] == ["broken \U0001f389"]


@pytest.mark.skipif("another style of dates" not in HARMS, reason="needs PostgreSQL")
def test_what_is_read_of_a_task_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued = add().delay()
    assert post(enqueued.id).status_code == 200
    claim_task = DatabaseStore.claim

    def claim_afterwards(*args: Any) -> Any:
        HARMS["another style of dates"]()
        return claim_task(*args)

    monkeypatch.setattr(DatabaseStore, "claim", claim_afterwards)

    assert post(enqueued.id).status_code == 200
    assert len(ran) == 1


@task
def look(request: CloudTaskRequest, harm: str) -> bool:
    HARMS[harm]()
    return request.check_cancelled()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="needs a server")
@pytest.mark.parametrize("harm", HARMS)
def test_a_task_that_was_not_cancelled_is_not_told_so(harm: str) -> None:
    enqueued = look(harm).delay()

    assert post(enqueued.id).status_code == 200
    connection.close()
    assert row(enqueued.id).return_value is False


@pytest.mark.parametrize(
    "harm",
    # Whose block it is nobody can tell at the claim.
    [harm for harm in HARMS if harm != "a block that is never left"],
)
def test_a_claim_finds_what_a_former_request_left(
    monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    enqueued = add().delay()
    claim_task = DatabaseStore.claim

    def claim_afterwards(*args: Any) -> Any:
        HARMS[harm]()
        return claim_task(*args)

    monkeypatch.setattr(DatabaseStore, "claim", claim_afterwards)

    assert post(enqueued.id).status_code == 200
    connection.close()

    assert row(enqueued.id).status == "SUCCESSFUL"
    assert TaskRecord.objects.count() == 1
    assert len(ran) == 1


def test_a_callers_block_is_left_alone() -> None:
    """As in tests that run in a transaction."""
    with transaction.atomic():
        enqueued = add().delay()
        assert post(enqueued.id).status_code == 200
        assert row(enqueued.id).status == "SUCCESSFUL"
        transaction.set_rollback(True)

    assert not TaskRecord.objects.exists()


def test_a_callers_transaction_by_hand_is_left_alone() -> None:
    wanted = payload()
    transaction.set_autocommit(False)
    try:
        TaskRecord.objects.filter(pk="none").update(path="x")
        claim(wanted).end(Ending(final=False))
        assert values(wanted.id)["status"] == "READY"
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)

    assert not TaskRecord.objects.exists()


def test_where_a_driver_does_not_tell_what_is_open_is_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connections._IDLE, connection.vendor, lambda driver: None)
    enqueued = change_session("BEGIN").delay()

    assert post(enqueued.id).status_code == 200
    connection.close()
    assert row(enqueued.id).status == "SUCCESSFUL"


@pytest.mark.parametrize(
    ("vendor", "driver", "idle"),
    [
        ("postgresql", {"autocommit": True, "info": {"transaction_status": 0}}, True),
        ("postgresql", {"autocommit": True, "info": {"transaction_status": 2}}, False),
        ("postgresql", {"autocommit": False, "info": {"transaction_status": 0}}, False),
        ("mysql", {"get_autocommit": lambda: True, "server_status": 2}, True),
        ("mysql", {"get_autocommit": lambda: True, "server_status": 3}, False),
        ("mysql", {"get_autocommit": lambda: False}, False),
        # mysqlclient.
        ("mysql", {"get_autocommit": lambda: True}, None),
        # Closed.
        ("mysql", {}, False),
    ],
)
def test_what_drivers_tell(
    vendor: str, driver: dict[str, Any], idle: bool | None
) -> None:
    info = SimpleNamespace(**driver.pop("info", {}))
    wrapper = SimpleNamespace(
        connection=SimpleNamespace(info=info, **driver),
        vendor=vendor,
        in_atomic_block=False,
        autocommit=True,
    )

    assert is_idle(wrapper) is idle
    wrapper.connection = None
    assert is_idle(wrapper) is True


def test_a_connection_of_a_pool_does_not_go_back_to_it() -> None:
    closed: list[str] = []
    driver = SimpleNamespace(close=lambda: closed.append("driver"))
    pool = SimpleNamespace(check=lambda: closed.append("others that are dead"))
    wrapper = SimpleNamespace(pool=pool, connection=driver)

    def close() -> None:
        closed.append("wrapper")
        wrapper.connection = None

    wrapper.close = close
    connections.renew(wrapper)

    assert closed == ["driver", "wrapper", "others that are dead"]
