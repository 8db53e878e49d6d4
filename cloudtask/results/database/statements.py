"""UPDATEs of tasks that Django compiles once, and that run many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from cloudtask.results.database.compiling import (
    Placeholder,
    compile_update,
    mark_for_rollback_on_error,
)
from cloudtask.results.database.connections import get_alias
from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.db.models import QuerySet


def bind(column: str) -> Any:
    """Stand for a column's value, which the statement gets when it runs."""
    field: Any = TaskRecord._meta.get_field(column)
    return Placeholder(column, field)


class Update:
    """
    An UPDATE that gets its values when it runs.

    Compiling one takes Django several times as long as running it takes the
    database.

    Args:
        make: Returns the rows and their new values.
    """

    def __init__(
        self, make: Callable[[], tuple[QuerySet[TaskRecord], Mapping[str, Any]]]
    ) -> None:
        self._make = make
        self._compiled: dict[object, tuple[str, tuple[Any, ...]]] = {}

    def run(self, **values: Any) -> int:
        """
        Run it.

        Args:
            values: A value for each of its placeholders, by name.

        Returns:
            How many rows matched.
        """
        using = get_alias()
        sql, parameters = self._compile(using)
        connection = connections[using]
        filled = [
            parameter.output_field.get_db_prep_save(values[parameter.name], connection)
            if isinstance(parameter, Placeholder)
            else parameter
            for parameter in parameters
        ]
        with mark_for_rollback_on_error(using), connection.cursor() as cursor:
            cursor.execute(sql, filled)
            return int(cursor.rowcount)

    def _compile(self, using: str) -> tuple[str, tuple[Any, ...]]:
        key = using, connections[using].vendor
        if key not in self._compiled:
            self._compiled[key] = compile_update(*self._make(), using)
        return self._compiled[key]
