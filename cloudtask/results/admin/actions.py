"""What the admin can do to selected tasks, and who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import transaction

from cloudtask.results import control, pruning
from cloudtask.results.database.connections import get_alias
from cloudtask.results.models import FINISHED, TaskRecord
from cloudtask.results.records import select_rows
from cloudtask.results.sweeping import sweep
from cloudtask.results.verbs.redrive import select_redrivable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    # Generic only for the type checker.
    _ModelAdmin = admin.ModelAdmin[TaskRecord]
else:
    _ModelAdmin = admin.ModelAdmin

#: Tasks that one action takes.
MAX_ACTION = 1000
#: Tasks that are sent, or dispatched, before an action answers. The sweeper
#: sends the others.
MAX_SENT = 20


class TaskActions(_ModelAdmin):
    """The actions, each with a permission of its own."""

    actions = ("cancel", "retry", "redrive", "run_again", "delete_selected")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel tasks."""
        return self._has_permission("cancel", request)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may have tasks dispatched now."""
        return self._has_permission("retry", request)

    def has_redrive_permission(self, request: HttpRequest) -> bool:
        """Whether the user may have failed tasks sent again."""
        return self._has_permission("redrive", request)

    def has_rerun_permission(self, request: HttpRequest) -> bool:
        """Whether the user may enqueue copies of tasks."""
        return self._has_permission("rerun", request)

    def has_delete_permission(
        self, request: HttpRequest, obj: TaskRecord | None = None
    ) -> bool:
        """Whether the user may delete tasks; a given one has to be over."""
        # Without its row, a task that is not over would run unseen.
        if obj is not None and obj.status not in FINISHED:
            return False
        return super().has_delete_permission(request, obj)

    def _has_permission(self, verb: str, request: HttpRequest) -> bool:
        codename = get_permission_codename(verb, self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    @admin.action(permissions=["cancel"], description="Cancel selected tasks")
    def cancel(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        """Cancel the selected tasks."""
        self._act(request, queryset, "cancel", "cancelled", control.cancel_many)

    @admin.action(permissions=["retry"], description="Retry selected tasks now")
    def retry(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        """Have the selected tasks that wait for an attempt dispatched now."""

        def retry(ids: list[str]) -> list[str]:
            return control.retry_now(select_rows(ids))

        self._act(request, queryset, "retry", "retried", retry, limit=MAX_SENT)

    @admin.action(permissions=["redrive"], description="Redrive selected failed tasks")
    def redrive(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        """Send the selected failed tasks again."""

        def redrive(ids: list[str]) -> list[str]:
            failed = select_redrivable(select_rows(ids)).values_list("pk", flat=True)
            redriven = list(failed)
            control.redrive(select_rows(redriven))
            _send_some(len(redriven))
            return redriven

        self._act(request, queryset, "redrive", "redriven", redrive)

    @admin.action(permissions=["rerun"], description="Run selected tasks again")
    def run_again(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        """Enqueue copies of the selected tasks that are over."""

        def run_again(ids: list[str]) -> list[str]:
            copied = list(control.run_again(select_rows(ids)))
            _send_some(len(copied))
            return copied

        self._act(request, queryset, "rerun", "enqueued again", run_again)

    @admin.action(permissions=["delete"], description="Delete selected finished tasks")
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord]
    ) -> HttpResponse | None:
        """Delete the selected tasks that are over, once that is confirmed."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        over = queryset.filter(status__in=FINISHED)
        ids = self._select_ids(request, over, MAX_ACTION)
        if ids is None:
            return None
        if not ids:
            text = "None of the selected tasks has finished."
            self.message_user(request, text, messages.WARNING)
            return None
        rows = self.get_queryset(request).filter(pk__in=ids, status__in=FINISHED)
        return delete_selected(self, request, rows.defer("body", "return_value"))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord]
    ) -> None:
        """Delete tasks, if they are still as they were selected."""
        pruning.delete(queryset)

    def get_deleted_objects(
        self, objs: Iterable[TaskRecord], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """List the tasks themselves, to be confirmed, and not their errors."""
        # Django's own reads all errors of all tasks, to list them.
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
        """Do something to tasks, and tell how many it was done to."""
        if not self._has_permission(verb, request):
            raise PermissionDenied
        ids = self._select_ids(request, queryset, limit or MAX_ACTION)
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

    def _select_ids(
        self, request: HttpRequest, queryset: QuerySet[TaskRecord], limit: int
    ) -> list[str] | None:
        """Select the ids of the selected tasks; None if they are too many."""
        ids = list(queryset.values_list("pk", flat=True)[: limit + 1])
        if len(ids) <= limit:
            return ids
        self.message_user(
            request, f"Select at most {limit} tasks at once.", messages.ERROR
        )
        return None


def _send_some(count: int) -> None:
    """Send some of the tasks that are due; the sweeper sends the others."""
    if not count:
        return

    # Not a partial: Django asks for the name of what fails.
    def send() -> None:
        sweep(min(count, MAX_SENT))

    transaction.on_commit(send, get_alias(), robust=True)
