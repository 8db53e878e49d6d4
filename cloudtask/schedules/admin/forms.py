"""The form of a schedule: its name and plan, and arguments of its task."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import available_timezones

from django import forms
from django.conf import settings as django_settings
from django.utils.html import format_html, format_html_join

from cloudtask.conf import clock
from cloudtask.cron import Cron, InvalidCron, InvalidZone, find_zone
from cloudtask.enqueue.scheduling import check_arguments, check_name
from cloudtask.exceptions import InvalidSchedule
from cloudtask.planning.declarations import list_declared
from cloudtask.planning.plans import MAX_CATCH_UP, MAX_SPREAD, make_plan
from cloudtask.schedules.admin.arguments import MISSING, Argument, list_arguments
from cloudtask.schedules.admin.parameters import bind, read_signature, unbind
from cloudtask.schedules.arguments import read_arguments
from cloudtask.schedules.control import describe_in_row
from cloudtask.schedules.models import ScheduledTask

if TYPE_CHECKING:
    from inspect import Signature

    from cloudtask.planning.declarations import Schedulable
    from cloudtask.planning.plans import Plan

    # Generic only for the type checker.
    _ModelForm = forms.ModelForm[ScheduledTask]
else:
    _ModelForm = forms.ModelForm

#: What the fields of a plan are called.
PLAN_FIELDS = (
    "cron",
    "time_zone",
    "starts_at",
    "ends_at",
    "catch_up",
    "overlap",
    "spread_seconds",
)


@cache
def _list_zones() -> list[str]:
    return sorted(available_timezones())


class ZoneInput(forms.TextInput):
    """A line of text that suggests names of time zones."""

    def render(self, name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Render the line, with what it suggests."""
        options = format_html_join(
            "", '<option value="{}">', ([zone] for zone in _list_zones())
        )
        return format_html(
            '{}<datalist id="{}">{}</datalist>',
            super().render(name, value, *args, **kwargs),
            _name(name),
            options,
        )

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        """Have the line refer to the suggestions."""
        return super().get_context(name, value, {**(attrs or {}), "list": _name(name)})


def _name(field: str) -> str:
    return f"{field}-zones"


