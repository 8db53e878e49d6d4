"""
How Django turns an UPDATE into SQL.

What stands here is private to Django, and no other module of results compiles
SQL with it. A test says for each version of Django whether it still holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Expression
from django.db.models.sql import UpdateQuery
from django.db.transaction import mark_for_rollback_on_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import Field, QuerySet

__all__ = ["Placeholder", "compile_update", "mark_for_rollback_on_error"]


class Placeholder(Expression):
    """
    Stands in compiled SQL for a value that is not known yet.

    It is its own parameter: so the parameters of the SQL say which value
    belongs where.

    Args:
        name: The value's name.
        field: Converts the value into what the database takes.
    """

    def __init__(self, name: str, field: Field[Any, Any]) -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        """Return a placeholder whose parameter is this object."""
        return "%s", [self]


def compile_update(
    rows: QuerySet[Any], values: Mapping[str, Any], using: str
) -> tuple[str, tuple[Any, ...]]:
    """
    Compile what `rows.update(**values)` would run.

    Returns:
        The SQL and its parameters, with placeholders where they were given.
    """
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(values)
    sql, parameters = query.get_compiler(using).as_sql()
    return sql, tuple(parameters)
