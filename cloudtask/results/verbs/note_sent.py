"""Cloud Tasks has a task."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Case, DateTimeField, Value, When
from django.db.models.functions import Coalesce, Least

from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.database.connections import ask
from cloudtask.results.database.statements import Update, bind
from cloudtask.results.models import TaskRecord
from cloudtask.results.records import HOP, select_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from django.db.models import QuerySet

#: How long a task may wait for an attempt before the sweeper looks for it in
#: its queue: longer than queues wait between two attempts.
LOOK_AFTER = timedelta(hours=2)


def note_sent(names: Mapping[str, str], arming: int = 0) -> None:
    """
    Note that Cloud Tasks has tasks, but for those that were re-armed since.

    Args:
        names: Their full names, by their ids.
        arming: How often they were re-armed when they were sent.
    """
    if len(names) == 1:
        [(task_id, name)] = names.items()
        ask(lambda: _NOTE_ONE.run(id=task_id, name=name, arming=arming))
    else:
        cases = (When(pk=task_id, then=Value(name)) for task_id, name in names.items())
        values = _make_values(Case(*cases))
        sent = select_rows(list(names)).filter(arming=arming)
        ask(lambda: sent.update(**values))


def select_unsent(ids: Collection[str]) -> QuerySet[TaskRecord]:
    """Select those of some tasks that are still to be sent."""
    return select_rows(ids).filter(
        status=TaskRecord.Status.READY, send_at__isnull=False
    )


def _make_values(name: Any) -> dict[str, Any]:
    # Their attempts may have begun and even ended by now.
    is_waiting = When(
        status=TaskRecord.Status.READY,
        then=shift(
            Least(Coalesce("schedule_time", Now()), shift(Now(), HOP)), LOOK_AFTER
        ),
    )
    return {
        "name": name,
        "sent_at": Now(),
        "send_at": None,
        "look_at": Case(is_waiting, output_field=DateTimeField()),
    }


_NOTE_ONE = Update(
    lambda: (
        TaskRecord.objects.filter(pk=bind("id"), arming=bind("arming")),
        _make_values(bind("name")),
    )
)