class ScheduleForm(_ModelForm):
    """The form of a schedule whose task stays as it is."""

    cron = forms.CharField(
        max_length=500,
        help_text="Minute, hour, day of month, month, day of week: 0 3 * * MON-FRI.",
        widget=forms.TextInput({"class": "vTextField cloudtask-cron"}),
    )
    time_zone = forms.CharField(
        max_length=100,
        help_text="Whose wall clock counts.",
        widget=ZoneInput({"class": "vTextField"}),
        initial=lambda: django_settings.TIME_ZONE,
    )
    catch_up = forms.IntegerField(
        min_value=0,
        max_value=MAX_CATCH_UP,
        initial=1,
        help_text="How many late slots are run after an outage: the latest ones.",
    )
    spread_seconds = forms.IntegerField(
        min_value=0,
        max_value=int(MAX_SPREAD.total_seconds()),
        initial=0,
        help_text="Seconds over which runs are spread.",
    )

    class Meta:
        model = ScheduledTask
        fields = ("name", *PLAN_FIELDS)

    def clean_name(self) -> str:
        """
        Check that the name is free.

        Raises:
            ValidationError: It is not, or is not a line of text.
        """
        name: str = self.cleaned_data["name"]
        if name in {each.name for each in list_declared()}:
            raise forms.ValidationError("The code declares a schedule of this name.")
        try:
            return check_name(name)
        except InvalidSchedule as error:
            raise forms.ValidationError(str(error)) from None

    def clean_cron(self) -> str:
        """
        Check the cron.

        Raises:
            ValidationError: It is wrong. The place of the mistake is marked.
        """
        # Other kinds of blanks would move the mark.
        text = " ".join(self.cleaned_data["cron"].split())
        try:
            return Cron.parse(text).text
        except InvalidCron as error:
            raise forms.ValidationError(
                format_html(
                    '{}<pre class="cloudtask-mark">{}\n{}^</pre>',
                    str(error),
                    text,
                    " " * error.position,
                )
            ) from None

    def clean_time_zone(self) -> str:
        """
        Check the time zone.

        Raises:
            ValidationError: There is none of this name.
        """
        try:
            return find_zone(self.cleaned_data["time_zone"]).key
        except InvalidZone as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        """Check the fields together."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            self._check_times(cleaned)
        return cleaned

    def _check_times(self, cleaned: dict[str, Any]) -> None:
        try:
            make_plan_of(cleaned).find_next(clock.now())
        except InvalidSchedule:
            self.add_error("ends_at", "It must be after the start.")
        except OverflowError:
            self.add_error("starts_at", "No slot comes after it.")

    def describe(self, row: ScheduledTask) -> None:
        """Have the row say what was filled in. A plan it says already."""


class ArgumentsForm(ScheduleForm):
    """The form of a schedule, with the arguments of its task."""

    task: ClassVar[Schedulable]
    signature: ClassVar[Signature]
    #: By the fields' names.
    arguments: ClassVar[dict[str, Argument]]

    def clean(self) -> dict[str, Any]:
        """Check the arguments, too."""
        cleaned = super().clean()
        self.call: tuple[list[Any], dict[str, Any]] = ([], {})
        if not self.errors:
            try:
                self.call = unbind(self.signature, self._collect(cleaned))
                check_arguments(self.task, *self.call)
            except InvalidSchedule as error:
                self.add_error(None, str(error))
        return cleaned

    def _collect(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        values = {
            argument.parameter.name: self._read(name, argument, cleaned[name])
            for name, argument in self.arguments.items()
        }
        return {name: value for name, value in values.items() if value is not MISSING}

    def _read(self, name: str, argument: Argument, cleaned: Any) -> Any:
        # A form shows less than there is: no secret, and no type.
        if argument.stored is not MISSING and name not in self.changed_data:
            return argument.stored
        return argument.read(self.fields[name], cleaned)

    def describe(self, row: ScheduledTask) -> None:
        """Have the row say what was filled in."""
        describe_in_row(row, self.task, make_plan_of(self.cleaned_data), *self.call)


def make_plan_of(cleaned: dict[str, Any]) -> Plan:
    """
    Make the plan that a form was filled in with.

    Raises:
        InvalidSchedule: It ends before it starts.
    """
    return make_plan(
        cron=cleaned["cron"],
        timezone=cleaned["time_zone"],
        catch_up=cleaned["catch_up"],
        overlap=cleaned["overlap"],
        spread=timedelta(seconds=cleaned["spread_seconds"]),
        starts=cleaned["starts_at"],
        ends=cleaned["ends_at"],
    )


def make_form(task: Schedulable, row: ScheduledTask | None) -> type[ArgumentsForm]:
    """
    Make the form for a task.

    Args:
        task: What is scheduled.
        row: The schedule whose arguments it begins with; None begins anew.
    """
    signature = read_signature(task)
    stored = {} if row is None else find_stored(task, row) or {}
    arguments = {
        f"argument_{argument.parameter.name}": argument
        for argument in list_arguments(task, signature, stored)
    }
    fields = {name: argument.make_field() for name, argument in arguments.items()}
    more = {"task": task, "signature": signature, "arguments": arguments}
    return type("ArgumentsForm", (ArgumentsForm,), {**more, **fields})


def find_stored(task: Schedulable, row: ScheduledTask) -> dict[str, Any] | None:
    """Find a schedule's arguments by parameter; None if they do not fit."""
    try:
        args, kwargs = read_arguments(row.arguments)
    except InvalidSchedule:
        return None
    return bind(read_signature(task), args, kwargs)
