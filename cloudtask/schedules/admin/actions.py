"""What the admin can do to schedules, and who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse

from cloudtask.exceptions import CloudTaskError
from cloudtask.schedules import control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from cloudtask.schedules.models import ScheduledTask

    # Generic only for the type checker.
    _ModelAdmin = admin.ModelAdmin[ScheduledTask]
else:
    _ModelAdmin = admin.ModelAdmin

#: Schedules that one action takes.
MAX_ACTION = 100
#: Why a schedule of the code stays.
DECLARED = (
    "is declared by the code, and cannot be deleted here. Take its @schedule or "
    "cron= out of the code, and run 'manage.py cloudtask schedules apply'."
)


class ScheduleActions(_ModelAdmin):
    """The actions, each with a permission of its own."""

    actions = ("pause", "resume", "run_now", "delete_selected")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether the user may pause and resume schedules."""
        return self._has_permission("pause", request)

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whether the user may have tasks of schedules run now."""
        return self._has_permission("run", request)

    def has_delete_permission(
        self, request: HttpRequest, obj: ScheduledTask | None = None
    ) -> bool:
        """Whether the user may delete schedules; none of the code's."""
        if obj is not None and obj.is_declared:
            return False
        return super().has_delete_permission(request, obj)

    def _has_permission(self, verb: str, request: HttpRequest) -> bool:
        codename = get_permission_codename(verb, self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    @admin.action(permissions=["pause"], description="Pause selected schedules")
    def pause(self, request: HttpRequest, queryset: QuerySet[ScheduledTask]) -> None:
        """Pause the selected schedules."""
        if not self.has_pause_permission(request):
            raise PermissionDenied
        self._act(request, self._select(request, queryset), "paused", control.pause)

    @admin.action(permissions=["pause"], description="Resume selected schedules")
    def resume(self, request: HttpRequest, queryset: QuerySet[ScheduledTask]) -> None:
        """Resume the selected schedules."""
        if not self.has_pause_permission(request):
            raise PermissionDenied
        self._act(request, self._select(request, queryset), "resumed", control.resume)

    @admin.action(permissions=["run"], description="Run selected schedules now")
    def run_now(
        self, request: HttpRequest, queryset: QuerySet[ScheduledTask]
    ) -> HttpResponse | None:
        """Run the tasks of the selected schedules, once that is confirmed."""
        if not self.has_run_permission(request):
            raise PermissionDenied
        rows = self._select(request, queryset)
        if not rows or "post" in request.POST:
            self._act(request, rows, "run", control.run_now)
            return None
        return self.confirm_run(request, rows, is_action=True)

    @admin.action(permissions=["delete"], description="Delete selected schedules")
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[ScheduledTask]
    ) -> HttpResponse | None:
        """Delete the selected schedules, once that is confirmed."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        for row in queryset.filter(is_declared=True)[:MAX_ACTION]:
            self.message_user(request, f"{row.name!r} {DECLARED}", messages.ERROR)
        rows = queryset.filter(is_declared=False)
        return delete_selected(self, request, rows) if rows.exists() else None

    def get_deleted_objects(
        self, objs: Iterable[ScheduledTask], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """List the schedules, to be confirmed, and not each of their slots."""
        names = [str(row) for row in objs]
        return names, {str(self.opts.verbose_name_plural): len(names)}, set(), []

    def confirm_run(
        self, request: HttpRequest, rows: Sequence[ScheduledTask], *, is_action: bool
    ) -> HttpResponse:
        """
        Ask whether to run the tasks of schedules now.

        Args:
            request: Of the user.
            rows: The schedules.
            is_action: Whether they were selected in the list.
        """
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": "Run now",
            "opts": self.opts,
            "rows": rows,
            "is_action": is_action,
        }
        return TemplateResponse(
            request, "cloudtask_schedules/confirm_run.html", context
        )

    def _act(
        self,
        request: HttpRequest,
        rows: Sequence[ScheduledTask],
        done: str,
        act: Callable[[int], bool | str],
    ) -> None:
        """Do something to schedules, and tell how many it was done to."""
        changed = sum(self._act_on_one(request, row, done, act) for row in rows)
        if rows:
            self.message_user(
                request,
                f"{changed} of {len(rows)} selected schedules {done}.",
                messages.SUCCESS if changed else messages.WARNING,
            )

    def _act_on_one(
        self,
        request: HttpRequest,
        row: ScheduledTask,
        done: str,
        act: Callable[[int], bool | str],
    ) -> bool:
        try:
            result = act(row.pk)
        except CloudTaskError as error:
            self.message_user(request, f"{row.name!r}: {error}", messages.ERROR)
            return False
        if isinstance(result, str):
            done = f"{done} by hand: the task {result}"
        if result:
            self.log_change(request, row, f"{done.capitalize()}.")
        return bool(result)

    def _select(
        self, request: HttpRequest, queryset: QuerySet[ScheduledTask]
    ) -> list[ScheduledTask]:
        """Read the selected schedules; none of them if they are too many."""
        rows = list(queryset.order_by("name")[: MAX_ACTION + 1])
        if len(rows) <= MAX_ACTION:
            return rows
        self.message_user(
            request, f"Select at most {MAX_ACTION} schedules at once.", messages.ERROR
        )
        return []
