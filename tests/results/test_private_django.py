"""
What results use of Django that is private, as this version of Django has it.

A test that fails here says that `database/compiling.py` or `renew()` in
`database/connections.py` has to follow a new Django.
"""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import django
import pytest
from django.db import connection, connections, models, transaction
from django.db.models.sql import Query, UpdateQuery
from django.db.models.sql.compiler import SQLUpdateCompiler

from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.database.compiling import Placeholder, compile_update
from cloudtask.results.models import TaskRecord

pytestmark = [pytest.mark.django_db, pytest.mark.django_db_backend]

CHANGED = f"Django {django.__version__} has changed: "


def parameters_of(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_an_update_is_compiled_as_django_compiles_it() -> None:
    """The SQL of update(), with placeholders in place of the values."""
    rows = TaskRecord.objects.filter(pk="a", lease__in=["", "b"])
    values = {"attempt": 3, "lease_expires_at": shift(Now(), timedelta(seconds=30))}
    attempt = Placeholder("attempt", models.PositiveIntegerField())

    sql, parameters = compile_update(rows, {**values, "attempt": attempt}, "default")

    plain = rows.query.chain(UpdateQuery)
    plain.add_update_values(values)
    expected, constants = plain.get_compiler("default").as_sql()
    assert sql == expected, f"{CHANGED}the SQL with a placeholder is another one"
    filled = [3 if isinstance(each, Placeholder) else each for each in parameters]
    assert filled == [*constants], f"{CHANGED}a placeholder is not its own parameter"
    assert 3 not in parameters, f"{CHANGED}a placeholder is not its own parameter"


def test_the_placeholder_of_a_condition_is_its_own_parameter() -> None:
    key = Placeholder("id", TaskRecord._meta.get_field("id"))
    rows = TaskRecord.objects.filter(pk=key)

    _, parameters = compile_update(rows, {"attempt": 3}, "default")

    names = [each.name for each in parameters if isinstance(each, Placeholder)]
    assert names == ["id"], f"{CHANGED}the placeholder is lost in a condition"


def test_django_has_what_compiles_an_update() -> None:
    assert "klass" in parameters_of(Query.chain), f"{CHANGED}Query.chain()"
    assert parameters_of(UpdateQuery.add_update_values) == ["self", "values"], (
        f"{CHANGED}UpdateQuery.add_update_values()"
    )
    compiler = UpdateQuery(TaskRecord).get_compiler("default")
    assert isinstance(compiler, SQLUpdateCompiler), f"{CHANGED}get_compiler()"


def test_an_error_has_a_transaction_rolled_back() -> None:
    guard = transaction.mark_for_rollback_on_error("default")
    assert isinstance(guard, AbstractContextManager), (
        f"{CHANGED}mark_for_rollback_on_error() is no context manager"
    )
    with transaction.atomic():
        with pytest.raises(ValueError, match="wrong"), guard:
            raise ValueError("wrong")
        assert transaction.get_connection().needs_rollback, (
            f"{CHANGED}mark_for_rollback_on_error() marks nothing"
        )
        transaction.set_rollback(False)


def test_a_connection_keeps_its_blocks_where_they_are_cleared() -> None:
    """With none of these set, Django takes it for one outside of any block."""
    assert connection.in_atomic_block, "this test runs in a block"
    state = vars(connections["default"])
    for name in (
        "in_atomic_block",
        "needs_rollback",
        "savepoint_ids",
        "atomic_blocks",
        "closed_in_transaction",
    ):
        assert name in state, f"{CHANGED}connections have no {name}"
    assert state["atomic_blocks"], f"{CHANGED}blocks are kept elsewhere"
