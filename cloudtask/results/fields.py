"""A field for values of any shape."""

from __future__ import annotations

import json
from typing import Any

from django.db import models


class JSONTextField(models.TextField):  # type: ignore[type-arg]
    """
    JSON in a text column.

    The JSON types of databases refuse some of it, deep nesting for one, and
    change numbers and the order of keys.
    """

    def from_db_value(self, value: str | None, *args: Any) -> Any:
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value)
