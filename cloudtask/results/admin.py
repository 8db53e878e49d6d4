"""
The admin of tasks: what became of them, and what may be done about it.

Nothing is edited here, and no query reads a table from end to end: counts
stop at a limit, and what filters offer is looked up in the indexes.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
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
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from cloudtask.exceptions import PayloadError
from cloudtask.payload import decode, encode, new_id
from cloudtask.results import control
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import sweep

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
#: Tasks that are sent before an action answers. The sweeper sends the others.
MAX_SENT = 20
#: Values that a filter offers.
MAX_CHOICES = 100
#: Paths among which a search looks for a part of one.
MAX_SEARCHED = 1000

_FINISHED = (Status.SUCCESSFUL, Status.FAILED)
_ID = re.compile(r"[0-9a-f]{32}")

# One look into the index for each path, however many rows have it.
_PATHS = """
WITH RECURSIVE found (number, value) AS (
    SELECT 1, (SELECT MIN({path}) FROM {table})
    UNION ALL
    SELECT number + 1, (SELECT MIN({path}) FROM {table} WHERE {path} > value)
    FROM found WHERE value IS NOT NULL AND number < %s
)
SELECT {what} FROM found WHERE value IS NOT NULL
"""
# Queues have no index that begins with them. What is asked for is where the
# index of paths is entered; `=` would leave the choice of one to the database.
_LATEST_QUEUE = """
DISTINCT (
    SELECT {queue} FROM {table} WHERE {path} >= value
    ORDER BY {path}, {enqueued_at} DESC LIMIT 1
)
"""


def run_again(row: TaskRecord) -> str:
    """
    Enqueue a task that is over once more, as a new one with its arguments.

    It is sent by the sweeper.

    Returns:
        The new task's id.

    Raises:
        DecodeError: What is kept of the task cannot be read.
    """
    payload = decode(row.body.encode())
    using = payload.using and payload.using._replace(run_after=None)
    again = replace(payload, id=new_id(), enqueued_at=timezone.now(), using=using)
    TaskRecord.objects.create(
        id=again.id,
        path=row.path,
        kind=row.kind,
        backend=row.backend,
        queue=row.queue,
        body=encode(again).decode(),
        url=row.url,
        enqueued_at=again.enqueued_at,
        send_at=Now(),
    )
    return again.id


def rendered_arguments(row: TaskRecord) -> str:
    """A task's arguments, as the text that people get to see of them."""
    try:
        document = json.loads(row.body)
        arguments = {"args": document["args"], "kwargs": document["kwargs"]}
    except (ValueError, KeyError, TypeError):
        return row.body
    return _pretty(arguments)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def paths(limit: int, using: str) -> list[str]:
    """The first paths of all tasks."""
    return _found("value", limit, using)


def queues(limit: int, using: str) -> list[str]:
    """The queues that the latest tasks of these paths went to."""
    return _found(_LATEST_QUEUE, limit, using)


def _found(what: str, limit: int, using: str) -> list[str]:
    connection = connections[using]
    quote = connection.ops.quote_name
    names = {name: quote(name) for name in ("path", "queue", "enqueued_at")}
    names["table"] = quote(TaskRecord._meta.db_table)
    sql = _PATHS.format(what=what.format(**names), **names)
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

    choices_of: Callable[[int, str], list[str]]

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        using = model_admin.get_queryset(request).db
        return [(value, value) for value in self.choices_of(MAX_CHOICES, using)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        return queryset.filter(**{str(self.parameter_name): self.value()})


class QueueFilter(ColumnFilter):
    title = parameter_name = "queue"
    choices_of = staticmethod(queues)


class PathFilter(ColumnFilter):
    title = parameter_name = "path"
    choices_of = staticmethod(paths)


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
    actions = ("cancel", "redrive", "run_again", "delete_selected")
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
        if obj is not None and obj.status not in _FINISHED:
            return False
        return super().has_delete_permission(request, obj)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self._may("cancel", request)

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
            return _first(queryset, name=term), False
        known = paths(MAX_SEARCHED, queryset.db)
        found = [path for path in known if term.lower() in path.lower()]
        if found:
            return queryset.filter(path__in=found), False
        return _first(queryset, name__endswith=f"/tasks/{term}"), False

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
        lasted = (row.finished_at or timezone.now()) - row.started_at
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
        self._act(request, queryset, "cancel", "cancelled", control.cancel)

    @admin.action(permissions=["redrive"], description="Redrive selected failed tasks")
    def redrive(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        def redrive(id: str) -> bool:  # noqa: A002
            return bool(control.redrive(TaskRecord.objects.filter(pk=id)))

        self._act(request, queryset, "redrive", "redriven", redrive)

    @admin.action(permissions=["rerun"], description="Run selected tasks again")
    def run_again(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        self._act(request, queryset, "rerun", "enqueued again", _ran_again)

    @admin.action(permissions=["delete"], description="Delete selected finished tasks")
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord]
    ) -> HttpResponse | None:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        ids = self._chosen(request, queryset.filter(status__in=_FINISHED))
        if ids is None:
            return None
        if not ids:
            text = "None of the selected tasks is over."
            self.message_user(request, text, messages.WARNING)
            return None
        rows = self.get_queryset(request).filter(pk__in=ids, status__in=_FINISHED)
        return delete_selected(self, request, rows)

    def _act(
        self,
        request: HttpRequest,
        queryset: QuerySet[TaskRecord],
        verb: str,
        done: str,
        act: Callable[[str], bool],
    ) -> None:
        """Do something with each task, and tell with how many it was done."""
        if not self._may(verb, request):
            raise PermissionDenied
        ids = self._chosen(request, queryset)
        if ids is None:
            return
        changed = [id for id in ids if act(id)]  # noqa: A001
        rows = TaskRecord.objects.filter(pk__in=changed).only("pk", "path")
        if changed:
            LogEntry.objects.log_actions(
                str(request.user.pk),
                rows,
                CHANGE,
                change_message=f"{done.capitalize()}.",
            )
        if changed and verb != "cancel":
            self._send(min(len(changed), MAX_SENT))
        self.message_user(
            request,
            f"{len(changed)} of {len(ids)} selected tasks {done}.",
            messages.SUCCESS if changed else messages.WARNING,
        )

    def _send(self, limit: int) -> None:
        # Not a partial: Django asks for the name of what fails.
        def send() -> None:
            sweep(limit)

        transaction.on_commit(send, router.db_for_write(TaskRecord), robust=True)

    def _chosen(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord]
    ) -> list[str] | None:
        """The ids of what was selected; None where that is too much."""
        ids = list(queryset.values_list("pk", flat=True)[: MAX_ACTION + 1])
        if len(ids) <= MAX_ACTION:
            return ids
        self.message_user(
            request, f"Select at most {MAX_ACTION} tasks at once.", messages.ERROR
        )
        return None


def _first(rows: QuerySet[TaskRecord], **lookup: str) -> QuerySet[TaskRecord]:
    # Names have no index: they are read once, and not to count them too.
    ids = list(rows.filter(**lookup).order_by().values_list("pk", flat=True)[:1])
    return rows.filter(pk__in=ids)


def _ran_again(id: str) -> bool:  # noqa: A002
    over = TaskRecord.objects.filter(pk=id, status__in=_FINISHED).exclude(body="")
    row = over.first()
    if row is None:
        return False
    try:
        run_again(row)
    except PayloadError:
        return False
    return True


def _preformatted(text: str) -> str:
    return format_html('<pre class="cloudtask-text">{}</pre>', text)
