"""The admin of schedules, as Django wants it described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.debug import sensitive_post_parameters

from cloudtask.exceptions import CloudTaskError
from cloudtask.results.models import TaskRecord
from cloudtask.schedules.admin.changelist import (
    LOOKUPS,
    PathFilter,
    ScheduleList,
    StateFilter,
    search,
)
from cloudtask.schedules.admin.choices import find_task, list_choices
from cloudtask.schedules.admin.detail import (
    find_state,
    list_next_runs,
    list_slots,
    render_arguments,
    show_status,
)
from cloudtask.schedules.admin.forms import (
    PLAN_FIELDS,
    ScheduleForm,
    find_stored,
    make_form,
)
from cloudtask.schedules.admin.pages import TASK, SchedulePages
from cloudtask.schedules.models import ScheduledTask, Slot

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from cloudtask.planning.declarations import Schedulable


@admin.register(ScheduledTask)
class ScheduleAdmin(SchedulePages):
    """The list of schedules, the page of one, and the actions on them."""

    form = ScheduleForm
    list_display = (
        "name",
        "path",
        "cron",
        "time_zone",
        "state",
        "next_at",
        "last_slot",
    )
    list_filter = (StateFilter, "is_declared", PathFilter)
    sortable_by = ("name", "path", "next_at")
    ordering = ("name",)
    search_fields = ("name", "path")
    search_help_text = "A part of a name, or of a task's path."
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_form_template = "cloudtask_schedules/change_form.html"
    readonly_fields = ("shown_arguments",)

    class Media:
        css: ClassVar = {"all": ["cloudtask_schedules/admin.css"]}

    def has_change_permission(
        self, request: HttpRequest, obj: ScheduledTask | None = None
    ) -> bool:
        """Whether the user may change schedules; none of the code's."""
        if obj is not None and obj.is_declared:
            return False
        return super().has_change_permission(request, obj)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that reads the last slots."""
        return ScheduleList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ScheduledTask], search_term: str
    ) -> tuple[QuerySet[ScheduledTask], bool]:
        """Search for words in names and paths, in any case."""
        return search(queryset, search_term), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """
        Show the list, and refuse actions that are not allowed.

        Raises:
            PermissionDenied: The user may not do what was asked for.
        """
        asked = {*request.POST.getlist("action")} & {*self.actions}
        if not asked <= {*self.get_actions(request)}:
            # Django's form would say that no action was selected.
            raise PermissionDenied
        return super().changelist_view(request, extra_context)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow what the page itself links to, and nothing else."""
        # Else arguments could be guessed, letter by letter.
        return lookup in LOOKUPS

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Allow no column but the key to find a schedule by."""
        return to_field == self.opts.pk.name

    @method_decorator(sensitive_post_parameters())
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the form of a schedule, once its task is chosen."""
        chosen = self._find_chosen(request)
        if object_id is None and chosen is None:
            if not self.has_add_permission(request):
                raise PermissionDenied
            return self.choose_task(request, self._find_url("add"), None)
        if chosen is not None:
            # The form is sent where it was shown.
            form_url = f"?{urlencode({TASK: request.GET[TASK]})}"
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except CloudTaskError as error:
            # The engine cannot follow the change, which is undone.
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def _find_chosen(self, request: HttpRequest) -> Schedulable | None:
        return list_choices().get(request.GET.get(TASK, ""))

    def get_form(
        self,
        request: HttpRequest,
        obj: ScheduledTask | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Make a form with the arguments of the task."""
        task = self._find_task(request, obj)
        if task is not None:
            is_new = self._find_chosen(request) is not None
            kwargs["form"] = make_form(task, None if is_new else obj)
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(
        self, request: HttpRequest, obj: ScheduledTask | None = None
    ) -> Any:
        """List the fields: arguments have them for who may change them."""
        task = self._find_task(request, obj)
        if task is None:
            arguments = ["shown_arguments"]
        else:
            arguments = list(make_form(task, None).arguments)
        return [
            (None, {"fields": ["name"]}),
            *([("Arguments", {"fields": arguments})] if arguments else []),
            ("Plan", {"fields": PLAN_FIELDS}),
        ]

    def _find_task(
        self, request: HttpRequest, obj: ScheduledTask | None
    ) -> Schedulable | None:
        """Find the task whose arguments may be filled in."""
        if obj is None:
            return self._find_chosen(request)
        if not self.has_change_permission(request, obj):
            return None
        return self._find_chosen(request) or find_task(obj)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Nothing: a URL fills in no field."""
        return {}

    def save_model(
        self, request: HttpRequest, obj: ScheduledTask, form: Any, change: bool
    ) -> None:
        """Keep what was filled in, if anything was."""
        if change and not form.changed_data and not self._find_chosen(request):
            return
        form.describe(obj)
        if change:
            # Somebody may have paused it, or deleted it, since it was read.
            rows = ScheduledTask.objects.select_for_update()
            obj.paused_at = get_object_or_404(rows, pk=obj.pk).paused_at
        obj.save()

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: ScheduledTask | None = None,
    ) -> Any:
        """Render the form, and what is known of the schedule."""
        task = self._find_task(request, obj)
        context["task"] = task
        if obj is not None:
            context |= self._describe(request, obj, task)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _describe(
        self, request: HttpRequest, row: ScheduledTask, task: Schedulable | None
    ) -> dict[str, Any]:
        may_change = self.has_change_permission(request, row)
        return {
            "row": row,
            "state": find_state(row),
            "next_runs": list_next_runs(row),
            "slots": list_slots(row),
            "is_gone": may_change and task is None,
            "is_unfit": task is not None and find_stored(task, row) is None,
            "may_pause": self.has_pause_permission(request),
            "may_run": self.has_run_permission(request),
            "may_see_tasks": self._may_see_tasks(request),
        }

    def _may_see_tasks(self, request: HttpRequest) -> bool:
        if not self.admin_site.is_registered(TaskRecord):
            return False
        return self.admin_site.get_model_admin(TaskRecord).has_view_permission(request)

    @admin.display(description="state")
    def state(self, row: ScheduledTask) -> str:
        """Whether it runs."""
        return find_state(row)

    @admin.display(description="last slot")
    def last_slot(self, row: Any) -> str:
        """Its last slot, and what became of that."""
        if row.last_instant is None:
            return str(self.get_empty_value_display())
        text = "{}: {}".format(
            timezone.localtime(row.last_instant).strftime("%Y-%m-%d %H:%M"),
            show_status(row.last_status) or row.last_state,
        )
        if row.last_state == Slot.State.MISSED:
            return format_html('<span class="cloudtask-missed">{}</span>', text)
        return text

    @admin.display(description="arguments")
    def shown_arguments(self, row: ScheduledTask) -> str:
        """Its arguments, without the sensitive ones."""
        return format_html(
            '<pre class="cloudtask-text">{}</pre>', render_arguments(row)
        )
