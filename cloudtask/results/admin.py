"""
The admin of tasks: what became of them, and what may be done about it.

Nothing is edited here, and no query reads a table from end to end: counts
stop at a limit, and what filters offer is looked up in the indexes.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import connections, router, transaction
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from cloudtask.results import control, pruning
from cloudtask.results.declarations import find_sensitive
from cloudtask.results.models import FINISHED, TaskRecord
from cloudtask.results.records import make_bare_payload, select_rows
from cloudtask.results.sweeping import sweep
from cloudtask.results.verbs.redrive import select_redrivable
from cloudtask.wire.payload import as_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    # Generic for the type checker alone.
    _ModelAdmin = admin.ModelAdmin[TaskRecord]
    _Paginator = Paginator[TaskRecord]
else:
    _ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator

Status = TaskRecord.Status

#: Tasks that are counted, and that can be paged through.
MAX_COUNT = 10_000
#: Tasks that one action takes.
MAX_ACTION = 1000
#: Tasks that are sent, or dispatched, before an action answers. What is to be
#: sent besides is the sweeper's.
MAX_SENT = 20
#: Values that a filter offers.
MAX_CHOICES = 100
#: Paths among which a search looks for a part of one.
MAX_SEARCHED = 1000

#: Shown in place of arguments that cannot be read.
UNREADABLE = "They cannot be read."

_ID = re.compile(r"[0-9a-f]{32}")

#: What the list can be asked for: what its filters ask, and the key.
_LOOKUPS = frozenset(
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


def rendered_arguments(row: TaskRecord) -> str:
    """A task's arguments, as the text that people get to see of them."""
    try:
        document = json.loads(row.body)
        sensitive = find_sensitive(make_bare_payload(row))
        args, kwargs = sensitive.masked(document["args"], document["kwargs"])
    except (ValueError, KeyError, TypeError, AttributeError):
        # Nobody knows what of it is to be hidden.
        return UNREADABLE
    return _pretty({"args": args, "kwargs": kwargs})


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def values(column: str, limit: int, using: str) -> list[str]:
    """The first values of a column that an index begins with."""
    connection = connections[using]
    if connection.vendor == "mysql":
        # It does so by itself, and reads the whole index in the query below.
        rows = TaskRecord.objects.using(using).order_by(column).distinct()
        return list(rows.values_list(column, flat=True)[:limit])
    quote = connection.ops.quote_name
    table = quote(TaskRecord._meta.db_table)
    sql = _VALUES.format(column=quote(column), table=table)
    with connection.cursor() as cursor:
        cursor.execute(sql, [limit])
        return sorted(value for [value] in cursor.fetchall())


class CappedPaginator(_Paginator):
    """Counts no further than it has to, and ends there."""

    @cached_property
    def count(self) -> int:
        return _count(self.object_list)


def _count(rows: Any) -> int:
    return int(rows.order_by()[:MAX_COUNT].count())


class ColumnFilter(admin.SimpleListFilter):
    """Offers what a column holds."""

    parameter_name: str

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        using = model_admin.get_queryset(request).db
        known = values(self.parameter_name, MAX_CHOICES, using)
        return [(value, value) for value in known]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        return queryset.filter(**{self.parameter_name: self.value()})


class QueueFilter(ColumnFilter):
    title = parameter_name = "queue"


class PathFilter(ColumnFilter):
    title = parameter_name = "path"


