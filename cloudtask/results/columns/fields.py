"""Fields for texts of any characters, and for values of any shape."""

from __future__ import annotations

import json
from typing import Any

from django.db import models

from cloudtask.results.columns.texts import JSON, PYTHON, fit_text

#: Collations of all of Unicode that compare character by character.
_MARIADB, _MYSQL = "utf8mb4_nopad_bin", "utf8mb4_0900_bin"


class _Text:
    """Columns that take any text, and tell all texts apart."""

    #: How characters are escaped that the database cannot store.
    style = PYTHON

    def db_parameters(self, connection: Any) -> Any:
        """The column's type, with a collation that loses nothing."""
        parameters = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            # The default collation ignores case and spaces at the end, and may
            # lack most of Unicode.
            is_mariadb = connection.mysql_is_mariadb
            parameters["collation"] = _MARIADB if is_mariadb else _MYSQL
        return parameters

    def get_db_prep_value(
        self, value: Any, connection: Any, prepared: bool = False
    ) -> Any:
        """Escape characters that the database has no room for."""
        parent: Any = super()
        value = parent.get_db_prep_value(value, connection, prepared)
        if isinstance(value, str):
            return fit_text(value, connection, self.style)
        return value


class AnyCharField(_Text, models.CharField):  # type: ignore[type-arg]
    """A short text. If escapes make it too long, it is cut."""

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Cut what has become too long by escaping."""
        stored = super().get_db_prep_save(value, connection)
        if isinstance(value, str) and stored != value:
            return stored[: self.max_length]
        return stored


class AnyTextField(_Text, models.TextField):  # type: ignore[type-arg]
    """A long text."""


class JSONBodyField(AnyTextField):
    """A text that is JSON, and is still JSON after escapes."""

    style = JSON


class JSONTextField(models.TextField):  # type: ignore[type-arg]
    """
    JSON in a text column.

    The JSON types of databases refuse some JSON, such as deep nesting, and
    change numbers and the order of keys.
    """

    def from_db_value(self, value: str | None, *args: Any) -> Any:
        """Read JSON. NULL is None."""
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> str | None:
        """Write JSON. None is NULL."""
        return None if value is None else json.dumps(value)

    def value_to_string(self, obj: models.Model) -> str:
        """Write JSON into a fixture."""
        # Without it, only numbers and None would survive in fixtures.
        return json.dumps(self.value_from_object(obj))

    def to_python(self, value: Any) -> Any:
        """Read JSON, as a fixture has it."""
        return json.loads(value) if isinstance(value, str) else value
