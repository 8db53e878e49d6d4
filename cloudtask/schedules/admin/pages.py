"""Pages beside the form of a schedule: its buttons, the choice of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from cloudtask.schedules import control
from cloudtask.schedules.admin.actions import DECLARED, ScheduleActions
from cloudtask.schedules.admin.choices import find_task, list_choices

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from cloudtask.schedules.models import ScheduledTask

#: The parameter of a URL that says which task was chosen.
TASK = "task"


class SchedulePages(ScheduleActions):
    """Pause, resume, run now, and another task."""

    def get_urls(self) -> list[URLPattern]:
        """The pages of schedules, those of buttons first."""
        names = {
            "pause": self.pause_view,
            "resume": self.resume_view,
            "run": self.run_view,
            "task": self.task_view,
        }
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(view),
                name=f"{prefix}_{name}",
            )
            for name, view in names.items()
        ]
        return [*own, *super().get_urls()]

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pause a schedule."""
        return self._press(
            *(request, object_id, self.has_pause_permission, "paused", control.pause)
        )

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Resume a schedule."""
        return self._press(
            *(request, object_id, self.has_pause_permission, "resumed", control.resume)
        )

    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask whether to run the task of a schedule now, and do so."""
        if request.method == "GET":
            row = self._find_row(request, object_id, self.has_run_permission)
            return self.confirm_run(request, [row], is_action=False)
        return self._press(
            *(request, object_id, self.has_run_permission, "run", control.run_now)
        )

    def task_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Choose another task for a schedule, which gets new arguments."""
        row = self._find_row(request, object_id, lambda request: True)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        return self.choose_task(request, self._find_url("change", row), row)

    def delete_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Delete a schedule once that is confirmed; say why it cannot be."""
        row = self.get_object(request, unquote(object_id))
        may = super().has_delete_permission(request)
        if row is not None and row.is_declared and may:
            self.message_user(request, f"{row.name!r} {DECLARED}", messages.ERROR)
            return HttpResponseRedirect(self._find_url("changelist"))
        return super().delete_view(request, object_id, extra_context)

    def choose_task(
        self, request: HttpRequest, action: str, row: ScheduledTask | None
    ) -> HttpResponse:
        """
        Ask which task to schedule.

        Args:
            request: Of the user.
            action: The URL of the form that comes next.
            row: The schedule that is to be changed, if it is there.
        """
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": "Choose a task",
            "opts": self.opts,
            "choices": list_choices(),
            "row": row,
            "present": None if row is None else find_task(row),
            "action": action,
            "name": TASK,
            "media": self.media,
        }
        return TemplateResponse(
            request, "cloudtask_schedules/choose_task.html", context
        )

    def _press(
        self,
        request: HttpRequest,
        object_id: str,
        may: Callable[[HttpRequest], bool],
        done: str,
        act: Callable[[int], bool | str],
    ) -> HttpResponse:
        """Do what a button says, and show the schedule again."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self._find_row(request, object_id, may)
        if self._act_on_one(request, row, done, act):
            self.message_user(request, f"{row.name!r} {done}.", messages.SUCCESS)
        return HttpResponseRedirect(self._find_url("change", row))

    def _find_row(
        self, request: HttpRequest, object_id: str, may: Callable[[HttpRequest], bool]
    ) -> ScheduledTask:
        """
        Find a schedule that the user may see, and do something with.

        Raises:
            PermissionDenied: The user may not.
            Http404: There is none.
        """
        if not (may(request) and self.has_view_permission(request)):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        return row

    def _find_url(self, page: str, *rows: ScheduledTask) -> str:
        name = f"{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(
            f"{self.admin_site.name}:{name}", args=[quote(row.pk) for row in rows]
        )