class TaskList(ChangeList):
    """The list, without what only the page of one task shows."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> Any:
        rows = super().get_queryset(*args, **kwargs)
        # A page of large tasks would be a hundred megabytes.
        return rows.defer("body", "return_value")


@admin.register(TaskRecord)
class TaskAdmin(_ModelAdmin):
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
    actions = ("cancel", "retry", "redrive", "run_again", "delete_selected")
    readonly_fields = ("progress", "duration", "arguments", "returned", "raised")
    fieldsets = (
        (None, {"fields": ("path", "status", "progress", "duration", "attempt")}),
        ("Payload", {"fields": ("arguments",)}),
        ("Result", {"fields": ("returned",)}),
        ("Errors", {"fields": ("raised",)}),
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
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: TaskRecord | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: TaskRecord | None = None
    ) -> bool:
        # Without its row, a task that is not over would run unseen.
        if obj is not None and obj.status not in FINISHED:
            return False
        return super().has_delete_permission(request, obj)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self._may("cancel", request)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self._may("retry", request)

    def has_redrive_permission(self, request: HttpRequest) -> bool:
        return self._may("redrive", request)

    def has_rerun_permission(self, request: HttpRequest) -> bool:
        return self._may("rerun", request)

    def _may(self, verb: str, request: HttpRequest) -> bool:
        codename = get_permission_codename(verb, self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TaskList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        asked = {*request.POST.getlist("action")} & {*self.actions}
        if not asked <= {*self.get_actions(request)}:
            # Django's form would tell that no action was selected.
            raise PermissionDenied
        # Called by the template alone, and so not for who may not see it.
        context = {
            "status_counts": partial(self._status_counts, request),
            "max_count": MAX_COUNT,
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def _status_counts(self, request: HttpRequest) -> list[tuple[str, str, int]]:
        rows = self.get_queryset(request)
        return [
            (status.value, str(status.label), _count(rows.filter(status=status)))
            for status in Status
        ]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # Django allows all columns, with all that they may be compared by: so
        # what a page hides could be guessed, letter by letter.
        return lookup in _LOOKUPS

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        return to_field == self.opts.pk.name

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> TaskRecord | None:
        return super().get_object(request, as_id(object_id), from_field)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord], search_term: str
    ) -> tuple[QuerySet[TaskRecord], bool]:
        term = search_term.strip()
        compact = term.replace("-", "").lower()
        if not term:
            return queryset, False
        if _ID.fullmatch(compact):
            return queryset.filter(pk=compact), False
        if "/" in term:
            last = term.rpartition("/")[2]
            return queryset.filter(short_name=last, name=term), False
        known = values("path", MAX_SEARCHED, queryset.db)
        found = [path for path in known if term.lower() in path.lower()]
        if found:
            return queryset.filter(path__in=found), False
        return queryset.filter(short_name=term), False

    @admin.display(description="progress")
    def progress(self, row: TaskRecord) -> str:
        if row.progress_done is None:
            return self.get_empty_value_display()
        if row.progress_total is None:
            return format_html("{} {}", row.progress_done, row.progress_message)
        return format_html(
            '<progress value="{}" max="{}"></progress> {} of {} {}',
            row.progress_done,
            row.progress_total,
            row.progress_done,
            row.progress_total,
            row.progress_message,
        )

    @admin.display(description="duration")
    def duration(self, row: TaskRecord) -> str:
        if row.started_at is None:
            return self.get_empty_value_display()
        lasted = (row.finished_at or datetime.now(UTC)) - row.started_at
        if lasted < timedelta(minutes=1):
            return f"{lasted.total_seconds():.2f} s"
        return str(timedelta(seconds=round(lasted.total_seconds())))

    @admin.display(description="arguments")
    def arguments(self, row: TaskRecord) -> str:
        return _preformatted(rendered_arguments(row))

    @admin.display(description="return value")
    def returned(self, row: TaskRecord) -> str:
        if row.is_value_dropped:
            return "It returned what cannot be stored."
        if row.status != Status.SUCCESSFUL:
            return self.get_empty_value_display()
        return _preformatted(_pretty(row.return_value))

    @admin.display(description="attempts that failed")
    def raised(self, row: TaskRecord) -> str:
        errors = format_html_join(
            "",
            "<details open><summary>Attempt {}, {}: {}</summary>{}{}</details>",
            (
                (
                    error.attempt,
                    timezone.localtime(error.happened_at).isoformat(" ", "seconds"),
                    error.type,
                    _preformatted(error.message),
                    _preformatted(error.traceback),
                )
                for error in row.errors.all()
            ),
        )
        return errors or self.get_empty_value_display()

    @admin.action(permissions=["cancel"], description="Cancel selected tasks")
    def cancel(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        self._act(request, queryset, "cancel", "cancelled", control.cancel_many)

    @admin.action(permissions=["retry"], description="Retry selected tasks now")
    def retry(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        def retry(ids: list[str]) -> list[str]:
            return control.retry_now(select_rows(ids))

        self._act(request, queryset, "retry", "retried", retry, limit=MAX_SENT)

    @admin.action(permissions=["redrive"], description="Redrive selected failed tasks")
    def redrive(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        def redrive(ids: list[str]) -> list[str]:
            failed = select_redrivable(select_rows(ids)).values_list("pk", flat=True)
            redriven = list(failed)
            control.redrive(select_rows(redriven))
            self._send(len(redriven))
            return redriven

        self._act(request, queryset, "redrive", "redriven", redrive)

    @admin.action(permissions=["rerun"], description="Run selected tasks again")
    def run_again(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        def run_again(ids: list[str]) -> list[str]:
            copied = list(control.run_again(select_rows(ids)))
            self._send(len(copied))
            return copied

        self._act(request, queryset, "rerun", "enqueued again", run_again)

    @admin.action(permissions=["delete"], description="Delete selected finished tasks")
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord]
    ) -> HttpResponse | None:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        over = queryset.filter(status__in=FINISHED)
        ids = self._chosen(request, over, MAX_ACTION)
        if ids is None:
            return None
        if not ids:
            text = "None of the selected tasks is over."
            self.message_user(request, text, messages.WARNING)
            return None
        rows = self.get_queryset(request).filter(pk__in=ids, status__in=FINISHED)
        return delete_selected(self, request, rows.defer("body", "return_value"))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord]
    ) -> None:
        pruning.delete(queryset)

    def get_deleted_objects(
        self, objs: Iterable[TaskRecord], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        # Django's reads all errors of all tasks, to list them.
        tasks = [str(row) for row in objs]
        return tasks, {str(self.opts.verbose_name_plural): len(tasks)}, set(), []

    def _act(
        self,
        request: HttpRequest,
        queryset: QuerySet[TaskRecord],
        verb: str,
        done: str,
        act: Callable[[list[str]], list[str]],
        limit: int | None = None,
    ) -> None:
        """Do something with tasks, and tell with how many it was done."""
        if not self._may(verb, request):
            raise PermissionDenied
        ids = self._chosen(request, queryset, limit or MAX_ACTION)
        if ids is None:
            return
        changed = act(ids)
        if changed:
            LogEntry.objects.log_actions(
                str(request.user.pk),
                select_rows(changed).only("pk", "path"),
                CHANGE,
                change_message=f"{done.capitalize()}.",
            )
        self.message_user(
            request,
            f"{len(changed)} of {len(ids)} selected tasks {done}.",
            messages.SUCCESS if changed else messages.WARNING,
        )

    def _send(self, count: int) -> None:
        """Send some of what is to be sent; the sweeper sends the others."""
        if not count:
            return

        # Not a partial: Django asks for the name of what fails.
        def send() -> None:
            sweep(min(count, MAX_SENT))

        transaction.on_commit(send, router.db_for_write(TaskRecord), robust=True)

    def _chosen(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord], limit: int
    ) -> list[str] | None:
        """The ids of what was selected; None where that is too much."""
        ids = list(queryset.values_list("pk", flat=True)[: limit + 1])
        if len(ids) <= limit:
            return ids
        self.message_user(
            request, f"Select at most {limit} tasks at once.", messages.ERROR
        )
        return None


def _preformatted(text: str) -> str:
    return format_html('<pre class="cloudtask-text">{}</pre>', text)
