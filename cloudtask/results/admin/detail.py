"""What the admin shows of one task, as HTML or text."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join

from cloudtask.conf import clock
from cloudtask.results.declarations import find_sensitive
from cloudtask.results.models import TaskRecord
from cloudtask.results.records import make_bare_payload

if TYPE_CHECKING:
    from cloudtask.results.models import TaskError

#: Shown in place of arguments that cannot be read.
UNREADABLE = "They cannot be read."
#: Shown in place of a return value that was dropped.
DROPPED = "It could not be stored."


def render_progress(row: TaskRecord) -> str:
    """Render how far a task is; empty if it has not said so."""
    if row.progress_done is None:
        return ""
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


def render_duration(row: TaskRecord) -> str:
    """Render how long a task has taken; empty if it has not begun."""
    if row.started_at is None:
        return ""
    duration = (row.finished_at or clock.now()) - row.started_at
    if duration < timedelta(minutes=1):
        return f"{duration.total_seconds():.2f} s"
    return str(timedelta(seconds=round(duration.total_seconds())))


def render_arguments(row: TaskRecord) -> str:
    """Render a task's arguments as text, without those that are sensitive."""
    try:
        document = json.loads(row.body)
        sensitive = find_sensitive(make_bare_payload(row))
        args, kwargs = sensitive.mask(document["args"], document["kwargs"])
    except (ValueError, KeyError, TypeError, AttributeError):
        # Nobody knows what of it is to be hidden.
        return UNREADABLE
    return _dump({"args": args, "kwargs": kwargs})


def render_return_value(row: TaskRecord) -> str:
    """Render what a task returned; empty if it has not succeeded."""
    if row.is_value_dropped:
        return DROPPED
    if row.status != TaskRecord.Status.SUCCESSFUL:
        return ""
    return preformat(_dump(row.return_value))


def render_errors(row: TaskRecord) -> str:
    """Render what a task's attempts raised; empty if none failed."""
    return format_html_join(
        "",
        "<details open><summary>Attempt {}, {}: {}</summary>{}{}</details>",
        (_list_parts(error) for error in row.errors.all()),
    )


def _list_parts(error: TaskError) -> tuple[object, ...]:
    return (
        error.attempt,
        timezone.localtime(error.happened_at).isoformat(" ", "seconds"),
        error.type,
        preformat(error.message),
        preformat(error.traceback),
    )


def preformat(text: str) -> str:
    """Render a text with its lines and spaces."""
    return format_html('<pre class="cloudtask-text">{}</pre>', text)


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
