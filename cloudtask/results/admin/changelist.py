"""The list of tasks: its pages, filters and search."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import connections

from cloudtask.results.models import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest

    # Generic only for the type checker.
    _Paginator = Paginator[TaskRecord]
else:
    _Paginator = Paginator

#: Tasks that are counted, and that can be paged through.
MAX_COUNT = 10_000
#: Values that a filter offers.
MAX_CHOICES = 100
#: Paths among which a search looks for a part of one.
MAX_SEARCHED = 1000

#: What a URL may ask the list for: what its filters ask, and the key.
LOOKUPS = frozenset(
    {
        "status__exact",
        "queue",
        "path",
        "enqueued_at__gte",
        "enqueued_at__lt",
        "id",
        "id__exact",
        "pk",
        "pk__exact",
    }
)

_ID = re.compile(r"[0-9a-f]{32}")

# Looks into the index once for each value, however many rows have it.
_VALUES = """
WITH RECURSIVE found (number, value) AS (
    SELECT 1, (SELECT MIN({column}) FROM {table})
    UNION ALL
    SELECT number + 1, (SELECT MIN({column}) FROM {table} WHERE {column} > value)
    FROM found WHERE value IS NOT NULL AND number < %s
)
SELECT value FROM found WHERE value IS NOT NULL
"""


class TaskList(ChangeList):
    """The list, without what only the page of one task shows."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> Any:
        """The rows of a page, without their long columns."""
        rows = super().get_queryset(*args, **kwargs)
        # A page of large tasks would be a hundred megabytes.
        return rows.defer("body", "return_value")


class CappedPaginator(_Paginator):
    """Counts to the limit and no further, and ends there."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, up to the limit."""
        return count_up_to_limit(self.object_list)


def count_up_to_limit(rows: Any) -> int:
    """Count rows, up to MAX_COUNT of them."""
    return int(rows.order_by()[:MAX_COUNT].count())


class ColumnFilter(admin.SimpleListFilter):
    """Offers what a column holds."""

    parameter_name: str

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        """Offer the values that the column holds, up to a limit."""
        using = model_admin.get_queryset(request).db
        values = list_values(self.parameter_name, MAX_CHOICES, using)
        return [(value, value) for value in values]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Select the rows that hold what was chosen."""
        if self.value() is None:
            return queryset
        return queryset.filter(**{self.parameter_name: self.value()})


class QueueFilter(ColumnFilter):
    """Offers the queues of the tasks that are kept."""

    title = parameter_name = "queue"


class PathFilter(ColumnFilter):
    """Offers the paths of the tasks that are kept."""

    title = parameter_name = "path"


def search(rows: QuerySet[TaskRecord], words: str) -> QuerySet[TaskRecord]:
    """
    Search tasks by what an index can find.

    Args:
        rows: The tasks.
        words: An id, a part of a path, or a name at Cloud Tasks: all of it, or
            its last part.
    """
    words = words.strip()
    compact = words.replace("-", "").lower()
    if not words:
        return rows
    if _ID.fullmatch(compact):
        return rows.filter(pk=compact)
    if "/" in words:
        return rows.filter(short_name=words.rpartition("/")[2], name=words)
    paths = list_values("path", MAX_SEARCHED, rows.db)
    found = [path for path in paths if words.lower() in path.lower()]
    if found:
        return rows.filter(path__in=found)
    return rows.filter(short_name=words)


def list_values(column: str, limit: int, using: str) -> list[str]:
    """List the first values of a column that an index begins with."""
    connection = connections[using]
    if connection.vendor == "mysql":
        # It does so by itself. The query below would read the whole index.
        rows = TaskRecord.objects.using(using).order_by(column).distinct()
        return list(rows.values_list(column, flat=True)[:limit])
    quote = connection.ops.quote_name
    table = quote(TaskRecord._meta.db_table)
    sql = _VALUES.format(column=quote(column), table=table)
    with connection.cursor() as cursor:
        cursor.execute(sql, [limit])
        return sorted(value for [value] in cursor.fetchall())
