"""The admin of tasks, as Django wants it described."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied

from cloudtask.results.admin.actions import TaskActions
from cloudtask.results.admin.changelist import (
    LOOKUPS,
    MAX_COUNT,
    CappedPaginator,
    PathFilter,
    QueueFilter,
    TaskList,
    count_up_to_limit,
    search,
)
from cloudtask.results.admin.detail import (
    preformat,
    render_arguments,
    render_duration,
    render_errors,
    render_progress,
    render_return_value,
)
from cloudtask.results.models import TaskRecord
from cloudtask.wire.payload import as_id

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(TaskRecord)
class TaskAdmin(TaskActions):
    """The list of tasks, the page of one, and the actions on them."""

    list_display = (
        "path",
        "status",
        "queue",
        "attempt",
        "progress",
        "duration",
        "enqueued_at",
        "finished_at",
    )
    list_filter = ("status", QueueFilter, PathFilter, "enqueued_at")
    # Other columns have no index to sort by.
    sortable_by = ("enqueued_at", "finished_at")
    ordering = ("-enqueued_at",)
    search_fields = ("id", "path", "name")
    search_help_text = "An id, a part of a path, or a name at Cloud Tasks."
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    change_list_template = "cloudtask_results/change_list.html"
    readonly_fields = ("progress", "duration", "arguments", "output", "failures")
    fieldsets = (
        (None, {"fields": ("path", "status", "progress", "duration", "attempt")}),
        ("Payload", {"fields": ("arguments",)}),
        ("Result", {"fields": ("output",)}),
        ("Errors", {"fields": ("failures",)}),
        (
            "Times",
            {
                "fields": (
                    "enqueued_at",
                    "schedule_time",
                    "sent_at",
                    "send_at",
                    "started_at",
                    "last_attempted_at",
                    "finished_at",
                    "cancelled_at",
                )
            },
        ),
        (
            "Where",
            {
                "fields": (
                    "id",
                    "name",
                    "task_id",
                    "arming",
                    "queue",
                    "kind",
                    "backend",
                    "url",
                    "worker_id",
                    "trace_id",
                    "lease_expires_at",
                    "interruptions",
                )
            },
        ),
    )

    class Media:
        css: ClassVar = {"all": ["cloudtask_results/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """False: tasks are added by the code that enqueues them."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: TaskRecord | None = None
    ) -> bool:
        """False: tasks are changed by their attempts and by actions."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that defers long columns."""
        return TaskList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """
        Show the list with counts, and refuse actions that are not allowed.

        Raises:
            PermissionDenied: The user may not do what was asked for.
        """
        asked = {*request.POST.getlist("action")} & {*self.actions}
        if not asked <= {*self.get_actions(request)}:
            # Django's form would say that no action was selected.
            raise PermissionDenied
        # A function, as only who may see the list is to cause its queries.
        context = {
            "status_counts": partial(self._count_by_status, request),
            "max_count": MAX_COUNT,
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def _count_by_status(self, request: HttpRequest) -> list[tuple[str, str, int]]:
        rows = self.get_queryset(request)
        return [
            (
                status.value,
                str(status.label),
                count_up_to_limit(rows.filter(status=status)),
            )
            for status in TaskRecord.Status
        ]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the page itself links to, and nothing else."""
        # Django allows all columns, with all that they may be compared by: so
        # what a page hides could be guessed, letter by letter.
        return lookup in LOOKUPS

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Allow no column but the id to find a task by."""
        return to_field == self.opts.pk.name

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> TaskRecord | None:
        """Find a task by its id, with or without hyphens."""
        return super().get_object(request, as_id(object_id), from_field)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord], search_term: str
    ) -> tuple[QuerySet[TaskRecord], bool]:
        """Search by id, by a part of the path, or by a name at Cloud Tasks."""
        return search(queryset, search_term), False

    @admin.display(description="progress")
    def progress(self, row: TaskRecord) -> str:
        """How far the task is."""
        return render_progress(row) or self.get_empty_value_display()

    @admin.display(description="duration")
    def duration(self, row: TaskRecord) -> str:
        """How long it has taken."""
        return render_duration(row) or self.get_empty_value_display()

    @admin.display(description="arguments")
    def arguments(self, row: TaskRecord) -> str:
        """Its arguments, without the sensitive ones."""
        return preformat(render_arguments(row))

    @admin.display(description="return value")
    def output(self, row: TaskRecord) -> str:
        """What it returned."""
        return render_return_value(row) or self.get_empty_value_display()

    @admin.display(description="failed attempts")
    def failures(self, row: TaskRecord) -> str:
        """What its attempts raised."""
        return render_errors(row) or self.get_empty_value_display()
