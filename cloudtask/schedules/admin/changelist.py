"""The list of schedules: what it reads, and its filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Lower

from cloudtask.results.models import TaskRecord
from cloudtask.schedules.models import ScheduledTask, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest

#: What a URL may ask the list for: what its filters ask, and the key.
LOOKUPS = frozenset(
    {"state", "path", "is_declared__exact", "id", "id__exact", "pk", "pk__exact"}
)
#: Values that a filter offers.
MAX_CHOICES = 100


class ScheduleList(ChangeList):
    """The list, with the last slot of each schedule."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> Any:
        """The rows of a page, each with its last slot and the run of that."""
        rows = super().get_queryset(*args, **kwargs).defer("arguments")
        last = Slot.objects.filter(schedule=OuterRef("pk")).order_by("-instant")
        run = TaskRecord.objects.filter(pk=OuterRef("last_task_id"))
        return rows.annotate(
            last_instant=Subquery(last.values("instant")[:1]),
            last_state=Subquery(last.values("state")[:1]),
            last_task_id=Subquery(last.values("task_id")[:1]),
            last_status=Subquery(run.values("status")[:1]),
        )


class StateFilter(admin.SimpleListFilter):
    """Offers what runs, and what is paused."""

    title = parameter_name = "state"

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        """Offer two states."""
        return [("active", "active"), ("paused", "paused")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Select the schedules of a state."""
        if self.value() is None:
            return queryset
        return queryset.filter(paused_at__isnull=self.value() != "paused")


class PathFilter(admin.SimpleListFilter):
    """Offers the tasks that have schedules."""

    title, parameter_name = "task", "path"

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        """Offer the paths of tasks, up to a limit."""
        paths = ScheduledTask.objects.order_by("path").values_list("path", flat=True)
        return [(path, path) for path in paths.distinct()[:MAX_CHOICES]]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Select the schedules of a task."""
        if self.value() is None:
            return queryset
        return queryset.filter(path=self.value())


def search(rows: QuerySet[ScheduledTask], text: str) -> QuerySet[ScheduledTask]:
    """Select schedules whose name or path has each word of a text."""
    # Our columns tell capitals apart on MySQL and MariaDB.
    found = rows.annotate(found_name=Lower("name"), found_path=Lower("path"))
    for word in text.lower().split():
        is_here = Q(found_name__contains=word) | Q(found_path__contains=word)
        found = found.filter(is_here)
    return found
