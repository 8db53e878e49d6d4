"""UPDATEs of tasks that Django writes once, and runs many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections, router, transaction
from django.db.models import Expression
from django.db.models.sql import UpdateQuery

from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.db.models import Field, QuerySet


class Given(Expression):
    """
    Stands in a statement for a value that is given when it runs.

    Args:
        name: The value's name.
        field: What brings it into the form that the database takes.
    """

    def __init__(self, name: str, field: Field[Any, Any]) -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        return "%s", [self]


def given(column: str) -> Any:
    """Stands for a column's value, which is given by the column's name."""
    field: Any = TaskRecord._meta.get_field(column)
    return Given(column, field)


class Update:
    """
    An UPDATE with values that are given when it runs.

    Writing one takes Django several times as long as running it takes
    the database.

    Args:
        make: Gives the rows and their new values.
    """

    def __init__(
        self, make: Callable[[], tuple[QuerySet[TaskRecord], Mapping[str, Any]]]
    ) -> None:
        self._make = make
        self._written: dict[object, tuple[str, tuple[Any, ...]]] = {}

    def run(self, **values: Any) -> int:
        """
        Run it.

        Args:
            values: All that it leaves to be given, by name.

        Returns:
            How many rows it has met.
        """
        using = router.db_for_write(TaskRecord)
        sql, parameters = self._sql(using)
        connection = connections[using]
        filled = [
            parameter.output_field.get_db_prep_save(values[parameter.name], connection)
            if isinstance(parameter, Given)
            else parameter
            for parameter in parameters
        ]
        with (
            transaction.mark_for_rollback_on_error(using),
            connection.cursor() as cursor,
        ):
            cursor.execute(sql, filled)
            return int(cursor.rowcount)

    def _sql(self, using: str) -> tuple[str, tuple[Any, ...]]:
        key = using, connections[using].vendor
        if key not in self._written:
            rows, values = self._make()
            query: Any = rows.query.chain(UpdateQuery)
            query.add_update_values(values)
            sql, parameters = query.get_compiler(using).as_sql()
            self._written[key] = sql, tuple(parameters)
        return self._written[key]
